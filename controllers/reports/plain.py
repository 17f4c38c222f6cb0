"""Text for a terminal: what is stored may be shown on it, and must not steer it."""

from __future__ import annotations

import json
from datetime import datetime


def printable(text: str) -> str:
    """The text with every control and formatting character spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """The text on a single line, each run of white space as one blank."""
    return printable(" ".join(text.split()))


def clock_time(seconds: float) -> tuple[str, str]:
    """Day and time of day where the reader is; the number itself when no calendar has it."""
    try:
        there = datetime.fromtimestamp(seconds).astimezone()
    except (OverflowError, OSError, ValueError):
        return "", f"{seconds:g}"
    return f"{there:%Y-%m-%d}", f"{there:%H:%M:%S}"


def duration(seconds: float) -> str:
    """Seconds for a person."""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return (
        f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
    )


def counted(count: int, what: str) -> str:
    """A number of things."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
