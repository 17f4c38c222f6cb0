"""Text for a terminal: what is stored may be shown on it, and must not steer it."""

from __future__ import annotations

import json
from datetime import datetime

from ..events import RunResult
from ..steps import GoalResult


def printable(text: str) -> str:
    """The text with every control and formatting character spelled out."""
    # Nearly every text is, and this is asked of each that is shown.
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """The text on a single line, each run of white space as one blank."""
    return printable(" ".join(text.split()))


def labelled(label: str, said: str) -> str:
    """The label, and on the same line what was said, if anything was."""
    return f"{label}: {one_line(said)}" if said else label


def conclusion(result: RunResult | GoalResult) -> str:
    """What a run or a goal ended with: its error, why it was ended, or the last verdict's text."""
    error = result.error if isinstance(result, RunResult) else None
    if error is not None:
        return f"{type(error).__name__}: {error}"
    return result.reason or result.text


def clock_time(seconds: float) -> tuple[str, str]:
    """Day and time of day where the reader is; the number itself when no calendar has it."""
    try:
        # A caller's own clock may count from anything.
        there = datetime.fromtimestamp(seconds).astimezone()
    except (OverflowError, OSError, ValueError):
        return "", f"{seconds:g}"
    return f"{there:%Y-%m-%d}", f"{there:%H:%M:%S}"


def duration(seconds: float) -> str:
    """Seconds for a person."""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left:02} min" if hours else f"{minutes} min {rest:02} s"


def counted(count: int, what: str) -> str:
    """A number of things."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
