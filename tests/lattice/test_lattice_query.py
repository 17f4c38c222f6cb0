"""What a query returns, what it leaves out, and the same question put to the past."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from lattice_support import (
    DIM,
    axis,
    chain_of,
    near,
    proposing,
    put_by_an_older_release,
)

from pmll_async import Candidate, Concert, InvalidInputError, Lattice, LineNotFoundError, MemoryLine
from pmll_async.protocols import Clock
from pmll_async.stores.memory import MemoryStore


def labels(lines: list[MemoryLine]) -> list[object]:
    return [line.context.get("topic") for line in lines]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmll_async.engine.queries.batcher.SMALL_PRODUCT", -1)
    monkeypatch.setattr("pmll_async.indexes.exact.SMALL_PRODUCT", -1)


async def test_k_larger_than_the_lattice_and_zero(lattice: Lattice) -> None:
    async with lattice:
        assert await lattice.query(axis(0), k=5) == []
        for cosine in (0.9, 0.5, 0.2):
            await lattice.put(near(0, cosine), None, {"topic": cosine})
        assert labels(await lattice.query(axis(0), k=10**9)) == [0.9, 0.5, 0.2]
        assert await lattice.query(axis(0), k=0) == []
        assert labels(await lattice.query(axis(0), k=np.int64(1))) == [0.9]


async def test_the_floor_and_its_replacement(lattice: Lattice) -> None:
    async with lattice:
        for cosine in (0.9, 0.16, 0.14, -0.5):
            await lattice.put(near(0, cosine), None, {"topic": cosine})
        assert labels(await lattice.query(axis(0))) == [0.9, 0.16]
        assert labels(await lattice.query(axis(0), min_similarity=-1)) == [0.9, 0.16, 0.14, -0.5]
        assert labels(await lattice.query(axis(0), min_similarity=0.5)) == [0.9]
        for bad in (1.1, -1.1, math.nan, "0"):
            with pytest.raises(InvalidInputError):
                await lattice.query(axis(0), min_similarity=bad)


async def test_a_floor_of_one_keeps_the_line_itself(lattice: Lattice) -> None:
    key = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], dtype=np.float32)
    async with lattice:
        await lattice.put(axis(0, 3.0))
        await lattice.put(key, None, {"topic": "a"})
        assert len(await lattice.query(axis(0), min_similarity=1.0)) == 1
        found = await lattice.query(key, min_similarity=0.999999)
        assert labels(found) == ["a"]
        assert found[0].similarity <= 1.0


async def test_the_weight_says_how_it_came_about(lattice: Lattice, clock: Any) -> None:
    async with lattice:
        await lattice.put(axis(1))
        anchor = await lattice.put(near(0, 0.8, other=1))
        await lattice.decay(anchor, 0.5)
        clock.advance(3600)
        (line,) = await lattice.query(axis(0))
        assert line.anchor == anchor
        assert line.similarity == pytest.approx(0.8, abs=1e-7)
        assert line.recency == math.exp(-3600 / 21600)
        assert line.novelty == pytest.approx(0.4, abs=1e-7)
        expected = 0.5 * (0.35 * line.recency + 0.5 * line.similarity + 0.08 * line.novelty)
        assert line.weight == pytest.approx(expected, rel=1e-15)
        (later,) = await lattice.query(axis(0), now=clock.now + 3600)
        assert later.recency == math.exp(-7200 / 21600)
        (before,) = await lattice.query(axis(0), now=0)
        assert before.recency == 1.0


@pytest.mark.parametrize("now", [7.2e9, 0, 5e-324])
@pytest.mark.parametrize("timestamp", [1e308, -1e308, None])
async def test_extreme_times_rank_without_warnings(
    lattice: Lattice, now: float, timestamp: float | None
) -> None:
    async with lattice:
        await put_by_an_older_release(lattice, axis(0), {"topic": "a"}, timestamp)
        await put_by_an_older_release(lattice, near(0, 0.5), {"topic": "b"}, timestamp)
        assert labels(await lattice.query(axis(0), now=now)) == ["a", "b"]


async def test_equal_weights_go_by_later_record_then_anchor() -> None:
    concert = Concert.cosine()
    async with Lattice(MemoryStore(), dim=DIM, concert=concert, clock=lambda: 0.0) as lattice:
        for number in range(4):
            await lattice.put(axis(0), axis(number), {"topic": number})
        assert labels(await lattice.query(axis(0), k=3)) == [3, 2, 1]
        racers = [proposing(Candidate(key=axis(1), value=axis(i))) for i in range(4)]
        outcome = await lattice.race(racers, decay=1.0)
        anchors = sorted(line.anchor for line in (outcome.winner, *outcome.losers))
        assert [line.anchor for line in await lattice.query(axis(1), k=4)] == anchors


async def test_branches_and_where(lattice: Lattice) -> None:
    async with lattice:
        racers = [
            proposing(Candidate(key=axis(0), context={"topic": t, "step": i}))
            for i, t in enumerate("ab")
        ]
        await lattice.race(racers)
        await lattice.put(axis(0), None, {"topic": "c", "step": 2})
        assert sorted(labels(await lattice.query(axis(0)))) == ["a", "b", "c"]
        assert sorted(labels(await lattice.query(axis(0), branches=False))) == ["a", "c"]
        assert labels(await lattice.query(axis(0), where={"topic": "b"})) == ["b"]
        assert labels(await lattice.query(axis(0), where={"topic": "b"}, branches=False)) == []
        assert labels(await lattice.query(axis(0), where={"step": {"$gte": 2}})) == ["c"]
        assert labels(await lattice.query(axis(0), k=1, where={"step": {"$lt": 2}})) == ["a"]
        chain = [line async for line in lattice.rewind(where={"step": {"$gte": 0}})]
        assert labels(chain) == ["c", "a"]


async def test_rewind_from_and_to(lattice: Lattice) -> None:
    async with lattice:
        anchors = [await lattice.note({"topic": i, "odd": i % 2}) for i in range(80)]
        assert labels([line async for line in lattice.rewind()]) == list(range(79, -1, -1))
        some = lattice.rewind(start=anchors[70], limit=40, where={"odd": 1})
        assert labels([line async for line in some]) == list(range(69, -1, -2))[:40]
        assert [line async for line in lattice.rewind(limit=0)] == []
        with pytest.raises(LineNotFoundError):
            await anext(lattice.rewind(start="f" * 16))
        with pytest.raises(InvalidInputError):
            lattice.rewind(limit=-1)
        await lattice.rollback(10)
        with pytest.raises(LineNotFoundError):
            await anext(lattice.rewind(start=anchors[70]))
        assert labels(await chain_of(lattice)) == list(range(10))


async def test_a_rewind_sees_the_chain_as_it_was_when_it_began(lattice: Lattice) -> None:
    async with lattice:
        for number in range(40):
            await lattice.note({"topic": number})
        lines = lattice.rewind()
        first = await anext(lines)
        await lattice.rollback(5)
        await lattice.note({"topic": "new"})
        rest = [line async for line in lines]
        assert labels([first, *rest]) == list(range(39, -1, -1))


async def test_the_bias_is_the_weighted_mean_of_what_a_query_returns(lattice: Lattice) -> None:
    rng = np.random.default_rng(3)
    keys, values = rng.normal(size=(20, DIM)), rng.normal(size=(20, DIM))
    query = rng.normal(size=DIM)
    async with lattice:
        for key, value in zip(keys, values, strict=True):
            await lattice.put(key, value, timestamp=0.0)
        for k in (1, 3, 20):
            lines = await lattice.query(query, k=k)
            weights = np.array([line.weight for line in lines])
            mean = weights @ np.stack([line.value for line in lines]) / weights.sum()
            bias = await lattice.bias_vector(query, k=k)
            assert (bias.shape, bias.dtype) == ((DIM,), np.float32)
            assert bias == pytest.approx(mean, rel=1e-6, abs=1e-7)


async def test_without_weight_the_bias_is_zero(lattice: Lattice) -> None:
    async with lattice:
        assert (await lattice.bias_vector(axis(0))).tolist() == [0.0] * DIM
        anchor = await lattice.put(axis(0))
        assert (await lattice.bias_vector(axis(0), k=0)).tolist() == [0.0] * DIM
        assert (await lattice.bias_vector(axis(1))).tolist() == [0.0] * DIM
        await lattice.decay(anchor, 0.0)
        assert (await lattice.bias_vector(axis(0))).tolist() == [0.0] * DIM
    concert = Concert(alpha=-1, beta=0.1, gamma=0)
    async with Lattice(MemoryStore(), dim=DIM, concert=concert) as negative:
        await negative.put(axis(0))
        assert (await negative.bias_vector(axis(0))).tolist() == [0.0] * DIM


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone(timedelta(hours=5)))


async def test_at_takes_an_anchor_a_revision_or_a_moment(lattice: Lattice, clock: Any) -> None:
    async with lattice:
        times, anchors = [], []
        for number in range(3):
            anchors.append(await lattice.put(axis(0), None, {"topic": number}))
            times.append(clock.now)
            clock.advance(60)
        for number in range(3):
            for point in (
                anchors[number],
                number + 1,
                moment(times[number]),
                moment(times[number] + 59),
            ):
                view = lattice.at(point)
                assert (view.revision, view.head, len(view)) == (
                    number + 1,
                    anchors[number],
                    number + 1,
                )
                assert view.now == times[number]
                found = await view.query(axis(0), k=10)
                assert {line.anchor: line.recency for line in found}[anchors[number]] == 1.0
                assert anchors[number] in view
                assert labels([line async for line in view.rewind()]) == list(range(number, -1, -1))
        for empty in (lattice.at(0), lattice.at("0" * 16), lattice.at(moment(times[0] - 1))):
            assert (empty.revision, empty.head, len(empty), bool(empty)) == (0, "0" * 16, 0, True)
            assert await empty.query(axis(0)) == []
            assert (await empty.bias_vector(axis(0))).tolist() == [0.0] * DIM
            with pytest.raises(LineNotFoundError):
                await empty.get(anchors[0])
        assert lattice.at(moment(clock.now + 1e6)).revision == 3


NO_POINTS = [4, -1, 1.0, True, None, datetime(2020, 1, 1), b"0"]  # noqa: DTZ001  # that is it


@pytest.mark.parametrize("point", NO_POINTS, ids=str)
async def test_at_an_impossible_point_is_refused(lattice: Lattice, point: Any) -> None:
    async with lattice:
        await lattice.put(axis(0))
        with pytest.raises(InvalidInputError):
            lattice.at(point)
        with pytest.raises(InvalidInputError):
            await lattice.rollback(point)
        with pytest.raises(LineNotFoundError):
            lattice.at("f" * 16)
        assert lattice.revision == 1


@pytest.mark.usefixtures("large")
async def test_a_view_of_the_past_knows_nothing_of_later(lattice: Lattice, clock: Any) -> None:
    async with lattice:
        first = await lattice.put(axis(0), None, {"topic": "a"}, idempotency_key="k")
        view = lattice.at(1)
        await lattice.put(near(0, 0.9), None, {"topic": "b"}, idempotency_key="l")
        await lattice.decay(first, 0.5)
        await lattice.forget(first)
        assert labels(await view.query(axis(0))) == ["a"]
        assert (await view.get(first)).strength == 1.0
        assert (await lattice.get(first)).strength == 0.5
        assert (await view.find("k")).anchor == first
        with pytest.raises(LineNotFoundError):
            await view.find("l")
        assert labels(await lattice.at(3).query(axis(0), where={"topic": "a"})) == ["a"]


async def test_find_and_branches(lattice: Lattice) -> None:
    async with lattice:
        note = await lattice.note({"topic": "n"}, idempotency_key="n")
        assert (await lattice.find("n")).anchor == note
        assert await lattice.branches(note) == []
        with pytest.raises(LineNotFoundError) as caught:
            await lattice.find("m")
        assert (caught.value.name, caught.value.what) == ("m", "idempotency key")
        racers = [proposing(Candidate(key=axis(i))) for i in range(3)]
        outcome = await lattice.race(racers)
        assert await lattice.branches(outcome.winner.anchor) == list(outcome.losers)
        assert await lattice.branches(outcome.losers[0].anchor) == []
        for other in (3, None, b"x", "0" * 15, outcome.losers[0].anchor):
            assert other not in lattice
        assert outcome.winner.anchor in lattice


async def test_a_lattice_reopened_answers_as_before(clock: Clock) -> None:
    store = MemoryStore()
    async with Lattice(store, dim=DIM, clock=clock) as lattice:
        racers = [proposing(Candidate(key=near(0, c))) for c in (0.9, 0.5)]
        await lattice.race(racers, idempotency_key="r")
        await lattice.note({"topic": "n"})
        told = await lattice.query(axis(0)), lattice.digest, lattice.head, await chain_of(lattice)
    async with Lattice(store, clock=clock) as again:
        assert (await again.query(axis(0)), again.digest, again.head, await chain_of(again)) == told
