"""Times in a question: "yesterday" becomes the day that it is, counted from `now`.

Beside dates in digits English expressions alone; what is coarser than a day becomes its month, or
its year.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta, tzinfo
from functools import partial
from typing import Final

from pmll_async.text.index.days import day_of

_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_WEEKDAYS: Final = (
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
)
_NUMBERS: Final = ("a", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_COUNT: Final = rf"(\d{{1,4}}|an|{'|'.join(_NUMBERS)})"
_DAYS: Final = {
    "the day before yesterday": -2,
    "last night": -1,
    "yesterday": -1,
    "today": 0,
    "tonight": 0,
    "this morning": 0,
    "this afternoon": 0,
    "this evening": 0,
    "the day after tomorrow": 2,
    "tomorrow": 1,
}


def resolved(question: str, now: float, zone: tzinfo) -> str:
    """The question with dates in the place of its relative times, as of `now` in that zone."""
    today = day_of(now, zone)
    if today is None:
        return question
    for pattern, date_of in _EXPRESSIONS:
        question = pattern.sub(partial(date_of, today), question)
    return question


def _as_day(day: date) -> str:
    return f"{day.day} {_as_month(day)}"


def _as_month(day: date) -> str:
    return f"{_MONTHS[day.month - 1]} {day.year}"


def _near(today: date, found: re.Match[str]) -> str:
    return _shifted(today, _DAYS[" ".join(found[0].lower().split())])


def _shifted(today: date, days: int) -> str:
    try:
        return _as_day(today + timedelta(days=days))
    except OverflowError:
        return ""


def _weekday(today: date, found: re.Match[str]) -> str:
    """The last one before today, of this week, or the next one after today."""
    wanted = _WEEKDAYS.index(found[2].lower())
    match found[1].lower():
        case "this":
            return _shifted(today, wanted - today.weekday())
        case "next":
            return _shifted(today, (wanted - today.weekday() - 1) % 7 + 1)
        case _:
            return _shifted(today, -((today.weekday() - wanted - 1) % 7 + 1))


def _ago(today: date, found: re.Match[str]) -> str:
    count, unit = _number(found[1]), found[2].lower()
    match unit:
        case "day":
            return _shifted(today, -count)
        case "week":
            # To the month: nobody who says so means the day.
            return _shifted(today, -7 * count).partition(" ")[2]
        case "month":
            return _months_on(today, -count)
        case _:
            return str(today.year - count)


def _in_digits(_: date, found: re.Match[str]) -> str:
    """A day as its date is said, behind what stands there: a text may have it in digits, too."""
    year, month, day = (int(found[name]) for name in "ymd")
    try:
        return f"{found[0]} {_as_day(date(year, month, day))}"
    except ValueError:
        return found[0]


def _number(said: str) -> int:
    said = said.lower()
    if said.isdecimal():
        return int(said)
    return 1 if said == "an" else max(1, _NUMBERS.index(said))


def _months_on(today: date, months: int) -> str:
    year, month = divmod(today.year * 12 + today.month - 1 + months, 12)
    return f"{_MONTHS[month]} {year}"


def _period(today: date, found: re.Match[str]) -> str:
    step = {"last": -1, "this": 0, "next": 1}[found[1].lower()]
    match found[2].lower():
        case "week":
            return _as_month(today + timedelta(weeks=step))
        case "month":
            return _months_on(today, step)
        case _:
            return str(today.year + step)


def _month(today: date, found: re.Match[str]) -> str:
    """The month that has begun last, or of this year, or that begins next."""
    month = _MONTHS.index(found[2].capitalize()) + 1
    match found[1].lower():
        case "next":
            year = today.year + (month <= today.month)
        case "this":
            year = today.year
        case "last":
            year = today.year - (month >= today.month)
        case _:
            year = today.year - (month > today.month)
    said = "" if found[1].lower() in ("last", "this", "next") else f"{found[1]} "
    return f"{said}{_MONTHS[month - 1]} {year}"


_Resolve = Callable[[date, re.Match[str]], str]


def _expression(pattern: str, resolve: _Resolve) -> tuple[re.Pattern[str], _Resolve]:
    return re.compile(rf"\b{pattern}\b", re.IGNORECASE), resolve


_EXPRESSIONS: Final = (
    _expression(r"(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})", _in_digits),
    _expression(r"(?P<d>\d{1,2})\.\s?(?P<m>\d{1,2})\.\s?(?P<y>\d{4})", _in_digits),
    _expression("(?:" + "|".join(_DAYS).replace(" ", r"\s+") + ")", _near),
    _expression(rf"(last|past|this|next)\s+({'|'.join(_WEEKDAYS)})", _weekday),
    _expression(rf"{_COUNT}\s+(day|week|month|year)s?\s+ago", _ago),
    _expression(r"(last|this|next)\s+(week|month|year)", _period),
    # "in may" may be anything, and "in June 2023" says the year itself.
    _expression(
        rf"(in|during|since|last|this|next)\s+({'|'.join(_MONTHS)})(?!,?\s+(?:of\s+)?\d)", _month
    ),
)
