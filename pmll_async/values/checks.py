"""Checks of a caller's arguments: what is given comes back as what is meant, or is refused.

A message names the argument, shows what was given, and says what is wanted.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from pmll_async.errors import InvalidInputError, LineNotFoundError, PmllError
from pmll_async.values.anchors import is_anchor

# No run of a version without the namespace had a key of this kind: after its name came one slash.
_RESERVED_KEYS: Final = "pmll://"
# All keys in use are held in memory.
_KEY_LENGTH: Final = 512
# A run, the way to its goal, a step and an effect, each as long as it may be.
_JOURNAL_KEY_LENGTH: Final = 1024
# Pins are in `store.json`, which is read whole and replaced whole.
_PIN_NAME_LENGTH: Final = 128
_PIN_LENGTH: Final = 4096
# A message is for one line of a log.
_SHOWN: Final = 80


def number(value: Any, what: str) -> float:
    """A finite float of an int or float."""
    try:
        # An array of one number would pass for it; that most are floats is sooner told.
        is_other = type(value) is not float and (
            isinstance(value, bool | np.bool_ | str | bytes) or np.ndim(value) > 0
        )
        checked = math.nan if is_other else float(value)
    # What it is may be anybody's class: whatever that raises, it is no number.
    except Exception:  # noqa: BLE001
        checked = math.nan
    if not math.isfinite(checked):
        raise InvalidInputError(f"{what} must be a finite number, not {shown(value)}")
    # -0.0 would read back as 0.0.
    return checked + 0.0


def shown(value: object) -> str:
    """A value for a message: short, and whatever its `repr` does."""
    try:
        text = repr(value)
    # A message about a strange value must not fail for the value's strangeness.
    except Exception:  # noqa: BLE001
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def time_by(clock: Callable[[], float]) -> float:
    """What a clock gives: seconds as a finite number."""
    try:
        now = clock()
    except (KeyboardInterrupt, SystemExit):
        raise
    # The clock is the user's code: whatever it raises, its caller must learn who it was.
    except BaseException as exc:
        raise PmllError(f"the clock raised {shown(exc)}") from exc
    return number(now, "the clock's time")


def count(value: Any, what: str, least: int, most: int = sys.maxsize) -> int:
    """A whole number from `least` to `most`."""
    try:
        # An array's or numpy's whole number has an index; True has one too, and is none.
        checked = -1 if isinstance(value, bool) else operator.index(value)
    # It may be anybody's class: whatever that raises, it is not what is wanted.
    except Exception:  # noqa: BLE001
        checked = -1
    if not least <= checked <= most:
        upper = "on" if most == sys.maxsize else f"to {most}"
        raise InvalidInputError(
            f"{what} must be a whole number from {least} {upper}, not {shown(value)}"
        )
    return checked


def flag(value: Any, what: str) -> bool:
    """Whether it is true; an array is neither."""
    try:
        return bool(value)
    # It may be anybody's class: whatever that raises, it is not what is wanted.
    except Exception as exc:
        raise InvalidInputError(f"{what} must be true or false, not {shown(value)}") from exc


def plain_flag(value: Any, what: str) -> bool:
    """True or False itself, for what cannot be undone: the text "no" is none of them."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"{what} is True or False, not {shown(value)}")
    return value


def fraction(value: Any, what: str, least: float = 0.0) -> float:
    """A number from `least` to 1."""
    checked = number(value, what)
    if not least <= checked <= 1.0:
        raise InvalidInputError(f"{what} must be from {least:g} to 1, not {shown(value)}")
    return checked


def anchor(value: Any) -> str:
    """An anchor that a line may have."""
    if not is_anchor(value):
        raise LineNotFoundError(str(value) if isinstance(value, str) else shown(value))
    return str(value)


def prev_anchor(value: Any) -> str | None:
    """An anchor that the head may have, or None."""
    if value is not None and not is_anchor(value):
        text = shown(value)
        raise InvalidInputError(f"prev_anchor must be 16 lower-case hex digits, not {text}")
    return None if value is None else str(value)


def anchors(values: Iterable[Any], what: str) -> tuple[str, ...]:
    """Different anchors, in the order given."""
    # It would pass for a sequence of one-letter anchors.
    if isinstance(values, str):
        raise InvalidInputError(f"{what} is a sequence of anchors, not one string")
    try:
        given = tuple(values)
    # It may be anybody's class: whatever that raises, it is not what is wanted.
    except Exception as exc:
        raise InvalidInputError(f"{what} is a sequence of anchors, not {shown(values)}") from exc
    checked = tuple(map(anchor, given))
    if len(set(checked)) != len(checked):
        raise InvalidInputError(f"{what} names a line twice")
    return checked


class JournalKey(str):
    """An idempotency key in the framework's own namespace, ``pmll://…``, made by `journal_key`."""

    __slots__ = ()


def journal_key(name: str) -> JournalKey:
    """The idempotency key of a journal's entry: for code that journals on the chain.

    A plain text that looks like one is refused where something is written, so that nobody puts in
    a run's way what it would take for its own entry.
    """
    return JournalKey(_RESERVED_KEYS + name)


def idempotency_key(value: Any) -> str | None:
    """A key to write under: 1 to 512 characters that UTF-8 can carry, or None."""
    if value is None:
        return None
    if isinstance(value, JournalKey):
        return lookup_key(value)
    key = _text(value, "an idempotency_key", _KEY_LENGTH)
    if key.startswith(_RESERVED_KEYS):
        raise InvalidInputError(
            f"an idempotency_key does not begin with {_RESERVED_KEYS!r}, as those of runs do: "
            f"{shown(value)}"
        )
    return key


def lookup_key(value: Any) -> str | None:
    """A key that something may have been written under, or None."""
    return None if value is None else _text(value, "an idempotency_key", _JOURNAL_KEY_LENGTH)


def pin(name: Any, value: Any) -> tuple[str, str]:
    """The name and the value of a pin; only the value may be empty."""
    return (
        _text(name, "the name of a pin", _PIN_NAME_LENGTH),
        _text(value, "the value of a pin", _PIN_LENGTH, least=0),
    )


def _text(value: Any, what: str, most: int, least: int = 1) -> str:
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise InvalidInputError(f"{what} has {least} to {most} characters: {shown(value)}")
    if lone_surrogate(value) is not None:
        raise InvalidInputError(f"{what} is text; it has a lone surrogate")
    return str(value)


def lone_surrogate(text: str) -> int | None:
    """Where half a surrogate pair stands, as of a file name that is no UTF-8; None in good text."""
    try:
        str.encode(text)
    except UnicodeEncodeError as exc:
        return exc.start
    return None


def without_surrogates(text: str) -> str:
    """The text with a question mark for each: for what must be told, whatever is in it."""
    return text.encode("utf-8", "replace").decode()
