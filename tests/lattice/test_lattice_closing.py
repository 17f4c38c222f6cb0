"""Calls under way when the lattice closes: what was accepted is answered, the rest is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from lattice_support import Gate, SpyStore, axis, proposing, steps

from pmll_async import Candidate, Lattice, LatticeClosedError


async def test_waiting_writes_are_finished_before_it_closes(
    lattice: Lattice, store: SpyStore
) -> None:
    gate = Gate()
    await lattice
    store.before["append"] = gate
    puts = [asyncio.create_task(lattice.put(axis(i), None, {"topic": i})) for i in range(8)]
    await gate.arrival()
    closing = asyncio.create_task(lattice.aclose())
    await steps(5)
    assert not closing.done()
    gate.open()
    anchors = await asyncio.gather(*puts)
    await closing
    assert len(set(anchors)) == 8
    assert store.calls[-1] == "close"


@pytest.mark.parametrize("name", ["race", "put_many", "decay", "rollback"])
async def test_an_accepted_write_is_answered_although_it_closes(
    lattice: Lattice, store: SpyStore, name: str
) -> None:
    writes: dict[str, Callable[[], Awaitable[Any]]] = {
        "race": lambda: lattice.race([proposing(Candidate(key=axis(0)))]),
        "put_many": lambda: lattice.put_many([Candidate(key=axis(0))]),
        "decay": lambda: lattice.decay(lattice.head, 0.5),
        "rollback": lambda: lattice.rollback(0),
    }
    gate = Gate()
    await lattice
    await lattice.put(axis(1))
    store.before["append"] = gate
    write = asyncio.ensure_future(writes[name]())
    await gate.arrival()
    closing = asyncio.create_task(lattice.aclose())
    await steps(5)
    gate.open()
    await closing
    await write


READS = ["query", "bias_vector", "get", "find", "branches", "rewind"]


@pytest.mark.parametrize("name", ["quick query", *READS])
async def test_an_accepted_read_is_answered_although_it_closes(
    lattice: Lattice, store: SpyStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name != "quick query":
        monkeypatch.setattr("pmll_async.engine.queries.batcher.SMALL_PRODUCT", -1)
        monkeypatch.setattr("pmll_async.indexes.exact.SMALL_PRODUCT", -1)
    gate = Gate()
    await lattice
    outcome = await lattice.race(
        [proposing(Candidate(key=axis(i))) for i in range(2)], idempotency_key="k"
    )
    reads: dict[str, Callable[[], Any]] = {
        "quick query": lambda: lattice.query(axis(0)),
        "query": lambda: lattice.query(axis(0)),
        "bias_vector": lambda: lattice.bias_vector(axis(0)),
        "get": lambda: lattice.get(outcome.winner.anchor),
        "find": lambda: lattice.find("k"),
        "branches": lambda: lattice.branches(outcome.winner.anchor),
        "rewind": lambda: anext(lattice.rewind()),
    }
    await lattice.put(axis(2), idempotency_key="other")
    lattice._open.services.reader._cache._lines.clear()
    store.before["read"] = gate
    read = asyncio.ensure_future(reads[name]())
    await gate.arrival()
    closing = asyncio.create_task(lattice.aclose())
    await steps(5)
    gate.open()
    await closing
    assert await read is not None


async def test_a_race_under_way_when_it_closes_writes_nothing_and_says_so(
    lattice: Lattice, store: SpyStore
) -> None:
    go = asyncio.Event()
    await lattice
    racing = asyncio.create_task(lattice.race([proposing(Candidate(key=axis(0)), after=go)]))
    await steps(5)
    await lattice.aclose()
    go.set()
    with pytest.raises(LatticeClosedError):
        await racing
    assert "append" not in store.calls


async def test_put_many_says_what_it_stored_before_it_closed(
    lattice: Lattice,
) -> None:
    more = asyncio.Event()

    async def source() -> Any:
        yield Candidate(key=axis(0))
        more.set()
        await closed.wait()
        yield Candidate(key=axis(1))

    closed = asyncio.Event()
    await lattice
    async with aclosing(source()) as candidates:
        storing = asyncio.create_task(lattice.put_many(candidates, batch=1))
        await more.wait()
        await lattice.aclose()
        closed.set()
        with pytest.raises(LatticeClosedError) as caught:
            await storing
    assert caught.value.stored == 1
