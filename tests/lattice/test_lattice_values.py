"""Lines, candidates and outcomes as values: frozen, comparable, and the same after JSON."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
from lattice_support import axis, near, proposing
from pydantic import ValidationError

from pmll_async import (
    Candidate,
    InvalidContextError,
    InvalidVectorError,
    Lattice,
    Limits,
    MemoryLine,
    RaceOutcome,
    stamp,
)
from pmll_async.stores.memory import MemoryStore

CONTEXT = {"topic": "a", "nested": {"list": [1, {"deep": None}], "number": 0.5}}


async def a_line(lattice: Lattice) -> MemoryLine:
    return await lattice.get(await lattice.put(axis(0), near(0, 0.5), CONTEXT))


def changes(line: MemoryLine) -> list[Any]:
    """Attempts to change a line."""
    nested: Any = line.context["nested"]

    def enter(target: Any, key: Any) -> None:
        target[key] = 1

    return [
        lambda: setattr(line, "strength", 0.0),
        lambda: setattr(line, "new", 0.0),
        lambda: delattr(line, "strength"),
        lambda: enter(line.key, 0),
        lambda: enter(line.value, 0),
        lambda: line.key.setflags(write=True),
        lambda: enter(line.context, "topic"),
        lambda: enter(nested, "list"),
        lambda: enter(nested["list"], 0),
        lambda: nested["list"].append(1),
        lambda: nested["list"][1].update(deep=1),
        lambda: nested.pop("list"),
    ]


async def test_a_line_refuses_every_change(lattice: Lattice) -> None:
    async with lattice:
        line = await a_line(lattice)
        (found,) = await lattice.query(axis(0))
        for value in (line, found):
            for change in changes(value):
                with pytest.raises((ValidationError, ValueError, TypeError, AttributeError)):
                    change()
        assert line == await lattice.get(line.anchor)
        (bias_of,) = [await lattice.bias_vector(axis(0))]
        bias_of[:] = 0.0
        assert (await lattice.get(line.anchor)).value.any()


async def test_lines_compare_and_hash_by_content(lattice: Lattice) -> None:
    async with lattice:
        line = await a_line(lattice)
        same, seen = await lattice.get(line.anchor), (await lattice.query(axis(0)))[0]
        assert line == same
        assert hash(line) == hash(same)
        assert line != seen, "a result is of its query"
        assert len({line, same, seen}) == 2
        assert line != "line"
        await lattice.decay(line.anchor, 0.5)
        assert line != await lattice.get(line.anchor)


@pytest.mark.parametrize("number", [0.5, 1.0, 1e17, -1e300, 1e-7, 123456789012345680.0])
async def test_lines_survive_json(lattice: Lattice, number: float) -> None:
    async with lattice:
        await lattice.put(axis(1), None, {"number": number})
        line = await lattice.get(lattice.head)
        again = MemoryLine.model_validate_json(line.model_dump_json())
        assert again == line
        assert json.loads(line.model_dump_json())["key"] == axis(1).tolist()
        assert MemoryLine.model_validate(line.model_dump()) == line
        assert not again.key.flags.writeable
        with pytest.raises(TypeError):
            again.context["x"] = 1
        assert await lattice.note(dict(line.context)), "a context can be put again"


async def test_numbers_in_contexts_survive_reopening(
    store: Any, lattice: Lattice, new_store: Any
) -> None:
    context = {"a": 1e17, "b": -(2.0**60), "c": 5e-324, "d": 1e21, "e": -0.0}
    async with lattice:
        anchor = await lattice.note(context)
        line = await lattice.get(anchor)
    inner = store.inner if store.path == "memory" else new_store()
    async with Lattice(inner) as again:
        assert await again.get(anchor) == line
        assert dict(line.context) == context


async def test_zeros_have_no_sign_in_any_store(lattice: Lattice) -> None:
    async with lattice:
        outcome = await lattice.race(
            [proposing(Candidate(key=axis(0), timestamp=-0.0))], judge=lambda c, v: -0.0
        )
        assert math.copysign(1, outcome.scores[0].score) == 1
        assert math.copysign(1, outcome.winner.timestamp) == 1
        assert math.copysign(1, (await lattice.get(lattice.head)).timestamp) == 1


async def test_lines_with_the_frameworks_key_and_notes_and_outcomes_survive_json(
    lattice: Lattice,
) -> None:
    async with lattice:
        await lattice.note(stamp({"a": 1}, {"run": "r"}))
        racers = [proposing(Candidate(key=axis(i), name=str(i))) for i in range(2)]
        outcome = await lattice.race([*racers, proposing(Candidate(key=[1.0]))])
        assert RaceOutcome.model_validate_json(outcome.model_dump_json()) == outcome
        async for line in lattice.rewind():
            assert MemoryLine.model_validate_json(line.model_dump_json()) == line


async def test_copies_and_pickles_are_as_frozen(lattice: Lattice) -> None:
    async with lattice:
        line = await a_line(lattice)
        for again in (copy.copy(line), copy.deepcopy(line), pickle.loads(pickle.dumps(line))):
            assert again == line
            assert not again.key.flags.writeable
            with pytest.raises(TypeError):
                again.context["topic"] = "b"


async def test_a_representation_is_short_and_says_which(lattice: Lattice) -> None:
    async with lattice:
        line = await a_line(lattice)
        assert line.anchor in repr(line)
        assert "array(" not in repr(line)
        assert len(repr(line)) < 250
        assert "revision=1" in repr(lattice.at(1))


async def test_a_wider_limit_holds_for_candidates_and_json_too() -> None:
    context = {"a": "x" * 300_000}
    limits = Limits(context_bytes=1 << 20)
    async with Lattice(MemoryStore(), dim=8, limits=limits) as lattice:
        line = await lattice.get(await lattice.put(axis(0), None, context))
        assert MemoryLine.model_validate_json(line.model_dump_json()) == line
        assert await lattice.put_many([Candidate(key=axis(0), context=context)]) == 1


def test_a_candidate_takes_any_array_and_keeps_its_own() -> None:
    base = np.ones(8, dtype=np.float32)
    window = base.view()
    window.flags.writeable = False
    for given in (base, window):
        candidate = Candidate(key=given, context={"a": [1]})
        before = hash(candidate)
        base[0] += 1
        assert hash(candidate) == before
        assert not candidate.key.flags.writeable
        with pytest.raises(TypeError):
            candidate.context["a"].append(2)  # type: ignore[union-attr, index]


READ_ONLY_MATRIX = np.ones((2, 4), dtype=np.float32)
READ_ONLY_MATRIX.flags.writeable = False
NO_CANDIDATES: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "nan": ({"key": [math.nan] * 8}, InvalidVectorError),
    "zero": ({"key": [0.0] * 8}, InvalidVectorError),
    "inf value": ({"key": axis(0), "value": [math.inf]}, InvalidVectorError),
    "rank": ({"key": [[1.0]]}, InvalidVectorError),
    "read-only rank": ({"key": READ_ONLY_MATRIX}, InvalidVectorError),
    "text": ({"key": "abc"}, InvalidVectorError),
    "context": ({"key": axis(0), "context": {"a": math.nan}}, InvalidContextError),
    "reserved": ({"key": axis(0), "context": {"pmll": 1}}, InvalidContextError),
    "extra": ({"key": axis(0), "weight": 1}, ValidationError),
    "no key": ({}, ValidationError),
}


@pytest.mark.parametrize(("fields", "error"), NO_CANDIDATES.values(), ids=NO_CANDIDATES)
def test_what_can_be_no_line_in_any_lattice_is_no_candidate(
    fields: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Candidate(**fields)


def test_candidates_survive_json() -> None:
    candidate = Candidate(key=axis(0), context={"a": [1]}, revises=("f" * 16,), name="é")
    again = Candidate.model_validate_json(candidate.model_dump_json())
    assert again == candidate
    assert hash(again) == hash(candidate)
