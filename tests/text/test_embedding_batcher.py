"""Embedding: shared calls, one at a time, fair, cached, and unharmed by who goes away."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from embedding_support import (
    DIM,
    PATIENCE,
    FreeEmbedder,
    HeldEmbedder,
    QuickHashing,
    RemoteEmbedder,
    expected,
    same,
    turns,
)

from pmll_async.errors import InvalidInputError, InvalidVectorError, LatticeClosedError
from pmll_async.loop.jobs import Jobs
from pmll_async.protocols import AsyncEmbedder, Embedder
from pmll_async.text.batcher import EmbeddingBatcher
from pmll_async.values.concert import Float32


def batcher_of(
    embedder: Embedder | AsyncEmbedder, *, cached: int = 4096, batch: int | None = 4
) -> EmbeddingBatcher:
    return EmbeddingBatcher(embedder, Jobs().run, cached=cached, batch=batch)


def is_idle(batcher: EmbeddingBatcher) -> bool:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return not (batcher._pending or batcher._rotation or batcher._leader or batcher._busy or others)


def start(batcher: EmbeddingBatcher, texts: Sequence[str]) -> asyncio.Task[Float32]:
    return asyncio.create_task(batcher.embed(texts))


async def cancelled(*tasks: asyncio.Task[Float32]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, asyncio.CancelledError)


async def test_vectors_are_the_embedders_in_the_order_of_the_texts() -> None:
    texts = [f"text {n % 7}" for n in range(20)]
    embedder = FreeEmbedder()
    batcher = batcher_of(embedder)
    assert same(await batcher.embed(texts), texts)
    assert is_idle(batcher)
    assert threading.get_ident() not in embedder.threads


async def test_no_text_needs_no_call() -> None:
    embedder = FreeEmbedder()
    assert (await batcher_of(embedder).embed([])).shape == (0, DIM)
    assert embedder.calls == []


async def test_a_string_is_no_list_of_texts() -> None:
    with pytest.raises(InvalidInputError, match="embed takes a list of texts"):
        await batcher_of(FreeEmbedder()).embed("one text")


async def test_lone_surrogates_are_texts_too() -> None:
    assert same(await batcher_of(FreeEmbedder()).embed(["\ud800"]), ["\ud800"])


async def test_equal_texts_are_computed_once() -> None:
    embedder = FreeEmbedder()
    batcher = batcher_of(embedder)
    await batcher.embed(["a", "b", "a"])
    await batcher.embed(["b", "c"])
    assert embedder.calls == [["a", "b"], ["c"]]


async def test_what_a_caller_does_to_its_vectors_stays_with_it() -> None:
    batcher = batcher_of(FreeEmbedder())
    first = await batcher.embed(["a"])
    first[:] = 0.0
    assert same(await batcher.embed(["a"]), ["a"])


async def test_the_least_recently_used_is_forgotten_first() -> None:
    embedder = FreeEmbedder()
    batcher = batcher_of(embedder, cached=2)
    for text in ["a", "b", "a", "c", "a", "b"]:
        assert same(await batcher.embed([text]), [text])
    assert embedder.calls == [["a"], ["b"], ["c"], ["b"]]


async def test_a_call_larger_than_the_cache_gets_all_of_its_vectors() -> None:
    texts = [f"text {n}" for n in range(20)]
    assert same(await batcher_of(FreeEmbedder(), cached=3).embed(texts), texts)


async def test_callers_who_wait_together_share_a_call() -> None:
    embedder = HeldEmbedder()
    batcher = batcher_of(embedder)
    tasks = [start(batcher, [text]) for text in ["a", "b", "c", "d"]]
    assert await embedder.begun.get() == ["a"]
    await turns()
    embedder.let(2)
    assert await embedder.begun.get() == ["b", "c", "d"]
    for task, text in zip(tasks, ["a", "b", "c", "d"], strict=True):
        assert same(await task, [text])
    assert is_idle(batcher)


async def test_a_text_under_way_is_not_computed_again() -> None:
    embedder = HeldEmbedder()
    batcher = batcher_of(embedder)
    first = start(batcher, ["a"])
    await embedder.begun.get()
    second = start(batcher, ["a", "b"])
    await turns()
    embedder.let(2)
    assert same(await first, ["a"])
    assert same(await second, ["a", "b"])
    assert embedder.calls == [["a"], ["b"]]


async def test_a_large_call_lets_small_ones_through() -> None:
    embedder = HeldEmbedder()
    batcher = batcher_of(embedder)
    large = start(batcher, [f"large {n}" for n in range(40)])
    await embedder.begun.get()
    small = start(batcher, ["small"])
    await turns()
    embedder.let(2)
    assert same(await small, ["small"])
    assert len(embedder.calls) <= 3
    assert not large.done()
    embedder.let(100)
    assert same(await large, [f"large {n}" for n in range(40)])
    assert is_idle(batcher)


async def test_no_call_begins_before_the_last_has_ended() -> None:
    embedder = FreeEmbedder()
    batcher = batcher_of(embedder)
    texts = [f"text {n}" for n in range(64)]
    await asyncio.gather(*(batcher.embed(texts[n : n + 5]) for n in range(60)))
    assert embedder.most_at_once == 1
    assert all(len(call) <= 4 for call in embedder.calls)
    assert sum(map(len, embedder.calls)) == 64


async def test_a_cancelled_leader_leaves_its_batch_to_the_others() -> None:
    embedder = HeldEmbedder()
    batcher = batcher_of(embedder)
    first = start(batcher, ["a", "b", "c", "d", "e", "f"])
    assert await embedder.begun.get() == ["a", "b", "c", "d"]
    second = start(batcher, ["d", "x"])
    await turns()
    await cancelled(first)
    assert not second.done()
    embedder.let(2)
    assert same(await second, ["d", "x"])
    # The cancelled call's further texts were not embedded, those under way are remembered.
    assert same(await batcher.embed(["a", "b", "c"]), ["a", "b", "c"])
    assert embedder.calls == [["a", "b", "c", "d"], ["x"]]
    assert embedder.most_at_once == 1
    assert is_idle(batcher)


async def test_a_cancelled_follower_takes_its_texts_with_it() -> None:
    embedder = HeldEmbedder()
    batcher = batcher_of(embedder)
    first, second, third = (start(batcher, texts) for texts in (["a"], ["b", "c"], ["c", "d"]))
    await embedder.begun.get()
    await turns()
    await cancelled(second)
    embedder.let(2)
    assert same(await third, ["c", "d"])
    assert same(await first, ["a"])
    assert embedder.calls == [["a"], ["c", "d"]]
    assert is_idle(batcher)


async def test_when_all_have_gone_nothing_more_is_embedded() -> None:
    embedder = HeldEmbedder()
    jobs = Jobs()
    batcher = EmbeddingBatcher(embedder, jobs.run, batch=4)
    tasks = [start(batcher, [f"{name} {n}" for n in range(10)]) for name in "abc"]
    await embedder.begun.get()
    await cancelled(*tasks)
    embedder.let(100)
    await jobs.close()
    await turns()
    assert len(embedder.calls) == 1
    assert is_idle(batcher)


async def test_an_error_reaches_those_whose_texts_were_in_the_call() -> None:
    def answer(texts: Sequence[str]) -> Float32:
        if "poison" in texts:
            raise ZeroDivisionError("poison")
        return expected(texts)

    embedder = HeldEmbedder(answer)
    batcher = batcher_of(embedder)
    first = start(batcher, ["a"])
    await embedder.begun.get()
    failing = [start(batcher, texts) for texts in (["poison"], ["b"], ["c", "d"], ["poison", "e"])]
    late = start(batcher, ["f"])
    await turns()
    embedder.let(100)
    assert same(await first, ["a"])
    errors = await asyncio.gather(*failing, return_exceptions=True)
    assert [type(error) for error in errors] == [ZeroDivisionError] * 4
    assert len(set(map(id, errors))) == 4
    assert same(await late, ["f"])
    assert same(await batcher.embed(["b"]), ["b"])
    assert is_idle(batcher)


async def test_a_refused_job_is_every_waiting_callers_error() -> None:
    jobs = Jobs()
    await jobs.close()
    batcher = EmbeddingBatcher(FreeEmbedder(), jobs.run, batch=4)
    outcomes = await asyncio.gather(
        *(batcher.embed([f"text {n}"]) for n in range(9)), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {LatticeClosedError}
    assert is_idle(batcher)


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        ([[1.0] * DIM], "returned list, not a numpy array"),
        (np.ones((1, DIM)), "returned float64, not a numpy array of float32"),
        (np.ones((2, DIM), np.float32), r"vectors \(2, 16\) where \(1, 16\) are due"),
        (np.ones((1, DIM - 1), np.float32), r"vectors \(1, 15\) where"),
        (np.full((1, DIM), np.nan, np.float32), "no finite number"),
        (np.full((1, DIM), np.inf, np.float32), "no finite number"),
        (np.zeros((1, DIM), np.float32), "zero vector"),
    ],
)
async def test_vectors_that_are_not_what_they_must_be(vectors: Float32, reason: str) -> None:
    batcher = batcher_of(FreeEmbedder(lambda texts: vectors))
    with pytest.raises(InvalidVectorError, match=f"embedder 'held': .*{reason}"):
        await batcher.embed(["a"])
    assert is_idle(batcher)


async def test_a_quick_text_is_embedded_where_it_is() -> None:
    embedder = QuickHashing()
    batcher = batcher_of(embedder)
    assert same(await batcher.embed(["short"]), ["short"])
    assert same(await batcher.embed(["short"]), ["short"])
    assert embedder.threads == [threading.get_ident()]
    assert same(await batcher.embed(["a text of more than twenty"]), ["a text of more than twenty"])
    assert threading.get_ident() not in embedder.threads[1:]


async def test_one_quick_text_a_turn() -> None:
    embedder = QuickHashing()
    batcher = batcher_of(embedder, batch=100)
    await asyncio.gather(*(batcher.embed([f"text {n}"]) for n in range(50)))
    assert embedder.threads.count(threading.get_ident()) == 1
    assert len(embedder.threads) <= 3
    assert is_idle(batcher)


async def test_callers_of_a_remote_embedder_share_a_request() -> None:
    embedder = RemoteEmbedder()
    batcher = batcher_of(embedder, batch=None)
    tasks = [start(batcher, [f"text {n}"]) for n in range(20)]
    assert await embedder.begun.get() == ["text 0"]
    embedder.let()
    assert len(await embedder.begun.get()) == 19
    embedder.let()
    for n, task in enumerate(tasks):
        assert same(await task, [f"text {n}"])
    assert is_idle(batcher)


async def test_the_next_caller_repeats_the_request_of_a_cancelled_leader() -> None:
    embedder = RemoteEmbedder()
    batcher = batcher_of(embedder)
    first = start(batcher, ["a", "b", "c", "d", "e"])
    await embedder.begun.get()
    second = start(batcher, ["d", "x"])
    await turns()
    await cancelled(first)
    assert embedder.cancelled == 1
    assert sorted(await embedder.begun.get()) == ["d", "x"]
    embedder.let()
    assert same(await second, ["d", "x"])
    assert is_idle(batcher)


async def test_a_cancelled_request_that_nobody_else_wants_is_forgotten() -> None:
    embedder = RemoteEmbedder()
    batcher = batcher_of(embedder)
    task = start(batcher, ["a"])
    await embedder.begun.get()
    await cancelled(task)
    assert is_idle(batcher)
    embedder.let()
    assert same(await batcher.embed(["a"]), ["a"])


async def test_an_error_of_a_request_is_its_callers() -> None:
    embedder = RemoteEmbedder()
    batcher = batcher_of(embedder)
    embedder.error = ConnectionError("gone")
    embedder.let()
    with pytest.raises(ConnectionError, match="gone"):
        await batcher.embed(["a"])
    embedder.error = None
    embedder.let()
    assert same(await batcher.embed(["a"]), ["a"])
    assert is_idle(batcher)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("remote", [False, True], ids=["blocking", "remote"])
async def test_callers_who_come_and_go_at_random(seed: int, remote: bool) -> None:
    chance = random.Random(seed)
    jobs = Jobs()
    embedder = RemoteEmbedder() if remote else HeldEmbedder()
    batcher = EmbeddingBatcher(embedder, jobs.run, cached=5, batch=3)
    live: dict[asyncio.Task[Float32], list[str]] = {}
    for _ in range(150):
        deed = chance.random()
        if deed < 0.4:
            texts = [f"text {chance.randrange(30)}" for _ in range(chance.randrange(1, 9))]
            live[start(batcher, texts)] = texts
        elif deed < 0.6 and live:
            task = chance.choice(list(live))
            if not task.done():
                await cancelled(task)
                del live[task]
        else:
            embedder.let()
        await turns(chance.randrange(4))
    embedder.let(10_000)
    async with asyncio.timeout(PATIENCE):
        for task, texts in live.items():
            assert same(await task, texts)
    await jobs.close()
    await turns()
    assert is_idle(batcher)
    if isinstance(embedder, HeldEmbedder):
        assert embedder.most_at_once <= 1
