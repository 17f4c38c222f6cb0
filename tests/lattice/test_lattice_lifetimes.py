"""Lines that end or are kept, and compaction, which erases what no query returns any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmll_async import Candidate, InvalidInputError, Lattice, LatticeView, LineErasedError
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.lmdb import LmdbStore
from pmll_async.text import TextMemory

DIM = 8


def axis(n: int) -> np.ndarray:
    return np.eye(DIM, dtype=np.float32)[n % DIM]


async def shown(lattice: Lattice | LatticeView, now: float | None = None) -> set[str]:
    lines = await lattice.query(np.ones(DIM), 100, min_similarity=-1, now=now)
    return {line.anchor for line in lines}


async def test_a_line_ends_for_queries_at_its_time(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "memory"
    async with Lattice.open(path, dim=DIM, clock=clock, compact_on_close=False) as lattice:
        plain = await lattice.put(axis(0))
        brief = await lattice.put(axis(1), ttl=10)
        longer = await lattice.put(axis(2), expires_at=clock.now + 60)
        kept = await lattice.put(axis(3), pinned=True)
        assert await shown(lattice) == {plain, brief, longer, kept}
        before = lattice.at(lattice.revision)
        clock.advance(9.999)
        assert await shown(lattice) == {plain, brief, longer, kept}
        clock.advance(0.001)
        assert await shown(lattice) == {plain, longer, kept}
        # At the time of that state it had not ended.
        assert await shown(before) == {plain, brief, longer, kept}
        assert await shown(before, now=clock.now) == {plain, longer, kept}
        assert (await lattice.get(brief)).context["pmll"] == {"life": {"ttl": 10}}
        assert [origin.status for origin in await lattice.why(brief)] == ["expired"]
        clock.advance(100)
        assert await shown(lattice) == {plain, kept}
        later = await lattice.put(axis(4), ttl=1)
        assert await shown(lattice) == {plain, kept, later}
    async with Lattice.open(path, clock=clock) as lattice:
        assert await shown(lattice) == {plain, kept, later}
        assert await shown(lattice, now=clock.now - 100) == {plain, longer, kept, later}


async def test_a_bias_and_a_recall_are_without_what_has_ended(tmp_path: Path, clock: Any) -> None:
    async with TextMemory.open(tmp_path / "memory", clock=clock) as memory:
        await memory.remember("The code of the door is 1234.", ttl=60)
        await memory.remember("The door is green.")
        asked = "What is the code of the door?"
        assert "1234" in (await memory.recall(asked))[0].text
        clock.advance(61)
        assert [found.text for found in await memory.recall(asked)] == ["The door is green."]
        assert [found.text for found in await memory.recent(5)] == ["The door is green."]


@pytest.mark.parametrize(
    "life",
    [
        {"ttl": 0},
        {"ttl": -1.0},
        {"ttl": float("nan")},
        {"ttl": "an hour"},
        {"expires_at": "tomorrow"},
        {"ttl": 5, "pinned": True},
        {"ttl": 5, "expires_at": 1_800_000_000.0},
    ],
)
async def test_bad_lifetimes_store_nothing(tmp_path: Path, life: dict[str, object]) -> None:
    async with Lattice.open(tmp_path / "memory", dim=DIM) as lattice:
        with pytest.raises(InvalidInputError):
            await lattice.put(axis(0), **life)  # type: ignore[arg-type]  # that is the point
        with pytest.raises(TypeError, match="time_to_live"):
            await lattice.put(axis(0), time_to_live=5)  # type: ignore[call-arg]  # likewise
        assert lattice.revision == 0
        assert not lattice.pins


async def test_candidates_end_and_writers_write_lines_that_do(tmp_path: Path, clock: Any) -> None:
    async with Lattice.open(tmp_path / "memory", dim=DIM, clock=clock) as lattice:
        context = await lattice.lasting({"n": 1}, ttl=5)
        await lattice.put_many([Candidate(key=axis(1), context=context)])

        async def candidate(_: LatticeView) -> Candidate:
            return Candidate(key=axis(2), context=await lattice.lasting(ttl=5))

        await lattice.race([candidate])
        agent = lattice.as_writer("agent", trust=0.5)
        anchor = await agent.put(axis(3), None, {"n": 3}, ttl=5)
        line = await lattice.get(anchor)
        assert line.context["pmll"]["source"]["principal"] == "agent"
        assert len(await shown(lattice)) == 3
        clock.advance(5)
        assert await shown(lattice) == set()


@pytest.mark.parametrize("kind", [JsonlStore, LmdbStore])
async def test_compaction_erases_what_no_query_returns(
    tmp_path: Path, clock: Any, kind: type[JsonlStore | LmdbStore]
) -> None:
    path = tmp_path / "memory"

    def of(n: int) -> Any:
        async def candidate(_: LatticeView) -> Candidate:
            return Candidate(key=axis(n), context={"n": n}, confidence=1 / (n + 1))

        return candidate

    async with Lattice(kind(path), dim=DIM, clock=clock) as lattice:
        first = await lattice.put(axis(0), None, {"text": "first"})
        outcome = await lattice.race([of(1), of(2)], decay=0.04)
        dormant = outcome.losers[0].anchor
        ended = await lattice.put(axis(3), None, {"text": "ended"}, ttl=5)
        kept = await lattice.put(axis(4), None, {"text": "kept"}, pinned=True)
        back = lattice.revision
        off = await lattice.put(axis(5), None, {"text": "off"})
        await lattice.rollback(back)
        assert await lattice.compact() == (dormant, off)
        clock.advance(5)
        assert await lattice.compact() == (ended,)
        assert await lattice.compact() == ()
        assert await shown(lattice) == {first, outcome.winner.anchor, kept}
        for anchor in (dormant, ended, off):
            with pytest.raises(LineErasedError):
                await lattice.get(anchor)
        assert await lattice.branches(outcome.winner.anchor) == []
        digest = lattice.digest
    async with Lattice(kind(path), clock=clock) as lattice:
        assert lattice.digest == digest
        assert await shown(lattice) == {first, outcome.winner.anchor, kept}
        found = await lattice.verify()
        assert (found.holds, set(found.report.erased)) == (True, {dormant, ended, off})


async def test_what_is_put_again_after_a_rollback_is_not_compacted(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "memory", dim=DIM) as lattice:
        await lattice.put(axis(0))
        off = await lattice.put(axis(1), None, {"n": 1})
        await lattice.rollback(1)
        assert await lattice.put(axis(1), None, {"n": 1}) == off
        assert await lattice.compact() == ()
        assert (await lattice.get(off)).context == {"n": 1}


async def test_what_a_rollback_took_off_is_compacted_whatever_it_is(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "memory", dim=DIM) as lattice:
        await lattice.as_writer("web").put(axis(0))
        act = await lattice.revoke("web")
        await lattice.note({"kind": "note"})
        await lattice.rollback(1)
        assert len(await lattice.compact()) == 2
        assert len(await shown(lattice)) == 1
        with pytest.raises(LineErasedError):
            await lattice.get(act)


@pytest.mark.parametrize("compacts", [True, False])
async def test_what_has_ended_leaves_the_files_at_closing(
    tmp_path: Path, clock: Any, compacts: bool
) -> None:
    path = tmp_path / "memory"
    async with Lattice.open(path, dim=DIM, clock=clock, compact_on_close=compacts) as lattice:
        for n in range(7):
            await lattice.put(axis(n), None, {"n": n})
        ended = await lattice.put(axis(7), None, {"text": "a passing thought"}, ttl=1)
        clock.advance(2)
    log = b"".join(file.read_bytes() for file in path.glob("log-*.jsonl"))
    assert (b"a passing thought" in log) != compacts
    async with Lattice.open(path, clock=clock, compact_on_close=False) as lattice:
        assert ended not in await shown(lattice)


async def test_pinned_lines_outlast_a_filter_and_not_their_own_forgetting(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "memory", dim=DIM) as lattice:
        kept = await lattice.put(axis(0), None, {"user": "ann"}, pinned=True)
        other = await lattice.put(axis(1), None, {"user": "ann"})
        assert await lattice.forget_where({"user": "ann"}, dry_run=True) == (other,)
        assert await lattice.forget_where({"user": "ann"}, erase=True) == (other,)
        assert await shown(lattice) == {kept}
        await lattice.forget(kept, erase=True)
        assert await shown(lattice) == set()
