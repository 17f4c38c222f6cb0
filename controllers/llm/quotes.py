"""Other people's words for a prompt: data with its source, which no text in it can break out of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_jsonable_python

from pmll_async import visible

from .fitting import shortened

if TYPE_CHECKING:
    from pmll_async.text import Recollection

# A tag cannot be closed, nor a line ended, by what has neither angle bracket nor line break.
_ESCAPES: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>\x7f\x85\u2028\u2029"}


def quoted(memories: Iterable[Recollection], *, longest: int | None = None) -> str:
    """Memories between `<memories>` and `</memories>`, one JSON object a line.

    Each has its anchor, speaker, session, time (UTC), score and, where somebody else than the owner
    wrote it, from whom it is and how far that is trusted beside its text, so that the model can
    weigh and cite it. Whatever a text says, it stays inside its string. With `longest`, texts are
    cut there, and it is said.
    """
    return quote("memories", [_row(memory) for memory in memories], longest=longest)


def quote(tag: str, rows: Sequence[Mapping[str, Any]], *, longest: int | None = None) -> str:
    """Rows of data between tags; what is no JSON is told as pydantic or `str` would.

    With `longest`, no text in them has more than so many characters.
    """
    lines = [_line(row, longest) for row in rows]
    return "\n".join([f"<{tag}>", *lines, f"</{tag}>"])


def quoted_text(text: str) -> str:
    """A text of others as one JSON string on one line, for where it is no data but a task."""
    return visible(json.dumps(text, ensure_ascii=False).translate(_ESCAPES))


def _line(row: Mapping[str, Any], longest: int | None) -> str:
    kept = {name: value for name, value in row.items() if not _is_nothing(value)}
    plain = to_jsonable_python(kept, fallback=str, inf_nan_mode="null")
    told = json.dumps(shortened(plain, longest), ensure_ascii=False)
    return visible(told.translate(_ESCAPES))


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str | list | tuple) and not value)


def _row(memory: Recollection) -> dict[str, Any]:
    return {
        "anchor": memory.anchor,
        "speaker": memory.speaker,
        "session": memory.session,
        "time": _time(memory.timestamp),
        "score": round(memory.score, 3),
        "from": memory.source and memory.source.principal,
        "trust": memory.source and memory.source.trust,
        "lost_its_race": memory.is_branch or None,
        "before": [_turn(turn) for turn in memory.before],
        "text": memory.text,
        "after": [_turn(turn) for turn in memory.after],
    }


def _turn(memory: Recollection) -> dict[str, Any]:
    return {"anchor": memory.anchor, "speaker": memory.speaker, "text": memory.text}


def _time(timestamp: float) -> str | float:
    try:
        return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds")
    # A caller's own clock may count from anything.
    except (OverflowError, OSError, ValueError):
        return timestamp
