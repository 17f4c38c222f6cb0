"""Contexts on their way into a lattice: encoded once, in turns with others, as given."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from lattice_support import DIM, axis, proposing

from pmll_async import Candidate, InvalidContextError, Lattice
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory, Utterance
from pmll_async.values import contexts as canonical

LARGE = {"v": [[number, 0.5, "x"] for number in range(6_000)]}


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The contexts that canonical bytes are made of."""
    encoded: list[Any] = []
    encode = canonical._encode

    def noting(context: Any, **options: Any) -> Any:
        encoded.append(context)
        return encode(context, **options)

    def noting_small(context: Any) -> str | None:
        text = small_text(context)
        # What is no small context is given to the other one.
        encoded.extend([context] if text is not None else [])
        return text

    small_text = canonical.small_text
    monkeypatch.setattr(canonical, "_encode", noting)
    monkeypatch.setattr(canonical, "small_text", noting_small)
    return encoded


async def test_a_context_is_encoded_once(encodings: list[Any]) -> None:
    def new() -> int:
        count = len(encodings)
        encodings.clear()
        return count

    async with Lattice(MemoryStore(), dim=DIM) as lattice:
        await lattice.put(axis(0), None, {"topic": "a"})
        assert new() == 1
        await lattice.note({"topic": "a"})
        assert new() == 1
        candidate = Candidate(key=axis(0), context={"topic": "b"})
        await lattice.put_many([candidate])
        await lattice.put(candidate.key, None, candidate.context)
        assert new() == 1
        racers = [Candidate(key=axis(i), context={"topic": i}) for i in range(3)]
        await lattice.race([proposing(racer) for racer in racers], query=axis(0))
        assert new() == 3


async def test_a_text_is_encoded_once(encodings: list[Any]) -> None:
    async with (
        Lattice(MemoryStore(), dim=DIM) as lattice,
        TextMemory(lattice, HashingEmbedder(DIM)) as memory,
    ):
        stored = await memory.remember("a heron", speaker="Ann", context={"mood": "calm"})
        assert len(encodings) == 1
        await memory.supersede(stored.anchor, "two herons")
        assert len(encodings) == 2
        await memory.remember_many([Utterance(text=f"heron {n}") for n in range(5)])
        assert len(encodings) == 7
        await lattice.put_many([await memory.candidate("a goose")])
        assert len(encodings) == 8


def test_the_bytes_are_no_part_of_what_a_candidate_is() -> None:
    candidate = Candidate(key=axis(0), context={"b": [1.0, -0.0], "a": {"c": 2}})
    context: Any = candidate.context
    assert context.canonical == b'{"a":{"c":2},"b":[1,0]}'
    for other in (pickle.loads(pickle.dumps(candidate)), copy.copy(candidate)):
        assert other == candidate
        assert hash(other) == hash(candidate)
    assert not hasattr(pickle.loads(pickle.dumps(candidate)).context, "canonical")
    assert candidate.model_dump()["context"] == {"a": {"c": 2}, "b": [1, 0]}
    changed = candidate.model_copy(update={"context": {"d": 1}})
    assert changed != candidate


async def test_a_candidate_with_another_context_is_stored_with_that() -> None:
    async with Lattice(MemoryStore(), dim=DIM) as lattice:
        candidate = Candidate(key=axis(0), context={"topic": "a"})
        changed = candidate.model_copy(update={"context": {"topic": "b"}})
        pickled = pickle.loads(pickle.dumps(candidate))
        assert await lattice.put_many([changed, pickled]) == 2
        stored = [line.context async for line in lattice.rewind()]
        assert stored == [{"topic": "a"}, {"topic": "b"}]


async def test_what_was_said_is_stored_whatever_becomes_of_it_meanwhile() -> None:
    """The text memory waits for its embedder between the check and the commit."""

    class Waiting(HashingEmbedder):
        def embed(self, texts: Any) -> Any:
            tags.append("later")
            context["late"] = True
            return super().embed(texts)

    tags, context = ["early"], {}
    context["tags"] = tags
    async with (
        Lattice(MemoryStore(), dim=DIM) as lattice,
        TextMemory(lattice, Waiting(DIM)) as memory,
    ):
        stored = await memory.remember("a heron", context=context)
        assert (await memory.get(stored.anchor)).context == {"tags": ["early"]}
        context.clear()
        context["tags"] = tags
        candidate = await memory.candidate("a goose", context=context)
        assert candidate.context["tags"] == ["early", "later"]


async def turns_during(call: Callable[[], Any]) -> int:
    """How often another task has a turn before the call hands anything to the trace."""
    turns = 0

    async def turning() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(turning())
    await asyncio.sleep(0)
    turns = 0
    with pytest.raises(InvalidContextError):
        await call()
    other.cancel()
    return turns


async def test_others_have_turns_while_a_large_context_is_encoded() -> None:
    """Refused for its size at the very end, so that no wait for the trace is counted."""
    context = {"v": LARGE["v"] * 4}
    async with (
        Lattice(MemoryStore(), dim=DIM) as lattice,
        TextMemory(lattice, HashingEmbedder(DIM)) as memory,
    ):
        racer = Candidate(key=axis(0)).model_copy(update={"context": context})
        calls = [
            lambda: lattice.put(axis(0), None, context),
            lambda: lattice.note(context),
            lambda: lattice.put_many([racer]),
            lambda: memory.remember("a", context=context),
            lambda: memory.remember_many([Utterance(text="a", context=context)]),
            lambda: memory.candidate("a", context=context),
        ]
        for call in calls:
            assert await turns_during(call) >= 4
        assert len(lattice) == 0


async def test_a_large_context_is_stored_as_it_is() -> None:
    async with Lattice(MemoryStore(), dim=DIM) as lattice:
        anchor = await lattice.put(axis(0), None, LARGE)
        assert (await lattice.get(anchor)).context == LARGE
        with pytest.raises(InvalidContextError, match="nan is not JSON") as caught:
            await lattice.note({"v": [*LARGE["v"], [float("nan")]]})
        assert caught.value.path == "v[6000][0]"
