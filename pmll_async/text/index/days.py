"""Days: which one a moment is of, in the time zone of a memory."""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pmll_async.errors import InvalidInputError


def zone_of(name: str) -> tzinfo:
    """The time zone of an IANA name such as "Asia/Tokyo"; blocks, reading what a system knows."""
    # Known where no system knows any.
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    # A name may be a folder or have a NUL in it.
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise InvalidInputError(
            f"time_zone {name!r} is not known here: it is a name such as 'Europe/Berlin', and "
            "where a system has no time zones, pip install tzdata"
        ) from exc


def day_of(seconds: float, zone: tzinfo) -> date | None:
    """The day of a moment there; None beyond the years that a calendar has."""
    try:
        return datetime.fromtimestamp(seconds, zone).date()
    except (OverflowError, ValueError, OSError):
        return None
