"""What a lattice hides: quarantined, of somebody revoked, or derived from such lines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lattice_support import DIM, PATIENCE, Gate, SpyStore, axis, near, seen

from pmll_async import (
    Candidate,
    Lattice,
    LineNotFoundError,
    ReadOnlyStoreError,
    Source,
)

# --- hiding --------------------------------------------------------------------------------------


async def test_what_is_quarantined_is_stored_and_not_returned(lattice: Lattice) -> None:
    async with lattice:
        await lattice.put(axis(0), axis(1), {"is": "mine"})
        page = lattice.as_writer("page", trust=0.5, quarantine=True)
        anchor = await page.put(axis(0), axis(2), {"is": "page"})
        assert await seen(lattice) == ["mine"]
        assert np.array_equal(await lattice.bias_vector(axis(0)), axis(1))
        assert await seen(lattice.at(lattice.revision)) == ["mine"]
        # It is there, for whoever looks it through.
        assert (await lattice.get(anchor)).context["is"] == "page"
        assert [line.anchor async for line in lattice.rewind(limit=1)] == [anchor]
        assert anchor in lattice
        assert [origin.status for origin in await lattice.why(anchor)] == ["quarantined"]
        before = lattice.revision
        note = await lattice.release(anchor)
        assert (await lattice.get(note)).kind == "note"
        assert await seen(lattice) == ["mine", "page"]
        assert await seen(lattice.at(before)) == ["mine"]
        assert [origin.status for origin in await lattice.why(anchor)] == ["shown"]
        await lattice.quarantine(anchor)
        assert await seen(lattice) == ["mine"]
        with pytest.raises(LineNotFoundError):
            await lattice.release("0123456789abcdef")


async def test_who_is_revoked_is_gone_with_all_that_came_of_it(lattice: Lattice) -> None:
    async with lattice:
        await lattice.put(axis(0), context={"is": "mine"})
        web, agent = lattice.as_writer("web", trust=0.25), lattice.as_writer("agent")
        page = await web.put(axis(0), context={"is": "page"})
        first = await agent.derived_from(page).put(axis(0), context={"is": "summary"})
        other = await agent.put(axis(0), context={"is": "own"})
        last = await agent.derived_from(other, first).put(axis(0), context={"is": "plan"})
        assert await seen(lattice) == ["mine", "own", "page", "plan", "summary"]
        before = lattice.revision
        await lattice.revoke("web")
        assert await seen(lattice) == ["mine", "own"]
        # What it writes later, too; and of the past what was known then.
        await web.put(axis(0), context={"is": "late"})
        await agent.derived_from(page).put(axis(0), context={"is": "late summary"})
        assert await seen(lattice) == ["mine", "own"]
        assert await seen(lattice.at(before)) == ["mine", "own", "page", "plan", "summary"]
        path = await lattice.why(last)
        assert [(origin.anchor, origin.status) for origin in path] == [
            (last, "derived"),
            (other, "shown"),
            (first, "derived"),
            (page, "revoked"),
        ]
        assert path[3].source == Source("web", 0.25)
        await lattice.release(page)
        assert await seen(lattice) == ["mine", "own"]
        await lattice.reinstate("web")
        assert len(await seen(lattice)) == 7


async def test_an_owners_line_can_be_quarantined_with_what_came_of_it(lattice: Lattice) -> None:
    async with lattice:
        mine = await lattice.put(axis(0), context={"is": "mine"})
        await lattice.as_writer("agent").derived_from(mine).put(axis(0), context={"is": "of it"})
        await lattice.quarantine(mine)
        assert await seen(lattice) == []
        assert [origin.status for origin in await lattice.why(mine)] == ["quarantined"]


async def test_a_rollback_takes_acts_back_as_everything_else(lattice: Lattice) -> None:
    async with lattice:
        await lattice.as_writer("web").put(axis(0), context={"is": "page"})
        before = lattice.revision
        await lattice.revoke("web")
        assert await seen(lattice) == []
        await lattice.rollback(before)
        assert await seen(lattice) == ["page"]


async def test_a_race_sees_nothing_hidden(lattice: Lattice) -> None:
    found: list[Any] = []

    async def look(view: Any) -> Candidate:
        found.extend(await seen(view))
        return Candidate(key=axis(1), context={"is": "won"})

    async with lattice:
        await lattice.put(axis(0), context={"is": "mine"})
        await lattice.as_writer("page", quarantine=True).put(axis(0), context={"is": "page"})
        await lattice.race([look])
        assert found == ["mine"]


async def test_forgetting_decaying_and_hiding_go_together(lattice: Lattice) -> None:
    async with lattice:
        web = lattice.as_writer("web")
        pages = [await web.put(near(0, 0.9 - n / 100), context={"is": str(n)}) for n in range(5)]
        await lattice.quarantine(pages[2])
        assert await seen(lattice) == ["0", "1", "3", "4"]
        await lattice.forget(pages[0])
        await lattice.decay(pages[1], 0.5)
        await web.put(axis(0), context={"is": "5"})
        assert await seen(lattice) == ["1", "3", "4", "5"]
        await lattice.release(pages[2])
        assert await seen(lattice) == ["1", "2", "3", "4", "5"]
        await lattice.revoke("web")
        await web.put(axis(0), context={"is": "6"})
        assert await seen(lattice) == []


# --- opening anew, beside a writer, cancelled, off the loop --------------------------------------


@pytest.mark.parametrize("name", ["memory", "memory.lmdb"])
async def test_what_was_hidden_is_hidden_after_opening_anew(tmp_path: Path, name: str) -> None:
    if name.endswith("lmdb"):
        pytest.importorskip("lmdb")
    path = tmp_path / name
    async with Lattice.open(path, dim=DIM) as lattice:
        await lattice.put(axis(0), context={"is": "mine"})
        page = await lattice.as_writer("p", quarantine=True).put(axis(0), context={"is": "page"})
        await lattice.as_writer("w").derived_from(page).put(axis(0), context={"is": "summary"})
        await lattice.as_writer("web").put(axis(0), context={"is": "web"})
        await lattice.revoke("web")
        digest = lattice.digest
    async with Lattice.open(path, read_only=True) as lattice:
        assert await seen(lattice) == ["mine"]
    async with Lattice.open(path) as lattice:
        assert lattice.digest == digest
        assert await seen(lattice) == ["mine"]
        assert [origin.status for origin in await lattice.why(page)] == ["quarantined"]
        await lattice.release(page)
        assert await seen(lattice) == ["mine", "page", "summary"]


async def test_a_reader_beside_the_writer_hides_what_the_writer_hides(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    async with Lattice.open(path, dim=DIM) as writer:
        await writer.put(axis(0), context={"is": "mine"})
        # Opened before there was any source.
        async with Lattice.open(path, read_only=True) as reader:
            assert await seen(reader) == ["mine"]
            web = writer.as_writer("web")
            await web.put(axis(0), context={"is": "web"})
            await writer.as_writer("p", quarantine=True).put(axis(0), context={"is": "page"})
            assert await seen(reader) == ["mine", "web"]
            await writer.revoke("web")
            assert await seen(reader) == ["mine"]
            with pytest.raises(ReadOnlyStoreError):
                await reader.as_writer("x").put(axis(0))
            with pytest.raises(ReadOnlyStoreError):
                await reader.revoke("web")


async def test_who_gives_up_waiting_stops_nobody(lattice: Lattice, store: SpyStore) -> None:
    async with lattice:
        await lattice.put(axis(0), context={"is": "mine"})
        await lattice.as_writer("p", quarantine=True).put(axis(0), context={"is": "page"})
        gate = Gate()
        store.before["contexts"] = gate
        first = asyncio.create_task(seen(lattice))
        await gate.arrival()
        second = asyncio.create_task(seen(lattice))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        del store.before["contexts"]
        gate.open()
        assert await asyncio.wait_for(second, PATIENCE) == ["mine"]


async def test_an_act_that_is_cancelled_is_done_wholly_or_not_at_all(lattice: Lattice) -> None:
    async with lattice:
        await lattice.as_writer("web").put(axis(0), context={"is": "page"})
        for turns in range(12):
            revoking = asyncio.create_task(lattice.revoke("web"))
            for _ in range(turns):
                await asyncio.sleep(0)
            revoking.cancel()
            await asyncio.gather(revoking, return_exceptions=True)
            await lattice.note({})
            notes = [line async for line in lattice.rewind(where={"pmll.policy.act": "revoke"})]
            assert await seen(lattice) == ([] if notes else ["page"])


async def test_a_failed_reading_is_tried_again(lattice: Lattice, store: SpyStore) -> None:
    def fail() -> None:
        raise OSError("the disk is gone for a moment")

    async with lattice:
        await lattice.as_writer("p", quarantine=True).put(axis(0), context={"is": "page"})
        store.before["contexts"] = fail
        with pytest.raises(OSError, match="for a moment"):
            await seen(lattice)
        del store.before["contexts"]
        assert await seen(lattice) == []


async def test_a_lattice_without_sources_reads_nothing_for_them(
    lattice: Lattice, store: SpyStore
) -> None:
    async with lattice:
        await lattice.put(axis(0), context={"is": "mine"})
        assert await seen(lattice) == ["mine"]
        assert "contexts" not in store.calls
        assert "pin" not in store.calls
