"""Erasing: the content of a line leaves every file and every state, and the chain still holds."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmll_async import (
    Candidate,
    InvalidInputError,
    Lattice,
    LatticeView,
    LineErasedError,
    LineNotFoundError,
    LinesErased,
)
from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.integrity.encrypted import EncryptedStore
from pmll_async.integrity.secrets import RawKey
from pmll_async.protocols import Store
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.lmdb import LmdbStore
from pmll_async.stores.memory import MemoryStore

DIM = 64
SECRET = "the code of the safe is 4711"
_WORD = re.compile(rb"[A-Za-z0-9+/=]{16,}")


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)


@pytest.fixture(params=["memory", "jsonl", "lmdb", "encrypted"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Gives the one store, anew for each opening."""
    if request.param == "memory":
        one = MemoryStore()
        return lambda: one
    path = tmp_path / "memory"
    if request.param == "jsonl":
        return lambda: JsonlStore(path, segment_bytes=6_000, cache_records=4)
    if request.param == "encrypted":
        return lambda: EncryptedStore(JsonlStore(path, segment_bytes=6_000), RawKey(bytes(32)))
    return lambda: LmdbStore(tmp_path / "memory")


def forms(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of a folder, as it is and with what can be decoded or decompressed of it."""
    for path in filter(Path.is_file, folder.rglob("*")):
        data = path.read_bytes()
        yield path.name, data
        for word in _WORD.findall(data):
            yield path.name, base64.b64decode(word.rstrip(b"=")[: len(word) // 4 * 4 - 4])
        for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data):
            unpacked = zlib.decompressobj()
            try:
                yield path.name, unpacked.decompress(data[match.start() :])
            except zlib.error:
                continue


def traces(folder: Path, *wanted: bytes) -> list[tuple[str, bytes]]:
    return [(name, each) for name, form in forms(folder) for each in wanted if each in form]


async def filled(lattice: Lattice, count: int = 24) -> list[str]:
    return [
        await lattice.put(
            vector(n), None, {"n": n, "text": SECRET if n == 7 else "x"}, idempotency_key=f"k{n}"
        )
        for n in range(count)
    ]


async def test_an_erased_line_is_gone_from_every_state(store: Callable[[], Store]) -> None:
    async with Lattice(store(), dim=DIM) as lattice:
        anchors = await filled(lattice)
        before, digest = lattice.at(lattice.revision), lattice.digest
        assert [line.anchor for line in await before.query(vector(7), 1)] == [anchors[7]]
        async with lattice.events() as events:
            await lattice.forget(anchors[7], erase=True)
            assert await anext(events) == LinesErased(25, (anchors[7],))
        assert lattice.digest != digest

    async with Lattice(store()) as again:
        for one in (lattice, again):
            if one is lattice:
                continue
            await check_gone(one, anchors)
    async with Lattice(store()) as again:
        await check_gone(again, anchors)


async def check_gone(lattice: Lattice, anchors: list[str]) -> None:
    erased = anchors[7]
    for view in (lattice, lattice.at(lattice.revision - 1), lattice.at(10)):
        assert len(view) in (24, 10)
        assert erased in view
        with pytest.raises(LineErasedError):
            await view.get(erased)
        assert erased not in [line.anchor for line in await view.query(vector(7), 50)]
        assert erased not in [line.anchor async for line in view.rewind()]
    assert [line.anchor async for line in lattice.rewind(limit=20)] == [
        anchor for anchor in reversed(anchors) if anchor != erased
    ][:20]
    with pytest.raises(LineNotFoundError):
        await lattice.find("k7")
    verified = await lattice.verify()
    assert verified.holds
    assert verified.report.erased == (erased,)


async def test_states_drawn_before_do_not_show_it(store: Callable[[], Store]) -> None:
    async with Lattice(store(), dim=DIM) as lattice:
        anchors = await filled(lattice)
        view = lattice.at(20)
        await view.query(vector(7), 3)
        reading = view.rewind()
        assert (await anext(reading)).anchor == anchors[19]
        await lattice.forget(anchors[7], erase=True)
        await check_gone(lattice, anchors)
        found = await view.query(vector(7), 20)
        assert len(found) == len(await lattice.at(20).query(vector(7), 20))
        assert anchors[7] not in {line.anchor for line in found}
        assert anchors[7] not in [line.anchor async for line in reading]


async def test_no_file_has_a_byte_of_it(tmp_path: Path, store: Callable[[], Store]) -> None:
    if isinstance(store(), MemoryStore):
        pytest.skip("a memory store has no files")
    folder = tmp_path / "memory"
    key, value = vector(7).tobytes(), vector(1007)
    async with Lattice(store(), dim=DIM) as lattice:
        anchors = await filled(lattice, 7)
        anchors.append(
            await lattice.put(vector(7), value, {"text": SECRET}, idempotency_key=f"of {SECRET}")
        )
        anchors += await filled(lattice, 4)
    wanted = key[:12], key[-12:], value.tobytes()[:12], SECRET.encode()[:-4]
    assert traces(folder, *wanted) or isinstance(store(), EncryptedStore)
    (folder / "text.sqlite").write_bytes(SECRET.encode())
    if isinstance(store(), JsonlStore):
        (folder / "log-00000001.jsonl.torn-1").write_bytes(SECRET.encode())
    async with Lattice(store()) as lattice:
        await lattice.query(vector(7), 3)
        await lattice.forget(anchors[7], erase=True)
        assert not traces(folder, *wanted)
        await lattice.put(vector(30))
    assert not traces(folder, *wanted)


async def test_what_is_erased_stays_so_after_a_rollback(store: Callable[[], Store]) -> None:
    async with Lattice(store(), dim=DIM) as lattice:
        anchors = await filled(lattice)
        await lattice.forget(anchors[7], erase=True)
        await lattice.rollback(anchors[9])
        with pytest.raises(LineErasedError):
            await lattice.get(anchors[7])
        assert anchors[7] not in {line.anchor for line in await lattice.query(vector(7), 20)}
        # What the rollback took off can be erased as well.
        await lattice.forget(anchors[20], erase=True)
        with pytest.raises(LineErasedError):
            await lattice.get(anchors[20])
        # The key is free, and the content may come again as a line of its own.
        again = await lattice.put(vector(7), None, {"n": 7}, idempotency_key="k7")
        assert (await lattice.find("k7")).anchor == again
    async with Lattice(store()) as lattice:
        assert (await lattice.find("k7")).anchor == again
        assert (await lattice.verify()).report.erased == (anchors[7], anchors[20])


async def test_the_entries_of_a_race_are_erased_one_by_one(store: Callable[[], Store]) -> None:
    async def first(_: LatticeView) -> Candidate:
        return Candidate(key=vector(1), context={"n": 1}, confidence=0.9)

    async def second(_: LatticeView) -> Candidate:
        return Candidate(key=vector(2), context={"n": 2}, confidence=0.5)

    async def third(_: LatticeView) -> Candidate:
        raise ValueError(SECRET)

    async with Lattice(store(), dim=DIM) as lattice:
        outcome = await lattice.race([first, second, third], idempotency_key="race")
        winner, loser = outcome.winner.anchor, outcome.losers[0].anchor
        await lattice.forget(loser, erase=True)
        assert await lattice.branches(winner) == []
        told = await lattice.outcome(winner)
        assert (told.winner, told.losers, told.failures) == (outcome.winner, (), outcome.failures)
        assert (await lattice.race([first, second], idempotency_key="race")).winner == told.winner
    async with Lattice(store()) as lattice:
        assert (await lattice.outcome(winner)).losers == ()
        await lattice.forget(winner, erase=True)
        with pytest.raises(LineErasedError):
            await lattice.outcome(winner)
        assert not await lattice.query(vector(2), 5)
        report = (await lattice.verify()).report
        assert (report.status, set(report.erased)) == ("clean", {winner, loser})
    async with Lattice(store()) as lattice:
        assert lattice.head == winner


async def test_many_are_erased_by_a_filter(store: Callable[[], Store]) -> None:
    async with Lattice(store(), dim=DIM) as lattice:
        anchors = await filled(lattice)
        await lattice.note({"n": 5, "kind": "note"})
        told = await lattice.forget_where({"n": {"$lt": 10}}, erase=True, dry_run=True)
        assert len(told) == 11
        assert len(await lattice.query(vector(3), 50, min_similarity=-1)) == 24
        assert await lattice.forget_where({"n": {"$lt": 10}}, erase=True) == told
        assert await lattice.forget_where({"n": {"$lt": 10}}, erase=True) == ()
        with pytest.raises(InvalidInputError):
            await lattice.forget_where({}, erase=True)
    async with Lattice(store()) as lattice:
        found = await lattice.query(vector(3), 50, min_similarity=-1)
        assert {line.anchor for line in found} == set(anchors[10:])
        assert (await lattice.verify()).holds
        assert set((await lattice.verify()).report.erased) == set(told)


async def test_unknown_anchors_are_refused(store: Callable[[], Store]) -> None:
    async with Lattice(store(), dim=DIM) as lattice:
        await filled(lattice, 3)
        with pytest.raises(LineNotFoundError):
            await lattice.forget("0" * 15 + "1", erase=True)
        assert lattice.revision == 3


async def test_a_filter_erases_what_was_forgotten_or_rolled_back_before(
    store: Callable[[], Store],
) -> None:
    async with Lattice(store(), dim=DIM) as lattice:
        forgotten = await lattice.put(vector(1), None, {"user": "ann"})
        await lattice.forget(forgotten)
        stays = await lattice.put(vector(2), None, {"user": "ben"})
        rolled_back = await lattice.put(vector(3), None, {"user": "ann"})
        revision = lattice.revision
        await lattice.rollback(stays)
        assert await lattice.forget_where({"user": "ann"}, dry_run=True) == ()
        told = await lattice.forget_where({"user": "ann"}, erase=True, dry_run=True)
        assert told == (forgotten, rolled_back)
        assert await lattice.forget_where({"user": "ann"}, erase=True) == told
        await lattice.rollback(revision)
        for anchor in told:
            with pytest.raises(LineErasedError):
                await lattice.get(anchor)
        with pytest.raises(LineErasedError):
            await lattice.put(vector(4), revises=(rolled_back,))
        assert [line.anchor async for line in lattice.rewind()] == [stays]


@pytest.mark.parametrize("flag", ["no", "false", 1, 0, None])
async def test_what_cannot_be_undone_is_not_asked_for_by_accident(flag: Any) -> None:
    async with Lattice(MemoryStore(), dim=DIM) as lattice:
        anchor = await lattice.put(vector(1), None, {"user": "ann"})
        with pytest.raises(InvalidInputError, match="erase is True or False"):
            await lattice.forget(anchor, erase=flag)
        with pytest.raises(InvalidInputError, match="erase is True or False"):
            await lattice.forget_where({"user": "ann"}, erase=flag)
        with pytest.raises(InvalidInputError, match="dry_run is True or False"):
            await lattice.forget_where({"user": "ann"}, dry_run=flag)
        assert lattice.revision == 1


async def test_a_reader_tells_what_would_be_erased(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "memory", dim=DIM) as lattice:
        anchor = await lattice.put(vector(1), None, {"user": "ann"})
        async with Lattice.open(tmp_path / "memory", read_only=True) as reader:
            assert await reader.forget_where({"user": "ann"}, dry_run=True) == (anchor,)
            later = await lattice.put(vector(2), None, {"user": "ann"})
            told = await reader.forget_where({"user": "ann"}, erase=True, dry_run=True)
            assert told == (anchor, later)


async def test_what_is_erased_while_it_is_read_is_left_out(
    store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment between a reader's look and its read: only its read finds that it is gone."""
    async with Lattice(store(), dim=DIM) as lattice:
        anchors = await filled(lattice, 60)
    async with Lattice(store()) as lattice:
        # Both know the line, and have not read it yet.
        reading, view = lattice.rewind(), lattice.at(lattice.revision)
        await anext(reading)
        await view.query(vector(50), 1)
        await lattice.forget(anchors[7], erase=True)
        monkeypatch.setattr(Snapshot, "lacks", lambda *_: False)
        monkeypatch.setattr(Snapshot, "is_outdated", False)
        rest = [anchor for anchor in reversed(anchors[:-1]) if anchor != anchors[7]]
        assert [line.anchor async for line in reading] == rest
        found = await view.query(vector(7), 100, min_similarity=-1)
        assert {line.anchor for line in found} == {anchors[-1], *rest}
