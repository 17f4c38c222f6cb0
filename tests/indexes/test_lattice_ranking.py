"""What a lattice ranks is what brute force ranks, asked alone or together with others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from pmll_async import Candidate, Concert, Lattice, MemoryLine
from pmll_async.records.blocks import Block
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import ManualClock
from pmll_async.values.concert import clamp_cosine, exact_dots, exact_norm, weighted_bias

DIM = 6
COUNT = 1500
NOW = 1_700_050_000.0


def candidates() -> list[Candidate]:
    """Clustered, with duplicates, back-dated and with lines from the future."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((40, DIM))
    noise = random.choice([0.0, 1e-7, 0.2], (COUNT, 1)) * random.standard_normal((COUNT, DIM))
    keys = (centres[random.integers(40, size=COUNT)] + noise).astype(np.float32)
    return [
        Candidate(
            key=key,
            context={"n": n, "part": n % 3, "rare": n % 50 == 7},
            timestamp=float(NOW + random.choice([-1e6, -7200.0, -60.0, 0.0, 900.0])),
        )
        for n, key in enumerate(keys)
    ]


@pytest.fixture
async def lattice() -> AsyncIterator[Lattice]:
    async with Lattice(MemoryStore(), dim=DIM, clock=ManualClock()) as lattice:
        assert await lattice.put_many(candidates()) == COUNT
        await lattice.note({"n": -1, "part": 0})
        anchors = [line.anchor async for line in lattice.rewind(limit=200)]
        await asyncio.gather(
            *(lattice.forget(anchor) for anchor in anchors[1:200:9]),
            *(lattice.decay(anchor, 0.5) for anchor in anchors[2:200:9]),
            *(lattice.decay(anchor, 0.0) for anchor in anchors[3:200:9]),
        )
        yield lattice


async def living(lattice: Lattice) -> list[MemoryLine]:
    """Every line that `query` may return, read without it."""
    forgotten = {record.anchor for record in lattice._store._records if record.op == "forget"}
    lines = [line async for line in lattice.rewind()]
    return [line for line in lines if line.kind == "line" and line.anchor not in forgotten]


def brute_force(
    lines: list[MemoryLine], vector: np.ndarray, k: int, concert: Concert
) -> list[tuple[str, float, float, float]]:
    found = []
    for line in lines:
        norms = np.array([exact_norm(line.key)])
        dots = exact_dots(line.key[None], vector)
        [similarity] = clamp_cosine(dots, norms, exact_norm(vector)).tolist()
        recency = concert.recency(line.timestamp, NOW)
        weight = concert.weight(
            strength=line.strength, recency=recency, similarity=similarity, novelty=line.novelty
        )
        if similarity >= concert.floor:
            found.append((-weight, -(line.position or 0), line.anchor, similarity, recency))
    found.sort()
    return [(anchor, s, r, -w) for w, _, anchor, s, r in found[:k]]


def told(lines: list[MemoryLine]) -> list[tuple[str, float, float, float]]:
    return [(line.anchor, line.similarity, line.recency, line.weight) for line in lines]


def questions(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    keys = [candidate.key for candidate in candidates()[:count:2]]
    return [*keys, *random.standard_normal((count, DIM)).astype(np.float32)][:count]


@pytest.mark.parametrize("k", [1, 5, 50, COUNT + 1])
async def test_queries(lattice: Lattice, k: int) -> None:
    lines = await living(lattice)
    for vector in questions(6):
        found = await lattice.query(vector, k, now=NOW)
        assert told(found) == brute_force(lines, vector, k, lattice.concert)


async def test_filters(lattice: Lattice) -> None:
    lines = await living(lattice)
    filters: list[dict[str, Any]] = [{"part": 1}, {"rare": True}, {"n": 9}, {"n": "none"}]
    for where in filters:
        [(name, value)] = where.items()
        matching = [line for line in lines if line.context[name] == value]
        for vector in questions(4):
            found = await lattice.query(vector, 7, where=where, now=NOW)
            assert told(found) == brute_force(matching, vector, 7, lattice.concert)


async def test_the_bias(lattice: Lattice) -> None:
    for vector in questions(6):
        lines = await lattice.query(vector, 5, now=NOW)
        expected = weighted_bias(
            [line.weight for line in lines], [line.value for line in lines], DIM
        )
        assert (await lattice.bias_vector(vector, 5, now=NOW)).tobytes() == expected.tobytes()


async def test_alone_and_with_63_others(lattice: Lattice) -> None:
    vectors = questions(64)
    alone = [told(await lattice.query(vector, 9, now=NOW)) for vector in vectors]
    together = await asyncio.gather(*(lattice.query(vector, 9, now=NOW) for vector in vectors))
    assert [told(lines) for lines in together] == alone


async def test_a_large_lattice_asked_alone_and_with_63_others() -> None:
    """More keys than one block has, so that products are made in a worker thread, in batches."""
    store, random = MemoryStore(), np.random.default_rng(2)
    async with Lattice(store, dim=24, clock=ManualClock()) as lattice:
        keys = random.standard_normal((9000, 24)).astype(np.float32)
        await lattice.put_many((Candidate(key=key) for key in keys), batch=1000)
        vectors = [*keys[:32], *random.standard_normal((32, 24)).astype(np.float32)]
        asked = [lattice.query(vector, 5, now=NOW) for vector in vectors]
        together = [told(lines) for lines in await asyncio.gather(*asked)]
        for vector, expected in zip(vectors[::5], together[::5], strict=True):
            assert told(await lattice.query(vector, 5, now=NOW)) == expected
        lines = await living(lattice)
        assert together[40] == brute_force(lines, vectors[40], 5, lattice.concert)
        block = Block.of(store._records, 0, bytes(32), 24)
        assert len(block.keys) == 9000


async def test_branches_and_their_absence() -> None:
    async with Lattice(MemoryStore(), dim=2, clock=ManualClock()) as lattice:

        def candidate(number: int) -> Any:
            async def propose(_: Any) -> Candidate:
                return Candidate(key=[1, number], context={"n": number}, confidence=-number)

            return propose

        outcome = await lattice.race([candidate(n) for n in range(4)], decay=0.5)
        every = await lattice.query([1, 1], 9)
        assert {line.anchor for line in every} == {
            outcome.winner.anchor,
            *(line.anchor for line in outcome.losers),
        }
        assert [line.anchor for line in await lattice.query([1, 1], 9, branches=False)] == [
            outcome.winner.anchor
        ]
        await lattice.decay(outcome.losers[0].anchor, 0.09)
        assert len(await lattice.query([1, 1], 9)) == 3
        assert (await lattice.get(outcome.losers[0].anchor)).strength == 0.045
        await lattice.decay(outcome.losers[0].anchor, 2.0)
        assert len(await lattice.query([1, 1], 9)) == 4
