"""Stand-ins and short cuts of the lattice's tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pmll_async import Candidate, Lattice, LatticeView, MemoryLine
from pmll_async.engine.queries.batcher import SMALL_PRODUCT
from pmll_async.indexes.exact import ExactIndex
from pmll_async.protocols import Columns, Hit, RankQuery, Recovery, Store, StoreHeader
from pmll_async.records.blocks import Block
from pmll_async.records.proposals import PutProposal
from pmll_async.records.record import Record
from pmll_async.values.anchors import Hasher
from pmll_async.values.concert import Float32, Float64

DIM = 8
PATIENCE = 10.0
"""Seconds until a test that waits in vain fails; never what decides an order."""


def axis(number: int, scale: float = 1.0) -> Float32:
    """The vector along one axis."""
    vector = np.zeros(DIM, dtype=np.float32)
    vector[number] = scale
    return vector


def near(number: int, cosine: float, other: int = 7) -> Float32:
    """A unit vector with this cosine to `axis(number)`."""
    return axis(number, cosine) + axis(other, (1 - cosine**2) ** 0.5)


def proposing(
    candidate: Candidate, *, after: asyncio.Event | None = None
) -> Callable[[LatticeView], Awaitable[Candidate]]:
    """A candidate function that proposes just that."""

    async def propose(view: LatticeView) -> Candidate:
        if after is not None:
            await after.wait()
        return candidate

    return propose


async def put_by_an_older_release(
    lattice: Lattice, key: Float32, context: dict[str, Any], timestamp: float | None
) -> str:
    """A line with any finite time, as releases before the check of times stored it."""
    opened = lattice._writable()  # no public call stores it any more
    content = await opened.encoder.line(key, None, context)
    return await opened.trace.commit(PutProposal(content, timestamp=timestamp))


async def steps(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


class Gate:
    """Holds whichever thread comes until it is opened, and tells that one has come."""

    def __init__(self) -> None:
        self._arrived, self._opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self._arrived.set()
        if not self._opened.wait(PATIENCE):
            raise TimeoutError("nobody opened the gate")

    async def arrival(self) -> None:
        """Wait until a thread stands at the gate."""
        assert await asyncio.to_thread(self._arrived.wait, PATIENCE), "nobody came to the gate"

    def open(self) -> None:
        self._opened.set()


def must_be_off_loop(what: str) -> None:
    """Fail when called on a thread that runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise AssertionError(f"{what} was called on the event loop's thread")


class SpyStore:
    """Passes every call on, keeps their names, and lets a test act before or after one.

    Called on an event loop's thread it fails.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, Callable[[], None]] = {}

    @property
    def path(self) -> str:
        return self.inner.path

    @property
    def read_only(self) -> bool:
        return self.inner.read_only

    @property
    def recovery(self) -> Recovery:
        return self.inner.recovery

    def open(self, header: StoreHeader | None, hasher: Hasher) -> StoreHeader:
        self._enter("open")
        opened = self.inner.open(header, hasher)
        self._leave("open")
        return opened

    def load(self) -> Iterator[Block]:
        self._enter("load")
        yield from self.inner.load()
        self._leave("load")

    def append(self, records: Sequence[Record], block: Block) -> None:
        self._enter("append")
        self.inner.append(records, block)
        self._leave("append")

    def pin(self, name: str, value: str) -> None:
        self._enter("pin")
        self.inner.pin(name, value)
        self._leave("pin")

    def read(self, n: int) -> Record:
        self._enter("read")
        record = self.inner.read(n)
        self._leave("read")
        return record

    def contexts(self, first: int, stop: int) -> Iterator[Sequence[bytes]]:
        self._enter("contexts")
        yield from self.inner.contexts(first, stop)

    def close(self) -> None:
        self._enter("close")
        self.inner.close()
        self._leave("close")

    def _enter(self, name: str) -> None:
        must_be_off_loop(f"Store.{name}")
        self.calls.append(name)
        self.before.get(name, _nothing)()

    def _leave(self, name: str) -> None:
        self.after.get(name, _nothing)()


def _nothing() -> None: ...


class GuardedIndex(ExactIndex):
    """The exact index; on an event loop's thread it does no more than what is quick."""

    def add(self, keys: Float32, norms: Float64) -> None:
        must_be_off_loop("Index.add")
        super().add(keys, norms)

    def rank(self, columns: Columns, queries: Sequence[RankQuery]) -> list[list[Hit]]:
        if columns.count * DIM > SMALL_PRODUCT and not self.quick(columns.count):
            must_be_off_loop("Index.rank")
        return super().rank(columns, queries)

    def nearest(
        self, columns: Columns, keys: Float32, norms: Float64, start: int = 0
    ) -> list[tuple[float, int] | None]:
        must_be_off_loop("Index.nearest")
        return super().nearest(columns, keys, norms, start)


async def chain_of(lattice: Lattice) -> list[MemoryLine]:
    """The chain, oldest first, after checking that it is one."""
    lines = [line async for line in lattice.rewind()][::-1]
    assert [line.position for line in lines] == list(range(len(lattice)))
    heads = ["0" * 16, *(line.anchor for line in lines)]
    assert [line.prev_anchor for line in lines] == heads[:-1]
    assert lattice.head == heads[-1]
    assert all(line.anchor in lattice for line in lines)
    return lines


async def topics(lattice: Lattice) -> list[object]:
    """What the lines on the chain say they are about, oldest first."""
    return [line.context.get("topic") for line in await chain_of(lattice)]


async def seen(lattice: Any, **options: Any) -> list[Any]:
    """What the lines that a query returns say they are, sorted."""
    lines = await lattice.query(axis(0), 100, min_similarity=-1.0, **options)
    return sorted(line.context.get("is") for line in lines)
