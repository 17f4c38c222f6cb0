"""What steps hand over, as JSON and back again.

The journal keeps JSON, and a step's annotation says what it was. The next step always gets what
came back, in a run that was never interrupted, too: so both see the same.
"""

from __future__ import annotations

import inspect
import json
import math
import types
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Annotated, Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import JsonValue, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from pmll_async import FrozenDict, FrozenList, thaw

from ..calling import name_of

# What the chain gives back as it was, or as something that compares equal.
_PLAIN: Final = (FrozenDict, FrozenList, dict, list, str, int, float, bool, type(None))
_INTEGERS: Final = 2**53  # from here on the chain gives whole numbers back as floats
_FEW_TYPES: Final = 256  # the steps and replies of an application, and room to spare


@dataclass(frozen=True, slots=True)
class Form:
    """What one step's data is turned back into; without an annotation it stays JSON."""

    owner: str
    wrapped: str = ""
    adapter: TypeAdapter[Any] | None = None
    complaint: str = ""

    def to_json(self, data: object) -> JsonValue:
        """The data as the chain will give it back. `TypeError` if it could not be restored."""
        if self.adapter is None and (strange := _strange(data)) is not None:
            raise TypeError(self._unsaid(strange))
        try:
            return _as_stored(self._dumped(data))
        except (PydanticSerializationError, ValueError) as exc:
            raise TypeError(f"what {self.owner} returned cannot be journaled: {exc}") from exc

    def from_json(self, value: Any) -> Any:
        """The data again. `TypeError` if the annotation does not fit what was journaled."""
        if self.adapter is None:
            return thaw(value)
        # No data is allowed whatever the annotation: most verdicts have none.
        if value is None:
            return None
        try:
            return self.adapter.validate_json(json.dumps(value))
        except ValidationError as exc:
            raise TypeError(
                f"what {self.owner} returned cannot be restored as its annotation says: {exc}"
            ) from exc

    def _dumped(self, data: object) -> Any:
        if self.adapter is None or data is None:
            return to_jsonable_python(data)
        return self.adapter.dump_python(data, mode="json", warnings="error")

    def _unsaid(self, strange: object) -> str:
        if inspect.isawaitable(strange):
            return (
                f"{self.owner} returned {type(strange).__name__} data: was `await` forgotten?"
                " A sync step calls async methods with anyio.from_thread.run"
            )
        kind = type(strange)
        annotation = self.wrapped.format(kind.__name__)
        return (
            f"{self.owner} returned {kind.__name__} data, which would come back from the journal as"
            f" plain JSON; say in its annotation what it is: `-> {annotation}`{self.complaint}"
        )


def _strange(data: object) -> object | None:
    """What in the data would come back as something else; None if there is nothing."""
    if type(data) not in _PLAIN:
        return data
    if isinstance(data, dict):
        keys = (key for key in data if type(key) is not str)
        inside = (_strange(item) for item in data.values())
        return next(keys, None) or next((one for one in inside if one is not None), None)
    if isinstance(data, list):
        return next((one for item in data if (one := _strange(item)) is not None), None)
    return None


@dataclass(frozen=True, slots=True)
class Forms:
    """The forms of a step that returns one of several values with data in them."""

    owner: str
    of_kind: Mapping[type, Form] = field(default_factory=dict)

    def of(self, kind: type) -> Form:
        """The form of the data in what the step returned, which was of this kind."""
        return self.of_kind.get(kind) or Form(self.owner)


def form_of(function: Callable[..., object]) -> Form:
    """The form of what a function returns itself."""
    annotation, complaint = _returned(function)
    return _form(name_of(function), "{}", [*_members(annotation)], complaint)


def forms_of(function: Callable[..., object], *kinds: type) -> Forms:
    """The forms of the data in what a step returns, such as `Plan[Query]`."""
    annotation, complaint = _returned(function)
    owner, members = name_of(function), [*_members(annotation)]
    forms = {}
    for kind in kinds:
        inside = [get_args(one)[0] for one in members if get_origin(one) is kind]
        forms[kind] = _form(owner, f"{kind.__name__}[{{}}]", inside, complaint)
    return Forms(owner, forms)


def _form(owner: str, wrapped: str, types_: list[Any], complaint: str) -> Form:
    said = tuple(one for one in types_ if one is not Any and not isinstance(one, TypeVar))
    if not said:
        return Form(owner, wrapped, None, complaint)
    try:
        return Form(owner, wrapped, adapter_of(Union[said]))  # noqa: UP007  # as many as there are
    except PydanticUserError as exc:
        return Form(owner, wrapped, None, f" ({exc.message})")


def adapter_of(annotation: Any) -> TypeAdapter[Any]:
    """What pydantic reads and writes values of a type with; it takes milliseconds to make."""
    return _known_adapter(annotation)


@lru_cache(maxsize=_FEW_TYPES)
def _known_adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _returned(function: Callable[..., object]) -> tuple[Any, str]:
    """What the function is annotated to return, and why that is unknown."""
    while isinstance(function, partial):
        function = function.func
    if not isinstance(function, types.FunctionType | types.MethodType):
        function = getattr(function, "__call__", function)  # noqa: B004  # its hints are wanted
    try:
        return get_type_hints(function, include_extras=True).get("return", Any), ""
    # An annotation may name what exists while types are checked only, or anything at all.
    except Exception as exc:  # noqa: BLE001
        return Any, f" (its annotations cannot be resolved: {exc})"


def _members(annotation: Any) -> Iterator[Any]:
    """What a union, or an awaitable of one, is made of."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__value__"):
        yield from _members(annotation.__value__)
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _members(argument)
    elif origin in (Awaitable, Coroutine):
        yield from _members(arguments[-1])
    elif origin is Annotated and get_origin(arguments[0]) is not None:
        yield from _members(arguments[0])
    else:
        yield annotation


def _as_stored(value: Any) -> JsonValue:
    """The value as canonical JSON gives it back: 1.0 as 1, and objects in the order of keys."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"JSON has no {value}")
        whole = value.is_integer() and abs(value) < _INTEGERS
        return int(value) if whole else value
    if isinstance(value, dict):
        return {key: _as_stored(value[key]) for key in sorted(value, key=_utf16)}
    if isinstance(value, list):
        return [_as_stored(item) for item in value]
    return cast(JsonValue, value)


def _utf16(key: str) -> bytes:
    # The order of RFC 8785, which differs from that of code points beyond the first 65,536.
    return key.encode("utf-16-be", "surrogatepass")
