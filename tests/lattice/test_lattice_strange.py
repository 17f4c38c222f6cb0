"""Arguments of any kind: what cannot be used is refused with a sentence, and nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from lattice_support import DIM, axis

from pmll_async import Candidate, InvalidContextError, Lattice, PmllError, WorkingMemory
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory, Utterance


class Hostile:
    """Raises at everything that it is asked."""

    def __eq__(self, other: object) -> bool:
        raise OSError("eq")

    __hash__ = object.__hash__

    def _raise(self, *_: object) -> Any:
        raise OSError("asked")

    __len__ = __iter__ = __bool__ = __repr__ = __str__ = __float__ = __index__ = _raise
    __getitem__ = __contains__ = __array__ = _raise


class HostileMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise OSError("item")

    def __iter__(self) -> Iterator[str]:
        yield "a"

    def __len__(self) -> int:
        raise OSError("len")


STRANGE: dict[str, Any] = {
    "array": np.array([1.0, 2.0]),
    "array of one": np.array([0.5]),
    "texts": np.array(["a", "b"]),
    "objects": np.array([object()]),
    "nested": [[1.0], [2.0, 3.0]],
    "huge": 10**400,
    "nan": math.nan,
    "flag": True,
    "no text": b"bytes",
    "surrogate": "\ud800",
    "none of ours": object(),
    "set": {1},
    "type": int,
    "hostile": Hostile(),
    "mapping": HostileMapping(),
    "keys": {Hostile(): 1},
    "values": {"a": Hostile()},
    "array within": {"a": np.array([1, 2])},
    "numpy flag": np.True_,
}

Call = Callable[[Lattice, TextMemory, Any], Any]
CALLS: dict[str, Call] = {
    "put key": lambda lattice, _, x: lattice.put(x),
    "put value": lambda lattice, _, x: lattice.put(axis(0), x),
    "put context": lambda lattice, _, x: lattice.put(axis(0), None, x),
    "put prev_anchor": lambda lattice, _, x: lattice.put(axis(0), prev_anchor=x),
    "put timestamp": lambda lattice, _, x: lattice.put(axis(0), timestamp=x),
    "put revises": lambda lattice, _, x: lattice.put(axis(0), revises=x),
    "put revises one": lambda lattice, _, x: lattice.put(axis(0), revises=[x]),
    "put min_novelty": lambda lattice, _, x: lattice.put(axis(0), min_novelty=x),
    "note": lambda lattice, _, x: lattice.note(x),
    "put_many": lambda lattice, _, x: lattice.put_many(x),
    "put_many one": lambda lattice, _, x: lattice.put_many([x]),
    "put_many batch": lambda lattice, _, x: lattice.put_many([Candidate(key=axis(0))], batch=x),
    "race": lambda lattice, _, x: lattice.race(x),
    "race one": lambda lattice, _, x: lattice.race([x]),
    "race decay": lambda lattice, _, x: lattice.race([propose], decay=x),
    "race timeout": lambda lattice, _, x: lattice.race([propose], timeout=x),
    "race query": lambda lattice, _, x: lattice.race([propose], query=x),
    "decay": lambda lattice, _, x: lattice.decay(x, 0.5),
    "decay factor": lambda lattice, _, x: lattice.decay("0" * 16, x),
    "forget": lambda lattice, _, x: lattice.forget(x),
    "rollback": lambda lattice, _, x: lattice.rollback(x),
    "pin name": lambda lattice, _, x: lattice.pin(x, "v"),
    "pin value": lambda lattice, _, x: lattice.pin("n", x),
    "query": lambda lattice, _, x: lattice.query(x),
    "query k": lambda lattice, _, x: lattice.query(axis(0), x),
    "query where": lambda lattice, _, x: lattice.query(axis(0), where=x),
    "query where value": lambda lattice, _, x: lattice.query(axis(0), where={"a": x}),
    "query min_similarity": lambda lattice, _, x: lattice.query(axis(0), min_similarity=x),
    "query branches": lambda lattice, _, x: lattice.query(axis(0), branches=x),
    "query now": lambda lattice, _, x: lattice.query(axis(0), now=x),
    "bias_vector": lambda lattice, _, x: lattice.bias_vector(x),
    "get": lambda lattice, _, x: lattice.get(x),
    "find": lambda lattice, _, x: lattice.find(x),
    "branches": lambda lattice, _, x: lattice.branches(x),
    "outcome": lambda lattice, _, x: lattice.outcome(x),
    "rewind": lambda lattice, _, x: lattice.rewind(where=x),
    "rewind limit": lambda lattice, _, x: lattice.rewind(limit=x),
    "rewind start": lambda lattice, _, x: lattice.rewind(start=x),
    "at": lambda lattice, _, x: lattice.at(x),
    "candidate key": lambda *given: Candidate(key=given[-1]),
    "candidate value": lambda *given: Candidate(key=axis(0), value=given[-1]),
    "candidate context": lambda *given: Candidate(key=axis(0), context=given[-1]),
    "remember": lambda _, memory, x: memory.remember(x),
    "remember speaker": lambda _, memory, x: memory.remember("a", speaker=x),
    "remember timestamp": lambda _, memory, x: memory.remember("a", timestamp=x),
    "remember context": lambda _, memory, x: memory.remember("a", context=x),
    "remember_many": lambda _, memory, x: memory.remember_many(x),
    "remember_many one": lambda _, memory, x: memory.remember_many([x]),
    "remember_many text": lambda _, memory, x: memory.remember_many([Utterance(text=x)]),
    "recall": lambda _, memory, x: memory.recall(x),
    "recall k": lambda _, memory, x: memory.recall("a", x),
    "recall min_score": lambda _, memory, x: memory.recall("a", min_score=x),
    "recall branches": lambda _, memory, x: memory.recall("a", branches=x),
    "recall where": lambda _, memory, x: memory.recall("a", where=x),
    "recall neighbours": lambda _, memory, x: memory.recall("a", neighbours=x),
    "recent": lambda _, memory, x: memory.recent(x),
    "supersede": lambda _, memory, x: memory.supersede(x, "a"),
    "working size": lambda *given: WorkingMemory(size=given[-1]),
    "working ttl": lambda *given: WorkingMemory().push(1, ttl=given[-1]),
}
# An iterable is the caller's code: what it gives is taken, and what it raises goes on unchanged.
ITERATED = {"put_many", "race", "remember_many"}


async def propose(_: Any) -> Candidate:
    return Candidate(key=axis(0))


@pytest.mark.parametrize("name", list(STRANGE))
async def test_what_is_strange_is_refused_and_nothing_is_written(name: str) -> None:
    strange = STRANGE[name]
    async with (
        Lattice(MemoryStore(), dim=DIM) as lattice,
        TextMemory(lattice, HashingEmbedder(DIM)) as memory,
    ):
        await memory.remember("a heron")
        digest, pins = lattice.digest, dict(lattice.pins)
        found: dict[str, str] = {}
        for what in CALLS.keys() - ITERATED:
            outcome = await outcome_of(CALLS[what], lattice, memory, strange)
            if not isinstance(outcome, PmllError | TypeError | None) or str(outcome) == "":
                found[what] = type(outcome).__name__
            if (lattice.digest, lattice.pins) != (digest, pins):
                found[what] = "written"
                digest, pins = lattice.digest, dict(lattice.pins)
        assert found == {}


async def outcome_of(call: Call, *arguments: Any) -> Exception | None:
    try:
        answer = call(*arguments)
        if hasattr(answer, "__await__"):
            await answer
    # What is to be found out is which there are.
    except Exception as exc:  # noqa: BLE001  # as said
        return exc
    return None


@pytest.mark.parametrize("context", [np.array([1, 2]), np.array({}), [], "a", HostileMapping()])
def test_what_is_no_context_is_said_so(context: Any) -> None:
    with pytest.raises(InvalidContextError, match=r"a mapping is wanted|reading it raised OSError"):
        Candidate(key=axis(0), context=context)


class Broken(BaseException):
    pass


@pytest.mark.parametrize("error", [OSError("no"), StopIteration(), Broken(), Hostile])
async def test_a_clock_that_raises_is_named(error: Any) -> None:
    broken = False

    def clock() -> Any:
        if not broken:
            return 5.0
        if isinstance(error, BaseException):
            raise error
        return error()

    async with Lattice(MemoryStore(), dim=DIM, clock=clock) as lattice:
        await lattice.put(axis(0))
        working = WorkingMemory(clock=clock)
        broken = True
        calls = [
            lambda: lattice.query(axis(0)),
            lambda: lattice.bias_vector(axis(0)),
            lambda: lattice.race([propose]),
            lambda: lattice.put(axis(1)),
            lambda: lattice.forget(lattice.head),
        ]
        for call in calls:
            with pytest.raises(PmllError, match="clock"):
                await call()
        with pytest.raises(PmllError, match="clock"):
            working.push(1, ttl=1.0)
        broken = False
        assert len(await lattice.query(axis(0))) == lattice.revision == 1
