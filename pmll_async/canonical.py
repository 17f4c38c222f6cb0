"""Contexts: checked, frozen, and written as RFC 8785 canonical JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

import rfc8785

from pmll_async.errors import InvalidContextError

if TYPE_CHECKING:
    from pydantic import JsonValue

MAX_BYTES: Final = 256 * 1024
MAX_NESTING: Final = 64
MAX_INTEGER: Final = 2**53
_SURELY_FLOAT: Final = 20
RESERVED_KEY: Final = "pmll"

_encode_plain: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False
).encode


class FrozenDict(dict[str, Any]):
    """A `dict` that refuses changes, so that it compares, prints and serialises as one."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("contexts are immutable; make a dict(...) of it and change that")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        """Pickle by value; the default would fill an empty one item by item."""
        return type(self), (dict(self),)

    def __deepcopy__(self, memo: object) -> Self:
        """Itself: nothing in it can change."""
        return self


class FrozenList(list[Any]):
    """A `list` that refuses changes."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("contexts are immutable; make a list(...) of it and change that")

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = pop = remove = clear = _refuse
    sort = reverse = _refuse

    def __reduce__(self) -> tuple[type, tuple[list[Any]]]:
        """Pickle by value."""
        return type(self), (list(self),)

    def __deepcopy__(self, memo: object) -> Self:
        """Itself: nothing in it can change."""
        return self


class StampedContext(FrozenDict):
    """A context that carries the framework's own facts under the key `pmll`; see `stamp`."""

    __slots__ = ()


def stamp(context: Mapping[str, JsonValue], facts: Mapping[str, JsonValue]) -> StampedContext:
    """The context with `facts` under `pmll`: for code that journals on the chain.

    A plain context with that key is refused, so that no agent forges a run's journal by accident.
    """
    if RESERVED_KEY in context:
        raise InvalidContextError(RESERVED_KEY, "this key is the framework's own")
    return StampedContext({**context, RESERVED_KEY: dict(facts)})


def freeze(value: Any) -> Any:
    """The JSON value with every object and array immutable."""
    if isinstance(value, dict):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    if isinstance(value, list):
        return FrozenList([freeze(item) for item in value])
    return value


def thaw(value: Any) -> Any:
    """A plain, changeable copy of a JSON value."""
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value of the framework's own (known to be valid)."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError) as exc:
        raise InvalidContextError("", str(exc)) from exc


def canonical_number(number: float) -> str:
    """One number as RFC 8785 writes it."""
    if 1e-4 <= number < 1e15 and number % 1:
        return repr(number)
    return rfc8785.dumps(number).decode()


def canonical_string(text: str) -> str:
    """One string, with its quotes, as RFC 8785 writes it."""
    return _encode_plain(text)


def encode_context(context: Mapping[str, JsonValue] | None, max_bytes: int = MAX_BYTES) -> bytes:
    """Check a caller's context and return its canonical bytes.

    Raises `InvalidContextError` with the path of what is not plain JSON: non-string keys, NaN and
    infinities, integers beyond 2^53, lone surrogates, nesting over 64, or too many bytes.
    """
    if context is None or context == {}:
        return b"{}"
    if not isinstance(context, Mapping):
        raise InvalidContextError("", f"a mapping is wanted, not {type(context).__name__}")
    if RESERVED_KEY in context and not isinstance(context, StampedContext):
        raise InvalidContextError(RESERVED_KEY, "this key is the framework's own")
    encoded = _encode_checked(context)
    if len(encoded) > max_bytes:
        raise InvalidContextError("", f"{len(encoded)} bytes are over the limit of {max_bytes}")
    return encoded


def parse_json(text: bytes | str) -> Any:
    """A JSON value as it was before it was written canonically.

    Whole numbers from 2^53 on can only have been floats, which RFC 8785 writes without an exponent.
    """
    return json.loads(text, parse_int=_parse_whole)


def _parse_whole(digits: str) -> int | float:
    number = int(digits) if len(digits) < _SURELY_FLOAT else MAX_INTEGER
    return number if -MAX_INTEGER < number < MAX_INTEGER else float(digits)


def decode_context(encoded: bytes) -> FrozenDict:
    """The frozen context of canonical bytes."""
    return FrozenDict() if encoded == b"{}" else FrozenDict(freeze(parse_json(encoded)))


def reencode_context(context: Mapping[str, JsonValue]) -> bytes:
    """The canonical bytes of a context that was stored once, whatever its size and keys."""
    if isinstance(context, dict) and _is_flat_ascii(context):
        return _encode_plain(context).encode()
    checker = _Checker(stored=True)
    return rfc8785.dumps(checker.mapping(context, "", 1))


def _is_flat_ascii(context: Mapping[str, JsonValue]) -> bool:
    """Whether it is a plain dict of plain ASCII names, texts, flags and small integers."""
    for key, value in context.items():
        kind = type(value)
        if type(key) is not str or not key.isascii():
            return False
        if kind is str:
            if not value.isascii():  # type: ignore[union-attr]  # its type was just compared
                return False
        elif kind is int:
            if not -MAX_INTEGER < value < MAX_INTEGER:  # type: ignore[operator]  # as above
                return False
        elif kind is not bool and value is not None:
            return False
    return type(context) is dict


def _encode_checked(context: Mapping[str, JsonValue]) -> bytes:
    # What most contexts are needs no walk with paths, and no copy.
    if _is_flat_ascii(context):
        return _encode_plain(context).encode()
    checker = _Checker()
    plain = checker.mapping(context, "", 1)
    # The C encoder writes exactly RFC 8785 for ASCII-ordered keys and values without floats.
    if checker.simple:
        return _encode_plain(plain).encode()
    return rfc8785.dumps(plain)


def _exact(text: str) -> str:
    # A subclass, such as a str Enum, may print as something else than the text that it is.
    return text if type(text) is str else str.__str__(text)


class _Checker:
    """Walks a context once: copies it into plain dicts and lists, and says where it is no JSON."""

    __slots__ = ("_stored", "simple")

    def __init__(self, *, stored: bool = False) -> None:
        self.simple = True
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
        if text.isascii() or max(text) < "\ud800":
            return
        # Above U+D7FF code point order and UTF-16 order differ, so that keys sort differently.
        self.simple = False
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise InvalidContextError(path, "a lone surrogate is not text") from exc

    def _integer(self, value: int, path: str) -> int | float:
        if -MAX_INTEGER < value < MAX_INTEGER:
            return int(value)
        if not self._stored and abs(value) != MAX_INTEGER:
            raise InvalidContextError(
                path, "an integer beyond 2^53 loses digits in JSON; store it as a string"
            )
        self.simple = False
        return float(value)

    def _float(self, value: float, path: str) -> float:
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidContextError(path, f"{value} is not JSON")
        self.simple = False
        return float(value)
