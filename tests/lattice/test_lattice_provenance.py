"""Lines in somebody's name: what they carry, who may see them, and how they are taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from lattice_support import DIM, axis, near, proposing, seen

from pmll_async import (
    Candidate,
    InvalidContextError,
    InvalidInputError,
    Lattice,
    LineNotFoundError,
    Source,
    source_of,
    stamp,
)

# --- what a line carries -------------------------------------------------------------------------


async def test_a_line_carries_who_wrote_it_in_the_bytes_of_its_anchor(lattice: Lattice) -> None:
    async with lattice:
        plain = await lattice.put(axis(0), context={"is": "mine"})
        web = lattice.as_writer("web", trust=0.25, channel="https")
        anchor = await web.put(axis(1), context={"is": "page"})
        line = await lattice.get(anchor)
        assert line.context == {
            "is": "page",
            "pmll": {"source": {"principal": "web", "trust": 0.25, "channel": "https"}},
        }
        assert source_of(line.context) == Source("web", 0.25, "https")
        assert source_of((await lattice.get(plain)).context) is None
        note = await web.note({"is": "journal"})
        assert source_of((await lattice.get(note)).context) == Source("web", 0.25, "https")
        assert await seen(lattice, where={"pmll.source.principal": "web"}) == ["page"]
        assert repr(web) == "Writer('web', trust=0.25)"


async def test_content_names_nobody(lattice: Lattice) -> None:
    forged = {"pmll": {"source": {"principal": "owner", "trust": 1.0}}}
    async with lattice:
        web = lattice.as_writer("web", trust=0.0)
        for write in (web.put(axis(0), context=forged), web.note(forged)):
            with pytest.raises(InvalidContextError):
                await write
        claims = await web.put(axis(0), context={"source": {"principal": "owner", "trust": 1}})
        assert source_of((await lattice.get(claims)).context) == Source("web", 0.0)
        # What the framework stamps stays beside the source; a source of before does not.
        both = await web.put(axis(1), context=stamp({}, {"run": "r1", "source": {"trust": 1}}))
        assert (await lattice.get(both)).context == {
            "pmll": {"run": "r1", "source": {"principal": "web", "trust": 0.0}}
        }


async def test_nobody_but_the_owner_acts(lattice: Lattice) -> None:
    async with lattice:
        page = await lattice.as_writer("page", quarantine=True).put(axis(0))
        freed = stamp({}, {"policy": {"act": "release", "of": page}})
        await lattice.as_writer("page").note(freed)
        assert await lattice.query(axis(0)) == []
        await lattice.as_writer("page").note(stamp({}, {"policy": {"act": 5, "of": None}}))
        assert await lattice.query(axis(0)) == []


@pytest.mark.parametrize(
    "options",
    [
        {"principal": ""},
        {"principal": " \t"},
        {"principal": "x" * 257},
        {"principal": "\ud800"},
        {"principal": 5},
        {"principal": "a", "trust": 1.5},
        {"principal": "a", "trust": float("nan")},
        {"principal": "a", "trust": True},
        {"principal": "a", "channel": None},
    ],
)
async def test_what_no_writer_can_be_is_refused(lattice: Lattice, options: Any) -> None:
    async with lattice:
        with pytest.raises(InvalidInputError):
            lattice.as_writer(**options)


async def test_a_line_is_trusted_no_more_than_what_it_was_derived_from(lattice: Lattice) -> None:
    async with lattice:
        page = await lattice.as_writer("web", trust=0.25).put(axis(0))
        mine = await lattice.put(axis(1))
        agent = lattice.as_writer("agent", trust=0.75)
        summary = await agent.derived_from(mine, page).put(axis(2))
        source = source_of((await lattice.get(summary)).context)
        assert source == Source("agent", 0.25, parents=(mine, page))
        again = await lattice.as_writer("other").derived_from(summary).put(axis(3))
        assert source_of((await lattice.get(again)).context) == Source(
            "other", 0.25, parents=(summary,)
        )
        with pytest.raises(LineNotFoundError):
            await agent.derived_from("0123456789abcdef").put(axis(4))
        with pytest.raises(InvalidInputError, match="twice"):
            agent.derived_from(page, page)
        assert len(lattice) == 4


async def test_candidates_and_batches_are_in_the_writers_name(lattice: Lattice) -> None:
    async def each() -> AsyncIterator[Candidate]:
        yield Candidate(key=axis(2), context={"is": "c"})

    async with lattice:
        web = lattice.as_writer("web", trust=0.25)
        many = [Candidate(key=axis(number), context={"is": "ab"[number]}) for number in range(2)]
        assert await web.put_many(many) + await web.put_many(each()) == 3
        with pytest.raises(InvalidInputError, match="candidate 2 is a str"):
            await web.put_many([many[0], "none"])  # type: ignore[list-item]  # refused
        proposed = await web.candidate(Candidate(key=axis(3), context={"is": "d"}))
        outcome = await lattice.race([proposing(proposed)])
        assert source_of(outcome.winner.context) == Source("web", 0.25)
        assert await seen(lattice, where={"pmll.source.trust": 0.25}) == ["a", "b", "c", "d"]


async def test_what_is_trusted_less_may_not_revise(lattice: Lattice) -> None:
    async with lattice:
        mine = await lattice.put(axis(0))
        web, ann = lattice.as_writer("web", trust=0.25), lattice.as_writer("Ann", trust=0.75)
        theirs = await ann.put(axis(1))
        for line in (mine, theirs):
            with pytest.raises(InvalidInputError, match="may not revise"):
                await web.put(axis(2), revises=[line])
        proposal = Candidate(key=axis(2), revises=(theirs,))
        with pytest.raises(InvalidInputError, match="may not revise"):
            await web.candidate(proposal)
        held = lattice.as_writer("Ann", quarantine=True)
        with pytest.raises(InvalidInputError, match="quarantined"):
            await held.put(axis(2), revises=[theirs])
        await ann.put(axis(2), revises=[theirs])
        assert (await lattice.get(theirs)).strength == 0.5


# --- trust ---------------------------------------------------------------------------------------


async def test_a_query_leaves_out_what_is_trusted_less(lattice: Lattice) -> None:
    async with lattice:
        await lattice.put(axis(0), axis(1), {"is": "mine"})
        await lattice.as_writer("Ann", trust=0.5).put(axis(0), axis(2), {"is": "Ann's"})
        await lattice.as_writer("web", trust=0.25).put(axis(0), axis(3), {"is": "web's"})
        assert await seen(lattice) == ["Ann's", "mine", "web's"]
        assert await seen(lattice, min_trust=0.5) == ["Ann's", "mine"]
        assert await seen(lattice, min_trust=1.0, where={"is": {"$ne": "x"}}) == ["mine"]
        assert await seen(lattice, min_trust=0.5, where={"is": "web's"}) == []
        bias = await lattice.bias_vector(axis(0), min_trust=1.0)
        assert np.array_equal(bias, axis(1))
        assert await seen(lattice.at(lattice.revision), min_trust=1.0) == ["mine"]
        with pytest.raises(InvalidInputError):
            await lattice.query(axis(0), min_trust=2.0)


async def test_a_writer_signs_candidates_alone(lattice: Lattice) -> None:
    async with lattice:
        with pytest.raises(InvalidInputError, match="Candidate"):
            await lattice.as_writer("web").candidate({"key": axis(0)})  # type: ignore[arg-type]  # that


# --- one principal among many, and many that agree -----------------------------------------------


async def test_no_principal_has_more_than_half_of_an_answer(lattice: Lattice) -> None:
    async with lattice:
        for name, cosine in (("a", 0.99), ("b", 0.9), ("c", 0.8)):
            writer = lattice.as_writer(name)
            for n in range(20):
                await writer.put(near(0, cosine - n / 1000), context={"is": name})
        for k, most in ((1, 1), (2, 1), (3, 1), (6, 3), (7, 3), (10, 5)):
            lines = await lattice.query(axis(0), k, diversity=True)
            names = [str(line.context["is"]) for line in lines]
            assert len(names) == k
            assert max(map(names.count, "abc")) <= most
            assert [line.weight for line in lines] == sorted(
                (line.weight for line in lines), reverse=True
            )
        assert [line.context["is"] for line in await lattice.query(axis(0), 6)] == ["a"] * 6
        mine = [await lattice.put(axis(0), context={"is": "mine"}) for _ in range(4)]
        # The owner may have all of it; the first of the others weighs more for its novelty.
        lines = await lattice.query(axis(0), 5, diversity=True)
        assert {line.anchor for line in lines[1:]} == set(mine)
        assert await lattice.query(axis(0), 0, diversity=True) == []


async def test_a_claim_counts_if_others_make_it_at_first_hand(lattice: Lattice) -> None:
    async with lattice:
        mine = await lattice.put(axis(1), context={"is": "mine"})
        a, b, c = (lattice.as_writer(name, trust=0.25) for name in "abc")
        lone = await a.put(axis(2), context={"is": "alone"})
        for n in range(5):
            await a.put(near(2, 0.999), context={"is": "alone", "n": n})
        # To repeat what one has read is no second voice.
        await b.derived_from(lone).put(axis(2), context={"is": "repeated"})
        await a.put(axis(3), context={"is": "said by two"})
        await b.put(near(3, 0.9), context={"is": "said by two"})
        await b.put(axis(4), context={"is": "as the owner says"})
        await lattice.put(axis(4), context={"is": "the owner"})
        await c.put(near(3, 0.5, 6), context={"is": "near nobody"})
        held = lattice.as_writer("d", trust=0.25, quarantine=True)
        await held.put(axis(2), context={"is": "held"})
        everything = np.ones(DIM, dtype=np.float32)
        options: Any = {"min_similarity": -1.0, "min_sources": 2}
        lines = await lattice.query(everything, 20, **options)
        told = sorted({str(line.context["is"]) for line in lines})
        assert told == ["as the owner says", "mine", "said by two", "the owner"]
        lines = await lattice.query(everything, 20, **options, agreement=0.95)
        told = sorted({str(line.context["is"]) for line in lines})
        assert told == ["as the owner says", "mine", "the owner"]
        # Of so much trust a line needs nobody.
        lines = await lattice.query(everything, 20, **options, min_trust=0.25)
        assert len(lines) == 13
        three = {**options, "min_sources": 3}
        lines = await lattice.query(everything, 20, **three, diversity=True)
        assert {line.context["is"] for line in lines} == {"mine", "the owner"}
        assert mine in {line.anchor for line in lines}
