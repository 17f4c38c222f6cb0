"""Whether a lattice, or a view of it, answers as a state of the model does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from history_model import Line, Model, State

from pmll_async import Lattice, LatticeView, LineNotFoundError, MemoryLine
from pmll_async.values.concert import Float32

NOW = 1_700_100_000.0


def as_dict(line: MemoryLine) -> dict[str, Any]:
    """Every field, vectors as their bytes."""
    fields = {name: getattr(line, name) for name in type(line).model_fields}
    return {**fields, "key": line.key.tobytes(), "value": line.value.tobytes()}


def assert_same(line: MemoryLine, expected: dict[str, Any]) -> None:
    found = as_dict(line)
    if expected["strength"] is None:
        # Off the chain: what strength it still has is nobody's promise.
        expected = {**expected, "strength": found["strength"], "weight": found["weight"]}
    assert found == expected


async def check(
    view: Lattice | LatticeView, model: Model, state: State, vectors: list[Float32]
) -> None:
    """Everything that can be asked, where `view` shows `state`."""
    assert len(view) == len(state.chain)
    assert view.head == state.head
    assert bool(view)
    await check_queries(view, model, state, vectors)
    await check_rewind(view, model, state)
    await check_lines(view, model, state)
    await check_keys(view, model, state)
    check_revised(view, state)


async def check_queries(
    view: Lattice | LatticeView, model: Model, state: State, vectors: list[Float32]
) -> None:
    for vector in vectors:
        everything = model.query(state, vector, 99, NOW, floor=-1.0)
        lines = await view.query(vector, 99, now=NOW, min_similarity=-1.0)
        assert [as_dict(line) for line in lines] == everything
    vector = vectors[0]
    best = model.query(state, vector, 2, NOW)
    assert [as_dict(line) for line in await view.query(vector, 2, now=NOW)] == best
    bias = await view.bias_vector(vector, 2, now=NOW)
    assert bias.tobytes() == model.bias(best).tobytes()
    lines = await view.query(vector, 9, now=NOW, where={"topic": "a"}, branches=False)
    assert [as_dict(line) for line in lines] == model.query(
        state, vector, 9, NOW, topic="a", branches=False
    )
    if isinstance(view, LatticeView):
        expected = model.query(state, vector, 3, state.committed_at)
        assert [as_dict(line) for line in await view.query(vector, 3)] == expected


async def check_rewind(view: Lattice | LatticeView, model: Model, state: State) -> None:
    expected = [model.stored(state, line) for line in reversed(state.chain)]
    assert [as_dict(line) async for line in view.rewind()] == expected
    matching = [line for line in expected if line["context"].get("topic") == "a"]
    assert [as_dict(line) async for line in view.rewind(where={"topic": "a"})] == matching
    if expected:
        middle = len(expected) // 2
        start = expected[middle]["anchor"]
        lines = [as_dict(line) async for line in view.rewind(start=start, limit=3)]
        assert lines == expected[middle : middle + 3]


async def check_lines(view: Lattice | LatticeView, model: Model, state: State) -> None:
    """`get`, `in` and `branches` for every anchor that there ever was."""
    for anchor in dict.fromkeys(line.anchor for line in model.now.lines):
        on_chain = any(line.anchor == anchor for line in state.chain)
        assert (anchor in view) == on_chain
        if not any(line.anchor == anchor for line in state.lines):
            with pytest.raises(LineNotFoundError):
                await view.get(anchor)
            continue
        line = state.find(anchor)
        assert_same(await view.get(anchor), model.stored(state, line))
        await check_branches(view, model, state, line)


async def check_branches(
    view: Lattice | LatticeView, model: Model, state: State, line: Line
) -> None:
    found = await view.branches(line.anchor)
    for branch, expected in zip(found, state.losers(line), strict=True):
        assert_same(branch, model.stored(state, expected))


async def check_keys(view: Lattice | LatticeView, model: Model, state: State) -> None:
    for key in {key for any_state in model.states for key in any_state.keys}:
        if key in state.keys:
            assert_same(await view.find(key), model.stored(state, state.keys[key].line))
        else:
            with pytest.raises(LineNotFoundError):
                await view.find(key)


def check_revised(view: Lattice | LatticeView, state: State) -> None:
    revised = view._snapshot().revised
    assert len(revised) == len(state.lines)
    assert set(np.flatnonzero(revised).tolist()) == state.revised


async def check_every_revision(lattice: Lattice, model: Model, vectors: list[Float32]) -> None:
    assert lattice.revision == model.revision
    for revision, state in enumerate(model.states):
        view = lattice.at(revision)
        assert view.revision == revision
        await check(view, model, state, vectors)
    await check(lattice, model, model.now, vectors)


def some_vectors(dim: int) -> list[Float32]:
    """A few directions, two of them almost the same."""
    random = np.random.default_rng(dim)
    vectors = random.standard_normal((3, dim)).astype(np.float32)
    return [*vectors, (vectors[0] * np.float32(1 + 1e-6)).astype(np.float32), -vectors[1]]
