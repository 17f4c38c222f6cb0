"""Times as callers give them: seconds or aware datetimes, and nothing that is surely a mistake."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from pmll_async import InvalidInputError
from pmll_async.values.moments import moment, optional_moment

SUMMER = 1_718_000_000


@pytest.mark.parametrize("seconds", [0, 0.0, -0.0, 1.5, SUMMER, 7_258_118_399.9])
def test_seconds_from_1970_to_2200_stay_as_they_are(seconds: float) -> None:
    assert str(moment(seconds, "timestamp")) == str(seconds + 0.0)


@pytest.mark.parametrize(
    ("factor", "unit"), [(1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds")]
)
def test_another_unit_is_refused_with_its_cure(factor: float, unit: str) -> None:
    for given in (SUMMER * factor, int(SUMMER * factor)):
        with pytest.raises(InvalidInputError, match=f"one in {unit}: divide it by {factor:,.0f}"):
            moment(given, "timestamp")


@pytest.mark.parametrize("given", [-1, -1e9, 7_258_118_400, 1e300, "2024-05-03", date(2024, 5, 3)])
def test_what_is_out_of_range_or_no_time_is_refused_by_its_name(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="expires_at"):
        moment(given, "expires_at")


def test_an_aware_datetime_is_its_moment() -> None:
    tokyo = timezone(timedelta(hours=9))
    morning = datetime(2024, 5, 3, 8, tzinfo=tokyo)
    assert moment(morning, "timestamp") == datetime(2024, 5, 2, 23, tzinfo=UTC).timestamp()
    assert optional_moment(None, "timestamp") is None


def test_a_naive_datetime_is_refused_with_its_cure() -> None:
    with pytest.raises(InvalidInputError, match=r"without a time zone.*datetime\.now\(UTC\)"):
        moment(datetime.now(UTC).replace(tzinfo=None), "timestamp")
