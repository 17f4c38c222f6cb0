"""Contexts: checked, frozen, and written as RFC 8785 canonical JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

import rfc8785

from pmll_async.errors import InvalidContextError
from pmll_async.values.canonical import (
    ABOVE,
    MAX_INTEGER,
    MAX_NESTING,
    UnusualError,
    canonical_number,
    canonical_parts,
    canonical_string,
    encode_plain,
    small_text,
)
from pmll_async.values.checks import lone_surrogate
from pmll_async.values.copies import frozen_copy
from pmll_async.values.frozen import FrozenDict, FrozenList, StampedContext, freeze, thaw

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = [
    "MAX_BYTES",
    "RESERVED_KEY",
    "FrozenDict",
    "FrozenList",
    "StampedContext",
    "Steps",
    "canonical_json",
    "canonical_number",
    "canonical_string",
    "check_context",
    "decode_context",
    "encode_at_once",
    "encode_context",
    "encode_in_steps",
    "encode_in_turns",
    "freeze",
    "is_canonical",
    "parse_json",
    "reencode_context",
    "stamp",
    "thaw",
]

# A context is kept in a record and read with its line; what is larger belongs in a file.
MAX_BYTES: Final = 256 * 1024
RESERVED_KEY: Final = "pmll"
# 2^53 has 16 digits. Python refuses to parse an integer of more than a few thousand.
_SURELY_FLOAT: Final = 20
# To find sixteen digits in a row takes a hundredth of the time of a regular expression for them.
_DIGITS: Final = bytes(48 if 48 <= byte < 58 else 32 for byte in range(256))
_LONG_NUMBER: Final = b"0" * 16
# In characters written: half a millisecond, and what a part costs beside them.
_STEP_WORK: Final = 4096
_PART_WORK: Final = 64


def stamp(context: Mapping[str, JsonValue], facts: Mapping[str, JsonValue]) -> StampedContext:
    """The context with `facts` under `pmll`: for code that journals on the chain.

    A plain context with that key is refused, so that no agent forges a run's journal by accident.
    """
    _refuse_reserved(context)
    try:
        return StampedContext({**context, RESERVED_KEY: freeze(dict(facts))})
    # A mapping may be anybody's class: whatever it raises, it cannot be read.
    except Exception as exc:
        raise _unreadable(exc) from exc


def stamp_also(
    context: Mapping[str, JsonValue] | None, facts: Mapping[str, JsonValue]
) -> StampedContext:
    """`stamp`, with the facts beside what the framework has stamped on the context already."""
    given: Mapping[str, Any] = {} if context is None else context
    if isinstance(given, StampedContext):
        facts = {**thaw(given[RESERVED_KEY]), **facts}
        given = {name: value for name, value in given.items() if name != RESERVED_KEY}
    return stamp(given, facts)


def _refuse_reserved(context: Mapping[str, JsonValue]) -> None:
    try:
        is_reserved = RESERVED_KEY in context
    # A mapping may be anybody's class: whatever it raises, it cannot be read.
    except Exception as exc:
        raise _unreadable(exc) from exc
    if is_reserved:
        raise InvalidContextError(RESERVED_KEY, "this key is the framework's own")


def _unreadable(error: Exception) -> InvalidContextError:
    return InvalidContextError("", f"reading it raised {type(error).__name__}")


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value of the framework's own (known to be valid)."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError) as exc:
        raise InvalidContextError("", str(exc)) from exc


def encode_context(context: Mapping[str, JsonValue] | None, max_bytes: int = MAX_BYTES) -> bytes:
    """Check a caller's context and return its canonical bytes.

    Raises `InvalidContextError` with the path of what is not plain JSON: non-string keys, NaN and
    infinities, integers beyond 2^53, lone surrogates, nesting over 64, or too many bytes.
    """
    return _finished(encode_in_steps(context, max_bytes))


def encode_at_once(context: Mapping[str, JsonValue] | None, max_bytes: int) -> bytes | None:
    """What `encode_context` gives for a small plain dict or None; None for whatever takes more.

    Also for a small one that is stamped, unless it has its bytes already.
    """
    if context is None:
        return b"{}"
    if type(context) is StampedContext:
        if getattr(context, "canonical", None) is not None:
            return None
    elif type(context) is not dict or RESERVED_KEY in context:
        return None
    text = small_text(context)
    # Only what is within the limit in any encoding, and whose characters all have one.
    return text.encode() if text is not None and len(text) <= max_bytes and text.isascii() else None


async def encode_in_turns(context: Mapping[str, JsonValue] | None, max_bytes: int) -> bytes:
    """What `encode_context` does; between the steps of a large one others have turns on the loop.

    What has something else in it than dicts, lists and plain values of Python's or ours takes one
    step, however large.
    """
    steps = encode_in_steps(context, max_bytes)
    while (encoded := _one_step(steps)) is None:  # noqa: ASYNC110  # it works, and waits for nothing
        await asyncio.sleep(0)
    return encoded


Steps = Generator[None, None, bytes]
"""Work in steps of about a millisecond at most, that ends with the canonical bytes."""


def encode_in_steps(context: Mapping[str, JsonValue] | None, max_bytes: int = MAX_BYTES) -> Steps:
    """`encode_context` for a caller that does something else between the steps."""
    if context is None:
        return b"{}"
    encoded = _known(context)
    if not isinstance(context, StampedContext):
        _refuse_reserved(context)
    if encoded is None:
        encoded = yield from _encode(context)
        if isinstance(context, FrozenDict) and hasattr(context, "canonical"):
            # Nothing in it can change: whoever encodes it next need not.
            context.canonical = encoded
    if len(encoded) > max_bytes:
        raise InvalidContextError("", f"{len(encoded)} bytes are over the limit of {max_bytes}")
    return encoded


def check_context(context: Mapping[str, JsonValue] | None) -> FrozenDict:
    """A frozen copy of a caller's context, of any size, as it will read back; raises likewise.

    What takes more than a step to encode is encoded by who commits it, in turns with others.
    """
    steps = encode_in_steps(context, sys.maxsize)
    # One step is what a constructor may take of a loop's turn.
    encoded, frozen = _one_step(steps), None
    if encoded is None and context is not None:
        frozen = frozen_copy(context)
    if frozen is None:
        encoded = _finished(steps) if encoded is None else encoded
        frozen = decode_context(encoded)
    if isinstance(context, StampedContext):
        frozen = StampedContext(frozen)
    frozen.canonical = encoded
    return frozen


def _one_step(steps: Steps) -> bytes | None:
    try:
        next(steps)
    except StopIteration as end:
        return bytes(end.value)
    return None


def _known(context: object) -> bytes | None:
    """The bytes that were made of it before, if any; refuses what is no mapping."""
    if not isinstance(context, Mapping):
        raise InvalidContextError("", f"a mapping is wanted, not {type(context).__name__}")
    return getattr(context, "canonical", None) if isinstance(context, FrozenDict) else None


def _finished(steps: Steps) -> bytes:
    while (encoded := _one_step(steps)) is None:
        pass
    return encoded


def parse_json(text: bytes | str) -> Any:
    """A JSON value as it was before it was written canonically.

    Whole numbers from 2^53 on can only have been floats, which RFC 8785 writes without an exponent.
    """
    # They have 16 digits at least; without so many, no number needs a look in Python.
    if isinstance(text, bytes) and _LONG_NUMBER not in text.translate(_DIGITS):
        return json.loads(text)
    return json.loads(text, parse_int=_parse_whole)


def _parse_whole(digits: str) -> int | float:
    number = int(digits) if len(digits) < _SURELY_FLOAT else MAX_INTEGER
    return number if -MAX_INTEGER < number < MAX_INTEGER else float(digits)


def decode_context(encoded: bytes) -> FrozenDict:
    """The frozen context of canonical bytes."""
    return FrozenDict() if encoded == b"{}" else FrozenDict(freeze(parse_json(encoded)))


def reencode_context(context: Mapping[str, JsonValue]) -> bytes:
    """The canonical bytes of a context that was stored once, whatever its size and keys."""
    return _known(context) or _finished(_encode(context, stored=True))


def is_canonical(text: bytes) -> bool:
    """Whether these bytes, of a JSON object, are those of `reencode_context` of what they say.

    A fourth of its time where the C encoder tells; `ValueError` or `RecursionError` for no JSON.
    """
    return _is_plain(text) or reencode_context(parse_json(text)) == text


def _is_plain(text: bytes) -> bool:
    """Whether the C encoder, where it writes as RFC 8785 wants, writes just these bytes."""
    nested = text.count(b"{") + text.count(b"[")
    if nested > MAX_NESTING or _LONG_NUMBER in text.translate(_DIGITS):
        return False
    plain = text.decode()
    try:
        return encode_plain(_read_plain(plain)) == plain and not ABOVE.search(plain)
    except ValueError:
        return False


def _plain_float(text: str) -> float:
    number = float(text)
    if canonical_number(number) != text:
        raise ValueError("the number is not canonical, or the C encoder writes it otherwise")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_read_plain: Final = json.JSONDecoder(parse_float=_plain_float, parse_constant=_no_number).decode


def _encode(context: Mapping[str, JsonValue], *, stored: bool = False) -> Steps:
    parts: list[str] = []
    work = 0
    try:
        for part in canonical_parts(context):
            # Counted, not timed: in which order calls are committed must not depend on a clock.
            if work >= _STEP_WORK:
                work = 0
                yield
            parts.append(part)
            work += len(part) + _PART_WORK if part else _STEP_WORK
        return "".join(parts).encode()
    except (UnusualError, UnicodeEncodeError):
        return _encode_exactly(context, stored)


def _encode_exactly(context: Mapping[str, JsonValue], stored: bool) -> bytes:
    try:
        return rfc8785.dumps(_Checker(stored=stored).mapping(context, "", 1))
    except InvalidContextError:
        raise
    # A mapping may be anybody's class: whatever it raises, it cannot be read.
    except Exception as exc:
        raise _unreadable(exc) from exc


def _exact(text: str) -> str:
    # A subclass, such as a str Enum, may print as something else than the text that it is.
    return text if type(text) is str else str.__str__(text)


class _Checker:
    """Walks a context once: copies it into plain dicts and lists, and says where it is no JSON."""

    __slots__ = ("_stored",)

    def __init__(self, *, stored: bool = False) -> None:
        self._stored = stored

    def mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        self._deep(path, depth)
        plain = {}
        for key, item in value.items():
            here = f"{path}.{key}" if path else str(key)
            if not isinstance(key, str):
                raise InvalidContextError(here, f"keys are strings, not {type(key).__name__}")
            self._text(key, here)
            plain[_exact(key)] = self.value(item, here, depth)
        return plain

    def value(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, str):
            self._text(value, path)
            return _exact(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return self._integer(value, path)
        if isinstance(value, float):
            return self._float(value, path)
        if isinstance(value, Mapping):
            return self.mapping(value, path, depth + 1)
        if isinstance(value, list | tuple):
            self._deep(path, depth + 1)
            return [self.value(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        raise InvalidContextError(path, f"{type(value).__name__} is not JSON")

    @staticmethod
    def _deep(path: str, depth: int) -> None:
        if depth > MAX_NESTING:
            raise InvalidContextError(path, f"nested deeper than {MAX_NESTING}")

    def _text(self, text: str, path: str) -> None:
        if lone_surrogate(text) is not None:
            raise InvalidContextError(path, "a lone surrogate is not text")

    def _integer(self, value: int, path: str) -> int | float:
        if -MAX_INTEGER < value < MAX_INTEGER:
            return int(value)
        if not self._stored and abs(value) != MAX_INTEGER:
            raise InvalidContextError(
                path, "an integer beyond 2^53 loses digits in JSON; store it as a string"
            )
        return float(value)

    def _float(self, value: float, path: str) -> float:
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidContextError(path, f"{value} is not JSON")
        return float(value)
