"""The same commits give the same anchors, novelties and digest, however they were batched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from batchings import (
    Commit,
    check,
    clusters,
    duplicates,
    magnitudes,
    near_duplicates,
    opposites,
    puts,
    run,
)
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from pmll_async import Candidate, Lattice, StoreFullError
from pmll_async.records.record import Record
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import GatedStore, ManualClock
from pmll_async.values.concert import Float32, clamp_cosine, exact_dots, exact_norm, novelty_of

KEYS = [near_duplicates, duplicates, clusters, magnitudes, opposites]


@pytest.mark.parametrize("make", KEYS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("dim", [1, 3, 384])
async def test_puts(make: Callable[[int], Float32], dim: int) -> None:
    keys = make(dim)
    outcome = await check(dim, puts(keys))
    assert_novelties(outcome.records, keys)


@pytest.mark.parametrize("dim", [3, 384])
async def test_puts_that_must_be_novel(dim: int) -> None:
    """Who is refused depends on who was not."""
    keys = np.concatenate([clusters(dim), near_duplicates(dim), duplicates(dim)])
    outcome = await check(dim, puts(keys, min_novelty=1e-4))
    refused = [answer for answer in outcome.answers if isinstance(answer, tuple)]
    assert 0 < len(refused) < len(keys)


@pytest.mark.parametrize("batch", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("make", KEYS, ids=lambda make: make.__name__)
async def test_put_many(make: Callable[[int], Float32], batch: int) -> None:
    keys = make(8)
    expected = await run(8, puts(keys))
    candidates = [Candidate(key=key, context={"n": n}) for n, key in enumerate(keys)]
    found = await run(8, [lambda lattice: lattice.put_many(candidates, batch=batch)])
    assert found.answers == [len(keys)]
    assert found.records == expected.records
    assert found.digest == expected.digest
    assert found.batches == [min(batch, len(keys) - i) for i in range(0, len(keys), batch)]


def assert_novelties(records: Sequence[Record], keys: Float32) -> None:
    """Each against all before it, one pair at a time."""
    lines = [line for record in records for line in record.lines if line.kind == "line"]
    norms = [exact_norm(key) for key in keys]
    for n, line in enumerate(lines):
        cosines = [
            clamp_cosine(exact_dots(keys[i : i + 1], keys[n]), np.array(norms[i : i + 1]), norms[n])
            for i in range(n)
        ]
        similarity = max((float(cosine[0]) for cosine in cosines), default=0.0)
        assert line.similarity == similarity
        assert line.novelty == novelty_of(similarity)


# --- everything at once ------------------------------------------------------------------------


@st.composite
def mixed(draw: st.DrawFn) -> list[Commit]:
    """Commits of every kind, some of which are refused, about lines that exist by then."""
    keys = clusters(3)
    commits: list[Commit] = []
    for n in range(draw(st.integers(2, 25))):
        key, used = keys[draw(st.integers(0, 9))], draw(st.sampled_from([None, None, "a", "b"]))
        kind = draw(st.sampled_from(["put", "put", "note", "novel", "decay", "forget", "stale"]))
        back = draw(st.integers(1, 4))
        commits.append(commit_of(kind, n, key, used, back))
    return commits


def commit_of(kind: str, n: int, key: Float32, used: str | None, back: int) -> Commit:
    context = {"n": n // 3}
    match kind:
        case "put":
            return lambda lattice: lattice.put(key, None, context, idempotency_key=used)
        case "note":
            return lambda lattice: lattice.note(context, idempotency_key=used)
        case "novel":
            return lambda lattice: lattice.put(key, context=context, min_novelty=0.001)
        case "decay":
            return lambda lattice: lattice.decay(FIRST, 0.9**back)
        case "forget":
            return lambda lattice: lattice.forget(FIRST)
        case _:
            return lambda lattice: lattice.put(key, context=context, revises=[FIRST])


FIRST = "c0ffee0000000000"


@settings(max_examples=examples(13), deadline=None)
@given(mixed())
def test_commits_of_every_kind(commits: list[Commit]) -> None:
    async def checked() -> None:
        first = (await run(3, puts(clusters(3)[:1]))).answers[0]
        begin = puts(clusters(3)[:1])

        def about(commit: Commit) -> Commit:
            return lambda lattice: commit(_About(lattice, first))

        await check(3, begin + [about(commit) for commit in commits])

    asyncio.run(checked())


class _About:
    """A lattice on which FIRST stands for the first line's anchor."""

    def __init__(self, lattice: Lattice, first: str) -> None:
        self._lattice, self._first = lattice, first

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._lattice, name)

        def call(*args: Any, **options: Any) -> Any:
            args = tuple(self._first if isinstance(a, str) and a == FIRST else a for a in args)
            if "revises" in options:
                options["revises"] = [self._first]
            return method(*args, **options)

        return call


async def test_a_refused_group_leaves_no_trace() -> None:
    """What a group had put before it was refused counts for no later novelty."""
    keys = clusters(4)
    good = [Candidate(key=key, context={"n": n}) for n, key in enumerate(keys[:5])]
    bad = [*good, Candidate(key=keys[5], revises=["0123456789abcdef"])]

    def many(candidates: list[Candidate]) -> Commit:
        return lambda lattice: lattice.put_many(candidates)

    outcome = await check(4, [*puts(keys[6:8]), many(bad), *puts(keys[:5]), many(bad), many(good)])
    assert outcome.answers.count("LineNotFoundError") == 2
    stored = np.concatenate([keys[6:8], keys[:5], keys[:5]])
    assert_novelties(outcome.records, stored)


async def test_a_failed_append_leaves_no_trace() -> None:
    store = GatedStore(MemoryStore())
    keys = clusters(4)
    async with Lattice(store, dim=4, clock=ManualClock()) as lattice:
        store.fail_next(StoreFullError("disk"))
        with pytest.raises(StoreFullError):
            await lattice.put(keys[0], context={"n": 9}, idempotency_key="k")
        for commit in puts(keys[:10]):
            await commit(lattice)
        assert lattice.digest == (await run(4, puts(keys[:10]))).digest


async def test_one_gate_makes_one_batch() -> None:
    """What the tests above rest on."""
    outcome = await run(3, puts(clusters(3)), together=60)
    assert outcome.batches == [1, 59]
    outcome = await run(3, puts(clusters(3)), together=20)
    assert outcome.batches == [1, 19] * 3
