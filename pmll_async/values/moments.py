"""Moments: when things happen, in seconds since the epoch, as callers give them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pmll_async.errors import InvalidInputError
from pmll_async.values import checks

Moment = float | datetime
"""Seconds since the epoch, or a datetime with a time zone; 1970 to 2200."""

_END: Final = 7_258_118_400.0
"""The first second of 2200. What is later is far more often in milliseconds than meant so."""
_UNITS: Final = (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9))
_YEAR_2000: Final = 946_684_800.0
"""What would be before it in another unit is more likely no time at all."""


def moment(value: Any, what: str) -> float:
    """Seconds since the epoch of a number or an aware datetime from 1970 to 2200."""
    of = _of_datetime if isinstance(value, datetime) else checks.number
    seconds = of(value, what)
    if not is_usual(seconds):
        raise InvalidInputError(
            f"{what} is a time from 1970 to 2200, in seconds since the epoch or as a datetime with "
            f"a time zone, not {checks.shown(value)}{_hint(seconds)}"
        )
    return seconds


def is_usual(seconds: float) -> bool:
    """Whether that is from 1970 to 2200."""
    return 0.0 <= seconds < _END


def optional_moment(value: Any, what: str) -> float | None:
    """The same, or None."""
    return None if value is None else moment(value, what)


def _of_datetime(value: datetime, what: str) -> float:
    if value.utcoffset() is None:
        raise InvalidInputError(
            f"{what} is a datetime without a time zone, {checks.shown(value)}, which is another "
            "moment in every zone; give it one: datetime.now(UTC), or .replace(tzinfo=...)"
        )
    return value.timestamp() + 0.0


def _hint(seconds: float) -> str:
    for unit, factor in _UNITS:
        if _YEAR_2000 <= seconds / factor < _END:
            return f", which would be one in {unit}: divide it by {factor:,.0f}"
    return ""
