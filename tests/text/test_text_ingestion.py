"""What is given is stored as it is, or refused with the right error before a model is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from text_support import DIM, NotingEmbedder, opened, race, texts

from pmll_async import (
    ConflictError,
    InvalidContextError,
    InvalidInputError,
    Lattice,
    Limits,
    LineNotFoundError,
    NotNovelError,
    StaleAnchorError,
    TextTooLongError,
)
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import Duplicate, HashingEmbedder, Stored, TextMemory, Utterance

pytestmark = pytest.mark.usefixtures("nothing_blocks")


# --- duplicates and keys -------------------------------------------------------------------------


async def test_of_fifty_equal_texts_at_once_one_is_stored_and_the_others_say_of_which() -> None:
    async with opened() as memory:
        told = await asyncio.gather(
            *(memory.remember("the cat is on the roof", min_novelty=0.1) for _ in range(50))
        )
        [stored] = [each for each in told if isinstance(each, Stored)]
        others = [each for each in told if isinstance(each, Duplicate)]
        assert len(others) == 49
        assert {each.of for each in others} == {each.anchor for each in others} == {stored.anchor}
        assert all(0 <= each.novelty < 0.1 for each in others)
        assert len(memory.lattice) == 1


async def test_without_a_wish_for_novelty_every_text_is_a_line() -> None:
    async with opened() as memory:
        told = await asyncio.gather(*(memory.remember("the same") for _ in range(50)))
        assert len({each.anchor for each in told}) == len(memory.lattice) == 50


async def test_a_known_key_is_the_same_line_and_other_content_a_conflict() -> None:
    async with opened() as memory:
        first = await memory.remember("a heron", idempotency_key="k")
        assert await memory.remember("a heron", idempotency_key="k") == first
        assert len(memory.lattice) == 1
        with pytest.raises(ConflictError) as caught:
            await memory.remember("a goose", idempotency_key="k")
        assert caught.value.anchor == first.anchor
        again = [Utterance(text="a heron", idempotency_key="k"), "a swan"]
        assert await memory.remember_many(again) == 1
        assert await texts(memory, "heron goose swan") == ["a swan", "a heron"]


# --- superseding ---------------------------------------------------------------------------------


async def test_a_newer_text_takes_over_what_it_is_not_given() -> None:
    async with opened() as memory:
        old = await memory.remember(
            "the key is under the mat", speaker="Ann", session="s", context={"room": "hall"}
        )
        new = await memory.supersede(old.anchor, "the key is in the drawer")
        found = await memory.get(new.anchor)
        assert (found.speaker, found.session, found.context) == ("Ann", "s", {"room": "hall"})
        assert await texts(memory, "where is the key") == ["the key is in the drawer"]
        assert (await memory.get(old.anchor)).text == "the key is under the mat"
        newest = await memory.supersede(
            new.anchor, "no key", speaker="Bob", session="t", context={}, timestamp=5.0
        )
        found = await memory.get(newest.anchor)
        assert (found.speaker, found.session, found.context, found.timestamp) == (
            "Bob",
            "t",
            {},
            5.0,
        )


async def test_a_newer_text_does_not_carry_the_older_along() -> None:
    async with opened() as memory:
        context = {"text": "the key is under the mat", "speaker": "Ann", "room": "hall"}
        old = await memory.lattice.put([1.0] * DIM, None, context)
        new = await memory.supersede(old, "the key is in the drawer")
        line = await memory.lattice.get(new.anchor)
        assert line.context == {
            "room": "hall",
            "pmll": {"text": "the key is in the drawer", "speaker": "Ann"},
        }
        own = await memory.remember("one", context={"text": "mine", "session": 5})
        newer = await memory.supersede(own.anchor, "two")
        assert (await memory.get(newer.anchor)).context == {"text": "mine", "session": 5}


async def test_what_is_replaced_or_forgotten_cannot_be_replaced() -> None:
    async with opened() as memory:
        old = await memory.remember("one")
        await memory.supersede(old.anchor, "two")
        with pytest.raises(StaleAnchorError, match="already revised"):
            await memory.supersede(old.anchor, "three")
        gone = await memory.remember("four")
        await memory.forget(gone.anchor)
        with pytest.raises(StaleAnchorError, match="forgotten"):
            await memory.supersede(gone.anchor, "five")
        assert len(memory.lattice) == 3


async def test_what_has_no_text_cannot_be_replaced_or_got() -> None:
    async with opened() as memory:
        nowhere = "0123456789abcdef"
        note = await memory.lattice.note({"text": 1})
        bare = await memory.lattice.put([1.0] * DIM)
        for anchor in (note, bare, nowhere, "no anchor"):
            with pytest.raises(LineNotFoundError):
                await memory.supersede(anchor, "new")
            with pytest.raises(LineNotFoundError):
                await memory.get(anchor)
        assert len(memory.lattice) == 2


async def test_of_many_who_replace_one_text_one_wins() -> None:
    async with opened() as memory:
        old = await memory.remember("which of us")
        told = await asyncio.gather(
            *(memory.supersede(old.anchor, f"number {number}") for number in range(20)),
            return_exceptions=True,
        )
        [won] = [each for each in told if isinstance(each, Stored)]
        assert sum(isinstance(each, StaleAnchorError) for each in told) == 19
        assert [found.anchor for found in await memory.recent()] == [won.anchor]


async def test_replacing_again_with_the_same_key_is_the_same_line() -> None:
    async with opened() as memory:
        old = await memory.remember("one")
        new = await memory.supersede(old.anchor, "two", idempotency_key="k")
        assert await memory.supersede(old.anchor, "two", idempotency_key="k") == new
        assert len(memory.lattice) == 2


async def test_a_race_may_replace_a_text() -> None:
    async with opened() as memory:
        old = await memory.remember("the key is under the mat")
        said = ["the key is in the drawer", "the key is in the car"]
        racers = [await memory.candidate(text, revises=[old.anchor], name=text) for text in said]
        assert racers[0].name == said[0]
        await race(memory, *racers)
        assert await texts(memory, "key") == said[:1]


# --- what is refused -----------------------------------------------------------------------------

NAIVE = datetime.now(UTC).replace(tzinfo=None)
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"text": 5}, InvalidInputError, "text is a text, not int"),
    ({"text": b"bytes"}, InvalidInputError, "not bytes"),
    ({"text": None}, InvalidInputError, "not NoneType"),
    ({"text": "lone \ud800"}, InvalidInputError, "lone surrogate at 5"),
    ({"text": "x" * 300_000}, TextTooLongError, "text has 300000 .* over the limit of 262144"),
    ({"text": "\x00" * 60_000}, TextTooLongError, "text has 60000 .* over the limit of 262144"),
    ({"text": "ok", "context": {"a": "x" * 300_000}}, InvalidContextError, "root.* over the limit"),
    ({"text": ""}, InvalidInputError, "text is empty"),
    ({"text": " \t\n\u3000\u200b\ufeff"}, InvalidInputError, "text is blank"),
    ({"text": "ok", "timestamp": 1.7e12}, InvalidInputError, "divide it by 1,000"),
    (
        {"text": "ok", "timestamp": datetime.now(UTC).replace(tzinfo=None)},
        InvalidInputError,
        "without a time zone",
    ),
    ({"text": "ok", "speaker": 5}, InvalidInputError, "speaker is a text"),
    ({"text": "ok", "session": "\udc80"}, InvalidInputError, "session has a lone surrogate"),
    ({"text": "ok", "context": {"pmll": {}}}, InvalidContextError, "framework's own"),
    ({"text": "ok", "context": {"a": {"b": float("nan")}}}, InvalidContextError, r"a\.b"),
    ({"text": "ok", "context": {1: 2}}, InvalidContextError, "keys are strings"),
    ({"text": "ok", "context": ["a"]}, InvalidContextError, "a mapping is wanted"),
    ({"text": "ok", "context": []}, InvalidContextError, "a mapping is wanted"),
    ({"text": "ok", "timestamp": float("inf")}, InvalidInputError, "timestamp"),
    ({"text": "ok", "timestamp": "now"}, InvalidInputError, "timestamp"),
]


@pytest.mark.parametrize(("said", "error", "match"), BAD)
async def test_what_cannot_be_stored_is_refused_before_a_model_is_asked(
    said: dict[str, Any], error: type[Exception], match: str
) -> None:
    embedder = NotingEmbedder()
    store = MemoryStore()
    async with Lattice(store, dim=DIM) as lattice, TextMemory(lattice, embedder) as memory:
        old = await memory.remember("an older text")
        embedder.asked.clear()
        text, rest = said["text"], {name: said[name] for name in said if name != "text"}
        for call in (
            memory.remember(text, **rest),
            memory.candidate(text, **rest),
            memory.supersede(old.anchor, text, **rest),
            memory.remember_many(["fine", Utterance(**said)]),
        ):
            with pytest.raises(error, match=match):
                await call
        assert embedder.asked == []
        assert lattice.revision == 1


async def test_a_bad_key_or_wish_stores_nothing() -> None:
    async with opened() as memory:
        for bad in ({"idempotency_key": ""}, {"idempotency_key": 5}, {"min_novelty": 2.0}):
            with pytest.raises(InvalidInputError):
                await memory.remember("ok", **bad)
        assert memory.lattice.revision == 0


@pytest.mark.parametrize("most", [200, 1_000_000])
async def test_the_lattices_own_limit_counts(most: int) -> None:
    embedder, limits = NotingEmbedder(), Limits(context_bytes=most)
    async with (
        Lattice(MemoryStore(), dim=DIM, limits=limits) as lattice,
        TextMemory(lattice, embedder) as memory,
    ):
        await memory.remember("x" * (most // 2))
        embedder.asked.clear()
        with pytest.raises(InvalidContextError, match="over the limit"):
            await memory.remember("x" * most)
        assert embedder.asked == []


async def test_a_context_given_is_not_changed_and_later_changes_do_not_count() -> None:
    async with opened() as memory:
        context = {"tags": ["a"]}
        stored = await memory.remember("heron", context=context)
        assert context == {"tags": ["a"]}
        context["tags"].append("b")
        assert (await memory.get(stored.anchor)).context == {"tags": ["a"]}


# --- many at once --------------------------------------------------------------------------------


async def test_any_iterable_of_texts_and_utterances_is_stored_in_order() -> None:
    async def later() -> AsyncIterator[str | Utterance]:
        for number in range(5):
            await asyncio.sleep(0)
            yield Utterance(text=f"later {number}", speaker="Ann", timestamp=4e9 + number)

    async with opened() as memory:
        steps: list[int] = []
        told = await memory.remember_many(
            (f"text {number}" for number in range(7)), batch=3, progress=steps.append
        )
        assert (told, steps) == (7, [3, 6, 7])
        assert await memory.remember_many(later(), batch=2) == 5
        found = await memory.recent(20)
        assert [each.text for each in found[::-1]] == [
            *(f"text {number}" for number in range(7)),
            *(f"later {number}" for number in range(5)),
        ]
        assert [each.timestamp - 4e9 for each in found[4::-1]] == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert await memory.remember_many([]) == 0


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_source_is_read_no_further_than_one_batch_ahead(is_async: bool) -> None:
    async with opened() as memory:
        ahead = []

        def source() -> Iterator[str]:
            for number in range(40):
                ahead.append(number - len(memory.lattice))
                yield f"text {number}"

        async def later() -> AsyncIterator[str]:
            for text in source():
                yield text

        assert await memory.remember_many(later() if is_async else source(), batch=8) == 40
        assert max(ahead) < 16


async def test_an_error_says_how_much_is_stored() -> None:
    async with opened() as memory:
        with pytest.raises(InvalidInputError, match="text is a text") as bad:
            await memory.remember_many(["a", "b", "c", Utterance(text=5)], batch=2)
        assert (bad.value.stored, len(memory.lattice)) == (2, 2)
        with pytest.raises(InvalidInputError, match="text 2 is a int, not a str or") as bad:
            await memory.remember_many(["a", 5])
        assert bad.value.stored == 0

        def broken() -> Iterator[str]:
            yield from ("d", "e", "f")
            raise OSError("the source has dried up")

        with pytest.raises(OSError, match="dried up") as dry:
            await memory.remember_many(broken(), batch=2)
        assert dry.value.__notes__ == ["put_many: 2 lines are stored"]
        assert len(memory.lattice) == 4


@pytest.mark.parametrize("one", ["one text", b"bytes"])
async def test_one_text_is_not_many(one: Any) -> None:
    async with opened() as memory:
        with pytest.raises(InvalidInputError, match="remember_many takes several texts"):
            await memory.remember_many(one)


async def test_an_embedder_that_fails_stores_nothing_of_its_batch() -> None:
    class Failing(HashingEmbedder):
        def embed(self, texts: Any) -> Any:
            if any("bad" in text for text in texts):
                raise RuntimeError("no model today")
            return super().embed(texts)

    async with (
        Lattice(MemoryStore(), dim=DIM) as lattice,
        TextMemory(lattice, Failing(DIM)) as memory,
    ):
        with pytest.raises(RuntimeError, match="no model"):
            await memory.remember("bad")
        with pytest.raises(RuntimeError, match="no model") as caught:
            await memory.remember_many(["a", "b", "c", "bad", "e"], batch=2)
        assert caught.value.__notes__ == ["put_many: 2 lines are stored"]
        assert len(lattice) == 2
        await memory.remember("good")


async def test_cut_off_it_leaves_whole_batches_and_no_task() -> None:
    started = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        for number in range(5):
            yield f"text {number}"
        started.set()
        await asyncio.Event().wait()

    async with opened() as memory:
        cut = asyncio.create_task(memory.remember_many(endless(), batch=2))
        await started.wait()
        cut.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut
        assert asyncio.all_tasks() == {asyncio.current_task()}
        # The second batch was under way, and is there if the trace had taken it.
        assert len(memory.lattice) in (2, 4)
        assert len(await texts(memory, "text")) == len(memory.lattice)


@pytest.mark.parametrize("batch", [0, -1, 5000, 1.5, True])
async def test_a_batch_has_a_size(batch: Any) -> None:
    async with opened() as memory:
        with pytest.raises(InvalidInputError, match="batch must be"):
            await memory.remember_many(["a"], batch=batch)


async def test_novelty_is_not_asked_for_unless_it_is() -> None:
    async with opened() as memory:
        first = await memory.remember("the cat is on the roof")
        with pytest.raises(NotNovelError):
            await memory.lattice.put(
                HashingEmbedder(DIM).embed(["the cat is on the roof"])[0], min_novelty=0.1
            )
        told = await memory.remember("the cat is on the roof", min_novelty=0.0)
        assert isinstance(told, Stored)
        assert told.anchor != first.anchor


async def test_with_a_total_progress_tells_how_much_of_it_is_done() -> None:
    async with opened() as memory:
        told: list[tuple[int, int]] = []
        texts = [Utterance(text=f"text {n}", idempotency_key=str(n)) for n in range(7)]

        def tell(done: int, total: int) -> None:
            told.append((done, total))

        assert await memory.remember_many(texts[:4]) == 4
        # What an earlier call stored is not stored again, and done all the same.
        assert await memory.remember_many(texts, batch=3, progress=tell, total=7) == 3
        assert told == [(3, 7), (6, 7), (7, 7)]
        with pytest.raises(InvalidInputError, match="pass both"):
            await memory.remember_many(texts, total=7)  # type: ignore[call-overload]  # what is refused
        with pytest.raises(InvalidInputError, match="total"):
            await memory.remember_many(texts, progress=tell, total=-1)
