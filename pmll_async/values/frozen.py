"""Frozen JSON: objects and arrays that refuse changes."""

from __future__ import annotations

from typing import Any, Final, NoReturn, Self


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    plain = "dict" if isinstance(self, dict) else "list"
    raise TypeError(f"contexts are immutable; make a {plain}(...) of it and change that")


class _Frozen:
    __slots__ = ()

    def __deepcopy__(self, memo: object) -> Self:
        """Itself: nothing in it can change."""
        return self


class FrozenDict(_Frozen, dict[str, Any]):
    """A `dict` that refuses changes, so that it compares, prints and serialises as one.

    `canonical`, where it is set, are the bytes that were made of it, or None until they are: then
    nothing in it can change. Copies and pickles do without.
    """

    __slots__ = ("canonical",)

    canonical: bytes | None

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        """Pickle by value; the default would fill an empty one item by item."""
        return type(self), (dict(self),)


class FrozenList(_Frozen, list[Any]):
    """A `list` that refuses changes."""

    __slots__ = ()

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = pop = remove = clear = _refuse
    sort = reverse = _refuse

    def __reduce__(self) -> tuple[type, tuple[list[Any]]]:
        """Pickle by value."""
        return type(self), (list(self),)


class StampedContext(FrozenDict):
    """A context that carries the framework's own facts under the key `pmll`."""

    __slots__ = ()


def freeze(value: Any) -> Any:
    """The JSON value with every object and array immutable."""
    if isinstance(value, dict):
        if NESTED.isdisjoint(map(type, value.values())):
            return FrozenDict(value)
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    if isinstance(value, list):
        if NESTED.isdisjoint(map(type, value)):
            return FrozenList(value)
        return FrozenList([freeze(item) for item in value])
    return value


def thaw(value: Any) -> Any:
    """A plain, changeable copy of a JSON value."""
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value


OBJECTS: Final[frozenset[type[Any]]] = frozenset((dict, FrozenDict, StampedContext))
ARRAYS: Final[frozenset[type[Any]]] = frozenset((list, tuple, FrozenList))
NESTED: Final = OBJECTS | ARRAYS
"""The very types of objects and arrays that need no caution: their methods are Python's own."""
