"""The same commits run one by one and in batches, and keys whose novelty is hard to tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pmll_async import Lattice, Limits, NotNovelError, PmllError
from pmll_async.records.record import Record
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import GatedStore, ManualClock
from pmll_async.values.concert import Float32

Commit = Callable[[Lattice], Awaitable[Any]]
NO_LIMIT = 4096


@dataclass(frozen=True)
class Run:
    """What came of a list of commits: how each was answered, and what is stored."""

    answers: list[Any]
    records: list[Record]
    digest: str
    batches: list[int]


async def run(
    dim: int,
    commits: Sequence[Commit],
    *,
    together: int = 0,
    limit: int = NO_LIMIT,
    window: int | None = None,
) -> Run:
    """Run the commits `together` at a time, in batches of at most `limit`, or one by one.

    What is run together begins with a commit that stores something, which holds the gate.
    """
    store = GatedStore(MemoryStore())
    limits = Limits(batch_records=limit, batch_bytes=1 << 40)
    lattice = Lattice(store, dim=dim, clock=ManualClock(), limits=limits, novelty_window=window)
    async with lattice:
        answers: list[Any] = []
        for first in range(0, len(commits), together or 1):
            part = commits[first : first + (together or 1)]
            answers += await (held(store, lattice, part) if together else alone(lattice, part))
        digest = lattice.digest
    # How records were grouped is no part of what they say.
    records = [replace(record, following=0) for record in store.store._records]
    return Run(answers, records, digest, store.batches)


async def alone(lattice: Lattice, commits: Sequence[Commit]) -> list[Any]:
    return [await answered(commit(lattice)) for commit in commits]


async def held(store: GatedStore, lattice: Lattice, commits: Sequence[Commit]) -> list[Any]:
    """Hold the first commit at the gate until all others wait, so that they are one batch."""
    store.hold()
    first = asyncio.ensure_future(answered(commits[0](lattice)))
    await asyncio.to_thread(store.wait_for_append)
    rest = [asyncio.ensure_future(answered(commit(lattice))) for commit in commits[1:]]
    await asyncio.sleep(0)
    store.release()
    return await asyncio.gather(first, *rest)


async def answered(commit: Awaitable[Any]) -> Any:
    try:
        return await commit
    except NotNovelError as exc:
        return ("not novel", exc.novelty, exc.nearest)
    except PmllError as exc:
        return type(exc).__name__


def puts(keys: Sequence[Float32], **options: Any) -> list[Commit]:
    return [
        lambda lattice, n=n, key=key: lattice.put(key, context={"n": n}, **options)
        for n, key in enumerate(keys)
    ]


def note(number: int) -> Commit:
    """Stores something, whatever was stored before."""
    return lambda lattice: lattice.note({"part": number})


async def check(dim: int, commits: Sequence[Commit], window: int | None = None) -> Run:
    """One by one, in one batch, in three and in small ones: all the same."""
    third = -(-len(commits) // 3)
    parts = [
        [note(first), *commits[first : first + third]] for first in range(0, len(commits), third)
    ]
    commits = [commit for part in parts for commit in part]
    expected = await run(dim, commits, window=window)
    for together, limit in [(len(commits), NO_LIMIT), (third + 1, NO_LIMIT), (len(commits), 5)]:
        found = await run(dim, commits, together=together, limit=limit, window=window)
        assert found.answers == expected.answers
        assert found.records == expected.records
        assert found.digest == expected.digest
    return expected


# --- keys whose novelty is hard to tell --------------------------------------------------------


def near_duplicates(dim: int, count: int = 40) -> Float32:
    random = np.random.default_rng(dim)
    centre = random.standard_normal(dim)
    return (centre * (1 + 1e-7 * random.standard_normal((count, dim)))).astype(np.float32)


def duplicates(dim: int) -> Float32:
    keys = np.random.default_rng(dim).standard_normal((5, dim)).astype(np.float32)
    return keys[np.random.default_rng(1).integers(5, size=40)]


def clusters(dim: int) -> Float32:
    random = np.random.default_rng(dim)
    centres = random.standard_normal((4, dim))
    return (centres[random.integers(4, size=60)] + 0.01 * random.standard_normal((60, dim))).astype(
        np.float32
    )


def magnitudes(dim: int) -> Float32:
    random = np.random.default_rng(dim)
    scales = random.choice([1e-45, 1e-38, 1e-20, 1.0, 1e20, 3e38], (50, 1))
    keys = (random.uniform(-1, 1, (50, dim)) * scales).astype(np.float32)
    keys[np.all(keys == 0, axis=1), 0] = 1e-45
    return keys


def opposites(dim: int) -> Float32:
    keys = clusters(dim)
    keys[::2] *= -1
    return keys
