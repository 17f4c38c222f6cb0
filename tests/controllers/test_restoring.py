"""What steps hand over comes back as their annotations say, and says so where it cannot."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from functools import partial, wraps
from typing import Annotated, Any, NamedTuple, TypedDict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from controllers import Continue, Done, Plan, Retry, Verdict
from controllers.journal.forms import form_of, forms_of
from pmll_async import FrozenDict, FrozenList, Lattice
from pmll_async.stores.memory import MemoryStore


class Colour(Enum):
    RED = "red"


class Pair(NamedTuple):
    low: int
    high: int


class Model(BaseModel):
    when: timedelta
    colours: tuple[Colour, ...] = ()


class Words(TypedDict):
    words: list[str]


@dataclass(frozen=True)
class Note:
    day: date
    pairs: dict[str, Pair]
    raw: bytes = b""


VALUES = {
    Pair: Pair(1, 2),
    Model: Model(when=timedelta(minutes=3), colours=(Colour.RED,)),
    Note: Note(date(2026, 1, 2), {"a": Pair(3, 4)}, b"\x00\xff"),
    Colour: Colour.RED,
    date: date(2026, 11, 22),
    set[int]: {3, 1},
    tuple[int, str]: (1, "a"),
    Pair | None: None,
    float: 1.0,
    Annotated[int, Field(ge=0)]: 3,
    dict[int, str]: {1: "a"},
    Words: {"words": ["a"]},
}


@pytest.mark.parametrize("annotation", VALUES, ids=str)
def test_data_comes_back_as_it_was(annotation: Any) -> None:
    def plan() -> Any: ...

    plan.__annotations__["return"] = Plan[annotation]
    value = VALUES[annotation]
    if annotation is Note:
        value = Note(value.day, value.pairs, b"abc")
    form = forms_of(plan, Plan).of(Plan)
    stored = json.loads(json.dumps(form.to_json(value)))
    restored = form.from_json(stored)
    assert (restored, type(restored)) == (value, type(value))


def union(ctx: Any) -> Continue[Note] | Done[Pair] | Retry: ...
async def coroutine(ctx: Any) -> Verdict[Pair]: ...
def awaitable(ctx: Any) -> Awaitable[Done[Pair]]: ...
def twice(ctx: Any) -> Done[Pair] | Done[Note]: ...
def described(ctx: Any) -> Annotated[Done[Pair], "a pair"]: ...


class Callable_:  # noqa: N801  # a step that is an object
    def __call__(self, ctx: Any) -> Done[Pair]: ...


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inner(*arguments: Any) -> Any:
        return function(*arguments)

    return inner


SHAPES: dict[str, Any] = {
    "union": union,
    "coroutine": coroutine,
    "awaitable": awaitable,
    "twice": twice,
    "described": described,
    "object": Callable_(),
    "method": Callable_().__call__,
    "partial": partial(union, None),
    "wrapped": wrapped(union),
}


@pytest.mark.parametrize("step", SHAPES.values(), ids=SHAPES)
def test_the_annotation_is_found_in_any_shape(step: Any) -> None:
    form = forms_of(step, Continue, Done, Retry).of(Done)
    assert form.from_json(form.to_json(Pair(1, 2))) == Pair(1, 2)
    assert isinstance(form.from_json([1, 2]), Pair)


def test_each_verdict_has_a_form_of_its_own() -> None:
    forms = forms_of(union, Continue, Done, Retry)
    note = Note(date(2026, 1, 1), {})
    assert forms.of(Continue).from_json(forms.of(Continue).to_json(note)) == note
    assert forms.of(Retry).from_json({"a": [1]}) == {"a": [1]}


@pytest.mark.parametrize(
    "data",
    [Pair(1, 2), Note(date(2026, 1, 1), {}), (1, 2), {1}, date(2026, 1, 1), Colour.RED, b"a", 1j],
)
def test_data_that_would_come_back_as_something_else_is_refused(data: Any) -> None:
    def plan() -> Plan: ...

    kind = type(data).__name__
    with pytest.raises(TypeError, match=rf"plan returned {kind} data.*`-> Plan\[{kind}\]`"):
        forms_of(plan, Plan).of(Plan).to_json(data)


def test_an_annotation_that_cannot_be_resolved_is_told_of() -> None:
    def plan() -> Plan[Unknown]: ...  # noqa: F821  # as said

    form = forms_of(plan, Plan).of(Plan)
    assert form.to_json([1]) == [1]
    with pytest.raises(TypeError, match="cannot be resolved: name 'Unknown' is not defined"):
        form.to_json(Pair(1, 2))


def test_a_type_that_pydantic_cannot_write_is_told_of() -> None:
    class Opaque:
        pass

    def plan() -> Any: ...

    plan.__annotations__["return"] = Plan[Opaque]
    with pytest.raises(TypeError, match="Unable to generate pydantic-core schema"):
        forms_of(plan, Plan).of(Plan).to_json(Opaque())


def test_data_that_is_not_what_the_annotation_says_is_refused() -> None:
    form = forms_of(union, Continue, Done, Retry).of(Done)
    with pytest.raises(TypeError, match="what union returned cannot be journaled"):
        form.to_json("no pair")


def test_a_changed_annotation_is_told_of() -> None:
    form = forms_of(union, Continue, Done, Retry).of(Done)
    with pytest.raises(TypeError, match="what union returned cannot be restored as its annotation"):
        form.from_json({"an": "older version"})


def test_a_function_has_a_form_of_its_own() -> None:
    async def charge() -> date: ...

    assert form_of(charge).from_json(form_of(charge).to_json(date(2026, 1, 1))) == date(2026, 1, 1)
    assert form_of(lambda: None).to_json(FrozenDict({"a": FrozenList([1.0])})) == {"a": [1]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=8,
)  # fmt: skip


@example({"b": [1.0, 2.0**53], "a": -0.0, "\U00010000": 1e21, "\uffff": 2.0**53 - 1})
@given(JSON)
async def test_what_the_next_step_gets_is_what_the_chain_gives_back(value: Any) -> None:
    form = form_of(lambda: None)
    stored = form.to_json(value)
    async with Lattice(MemoryStore(), dim=1) as lattice:
        line = await lattice.get(await lattice.note({"data": stored}))
    live, restored = form.from_json(stored), form.from_json(line.context["data"])
    assert repr(live) == repr(restored)
