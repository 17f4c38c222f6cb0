"""Long chains cost memory for what is asked, and not for what there is."""

from __future__ import annotations

import gc
import sys
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from pmll_async import Candidate, Lattice, Limits
from pmll_async.records.blocks import Block
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import ChainBuilder, ManualClock

LONG = 20_000
CACHED = 64
MEGABYTE = 1 << 20


def planted(count: int) -> MemoryStore:
    """A chain, planted without being committed: every fourth of its lines is a note."""
    chain = ChainBuilder(dim=2)
    line, note = chain.put({"kind": "line"}), chain.note({"kind": "note"})
    store = MemoryStore()
    store.open(chain.header, chain.hasher)
    head, records = "0" * 16, []
    for n in range(count):
        model = note if n % 4 == 3 else line
        content = model.line.content
        anchor = chain.hasher.anchor(head, content.digests)
        entry = model.line._replace(anchor=anchor, prev_anchor=head)
        records.append(replace(model, line=entry, t=float(n)))
        head = anchor
    # The digest is nobody's business here.
    store.append(records, Block.of(records[:1], 0, bytes(32), 2))
    store.close()
    return store


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return planted(LONG)


def opened(store: MemoryStore) -> Lattice:
    return Lattice(store, clock=ManualClock(), limits=Limits(cached_lines=CACHED))


@pytest.fixture
async def lattice(store: MemoryStore) -> AsyncIterator[Lattice]:
    async with opened(store) as lattice:
        yield lattice


def traced() -> Iterator[int]:
    """The peak of traced memory above where it began, asked for again and again."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        while True:
            yield tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


async def test_rewinding_a_long_chain(lattice: Lattice) -> None:
    # The stack could not hold one frame a line.
    assert sys.getrecursionlimit() < LONG == len(lattice)
    position, prev, notes = LONG, lattice.head, 0
    async for line in lattice.rewind():
        position -= 1
        assert (line.position, line.anchor) == (position, prev)
        prev, notes = line.prev_anchor, notes + (line.kind == "note")
    assert (position, prev, notes) == (0, "0" * 16, LONG // 4)
    peaks = traced()
    next(peaks)
    async for _ in lattice.rewind(limit=5000):
        pass
    # It takes a quarter of a megabyte; so many lines that were kept would be ten.
    assert next(peaks) < 2 * MEGABYTE
    peaks.close()


async def test_leaving_early_costs_what_was_read(lattice: Lattice) -> None:
    peaks = traced()
    next(peaks)
    async for line in lattice.rewind():
        if line.position == LONG - 100:
            break
    assert next(peaks) < MEGABYTE
    peaks.close()


async def test_rewinding_from_the_middle_and_with_a_filter(lattice: Lattice) -> None:
    start = (await anext(lattice.rewind(limit=1))).anchor
    async for line in lattice.rewind(limit=1000):
        start = line.anchor
    lines = [line async for line in lattice.rewind(start=start, limit=3)]
    assert [line.position for line in lines] == [LONG - 1000 - n for n in range(3)]
    notes = [line async for line in lattice.rewind(where={"kind": "note"}, limit=500)]
    assert [line.position for line in notes] == [LONG - 1 - 4 * n for n in range(500)]
    # The index of contexts is made by now, and costs nothing any more.
    peaks = traced()
    next(peaks)
    async for _ in lattice.rewind(where={"kind": "line"}, limit=5000):
        pass
    # So many lines that were kept would be ten.
    assert next(peaks) < 2 * MEGABYTE
    peaks.close()


async def test_a_view_of_a_long_chain(lattice: Lattice) -> None:
    view = lattice.at(LONG // 2)
    assert len(view) == LONG // 2
    lines = [line async for line in view.rewind(limit=2)]
    assert [line.position for line in lines] == [LONG // 2 - 1, LONG // 2 - 2]
    [line] = await view.query([1, 0], 1, min_similarity=-1.0)
    assert (line.position or 0) < LONG // 2


# --- put_many ----------------------------------------------------------------------------------

PUT = 6_000
BATCH = 100


class Living:
    """Counts the candidates that somebody still holds."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def watch(self, candidate: Candidate) -> Candidate:
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(candidate.key, self._gone)
        return candidate

    def _gone(self) -> None:
        self.now -= 1


def candidates(living: Living) -> Iterator[Candidate]:
    random = np.random.default_rng(0)
    for n in range(PUT):
        yield living.watch(Candidate(key=random.standard_normal(2), context={"n": n}))


async def trickled(living: Living) -> AsyncIterator[Candidate]:
    for candidate in candidates(living):
        yield candidate


@pytest.mark.parametrize("is_async", [False, True])
async def test_put_many_holds_one_batch(is_async: bool) -> None:
    living, seen = Living(), []
    given = trickled(living) if is_async else candidates(living)
    async with Lattice(MemoryStore(), dim=2, clock=ManualClock()) as lattice:
        assert await lattice.put_many(given, batch=BATCH, progress=seen.append) == PUT
        assert len(lattice) == PUT
    assert seen == list(range(BATCH, PUT + 1, BATCH))
    assert living.most <= 2 * BATCH
    assert living.now <= 2


class Forgetful(MemoryStore):
    """Stores nothing, so that what the lattice itself holds can be measured."""

    def append(self, records: object, block: object) -> None:
        """Lets go of everything."""


async def test_put_many_keeps_little_more_than_its_columns() -> None:
    async with Lattice(Forgetful(), dim=2, clock=ManualClock()) as lattice:
        await lattice.put_many(islice(candidates(Living()), 1000), batch=BATCH)
        peaks = traced()
        next(peaks)
        await lattice.put_many(candidates(Living()), batch=BATCH)
        kept = tracemalloc.get_traced_memory()[0]
        peaks.close()
    # Key, anchor, chain and columns of a line are 240 bytes; the line as an object would be 2 000.
    assert kept / PUT < 1000
