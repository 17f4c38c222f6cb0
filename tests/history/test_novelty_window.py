"""Novelty of the newest lines alone: exact, the same however lines came, and fixed for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
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
from history_model import Given, Model
from hypothesis import given, settings
from hypothesis import strategies as st

from pmll_async import Candidate, Concert, InvalidInputError, Lattice, PinnedError
from pmll_async.engine.ledger.snapshot import window_start
from pmll_async.indexes import codes
from pmll_async.indexes import keys as key_blocks
from pmll_async.indexes import rows as key_rows
from pmll_async.indexes.exact import ExactIndex
from pmll_async.moving.transfer import export_records, import_records
from pmll_async.protocols import Columns, Store
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.frames import decode_object
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import ManualClock
from pmll_async.testing.oracle import cosines, landscape, norms_of
from pmll_async.values.anchors import Hasher
from pmll_async.values.concert import Float32, novelty_of

WINDOWS = [1, 7, 30, 1000]
DIM = 8


@pytest.fixture(params=["float32", "codes"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of float32, and of codes from the eighth row on."""
    if request.param == "codes":
        pytest.importorskip("numkong", reason="numkong missing: pip install 'pmll-async[fast]'")
        codes.PRODUCTS.load()
        monkeypatch.setattr(key_blocks, "SMALL_PRODUCT", 0)
        for module in (key_blocks, codes):
            monkeypatch.setattr(module, "CHUNK_ROWS", 8)
        monkeypatch.setattr(codes, "_PACK_ROWS", (128, 32, 8))
    else:
        without = codes.ProductLibrary()
        without._is_asked_for = True
        for module in (key_blocks, codes):
            monkeypatch.setattr(module, "PRODUCTS", without)
    # Several blocks of keys within a test.
    for module in (key_blocks, key_rows):
        monkeypatch.setattr(module, "BLOCK_ROWS", 32)
    monkeypatch.setattr(key_rows.HeldRows, "step", 32)


def similarity(before: Float32, key: Float32) -> float:
    return float(cosines(before, key).max()) if len(before) else 0.0


def expected_similarities(keys: Float32, window: int) -> list[float]:
    return [similarity(keys[max(0, n - window) : n], key) for n, key in enumerate(keys)]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    "make",
    [near_duplicates, duplicates, clusters, magnitudes, opposites],
    ids=lambda make: make.__name__,
)
async def test_puts(make: Callable[[int], Float32], window: int) -> None:
    keys = make(DIM)
    outcome = await check(DIM, puts(keys), window)
    lines = [line for record in outcome.records for line in record.lines if line.kind == "line"]
    found = [line.similarity for line in lines]
    assert found == expected_similarities(keys, window)
    assert [line.novelty for line in lines] == [novelty_of(near) for near in found]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("window", WINDOWS)
async def test_who_is_refused_depends_on_the_window_and_on_who_was_not(window: int) -> None:
    keys = np.concatenate([clusters(DIM), duplicates(DIM), clusters(DIM)])
    outcome = await check(DIM, puts(keys, min_novelty=1e-4), window)
    kept: list[Float32] = []
    notes = {line.anchor for r in outcome.records for line in r.lines if line.kind == "note"}
    answers = [answer for answer in outcome.answers if answer not in notes]
    for key, answer in zip(keys, answers, strict=True):
        before = np.array(kept[-window:]).reshape(-1, DIM)
        is_novel = novelty_of(similarity(before, key)) >= 1e-4
        assert isinstance(answer, str) is is_novel
        if is_novel:
            kept.append(key)
    assert 0 < len(kept) < len(keys)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("window", WINDOWS)
async def test_put_many(window: int) -> None:
    keys = np.concatenate([clusters(DIM), duplicates(DIM)])
    one_by_one = await run(DIM, puts(keys), window=window)
    candidates = [Candidate(key=key, context={"n": n}) for n, key in enumerate(keys)]
    for batch in (1, 3, 7, 64):
        many: list[Commit] = [partial(Lattice.put_many, candidates=candidates, batch=batch)]
        found = await run(DIM, many, window=window)
        assert found.records == one_by_one.records, batch
        assert found.digest == one_by_one.digest, batch


# --- histories -----------------------------------------------------------------------------------

OPERATIONS = [
    "put",
    "many",
    "many",
    "race",
    "note",
    "forget",
    "forget",
    "decay",
    "rollback",
    "reopen",
]
operations = st.lists(
    st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 99)), min_size=5, max_size=30
)


@settings(max_examples=examples(20), deadline=None)
@given(operations, st.sampled_from([1, 2, 5, 12]))
def test_any_history(history: list[tuple[str, int]], window: int) -> None:
    """As brute force finds it, and the same whether lines come one by one or many at a time."""

    async def lived() -> None:
        one, other = Life(window, at_once=True), Life(window, at_once=False)
        assert await one.live(history) == await other.live(history)

    asyncio.run(lived())


class Life:
    """A lattice and the model, which both do the same."""

    def __init__(self, window: int, *, at_once: bool) -> None:
        self.store, self.clock, self.at_once = MemoryStore(), ManualClock(), at_once
        self.model = Model(DIM, Concert(), window)
        self.keys, self.window = clusters(DIM), window

    async def live(self, history: list[tuple[str, int]]) -> str:
        self.lattice = await Lattice(
            self.store, dim=DIM, clock=self.clock, novelty_window=self.window
        )
        for kind, number in history:
            await self.do(kind, number)
        digest = self.lattice.digest
        await self.lattice.aclose()
        stored = [line for record in self.store._records for line in record.lines]
        found = [(line.anchor, line.similarity, line.novelty) for line in stored]
        lines = self.model.now.lines
        assert found == [(line.anchor, line.similarity, line.novelty) for line in lines]
        return digest

    async def do(self, kind: str, number: int) -> None:
        lattice, model, t = self.lattice, self.model, self.clock.now
        chain = [line.anchor for line in model.now.chain]
        some = [self.given(number + i) for i in range(1 if kind == "put" else number % 9)]
        match kind:
            case "put" | "many":
                for given in some:
                    model.put(given, t)
                await self.put(some)
            case "race" if some:
                model.race([(given, 1.0) for given in some], 0.5, t, None)
                await lattice.race([raced(given) for given in some], decay=0.5)
            case "note":
                model.put(Given(None, None, {"n": number}), t)
                await lattice.note({"n": number})
            case "forget" if chain:
                model.forget(chain[number % len(chain)], t)
                await lattice.forget(chain[number % len(chain)])
            case "decay" if chain:
                model.decay(chain[number % len(chain)], 0.01, t)
                await lattice.decay(chain[number % len(chain)], 0.01)
            case "rollback":
                # Seldom far back, or hardly anything would be left.
                revision = max(0, model.revision - number % 5)
                model.rollback(revision, t)
                await lattice.rollback(revision)
            case "reopen":
                await lattice.aclose()
                self.lattice = await Lattice(self.store, clock=self.clock)

    def given(self, number: int) -> Given:
        return Given(self.keys[number % len(self.keys)], None, {"n": number})

    async def put(self, some: list[Given]) -> None:
        candidates = [Candidate(key=given.key, context=given.context) for given in some]
        if self.at_once:
            await self.lattice.put_many(candidates)
        else:
            for each in candidates:
                await self.lattice.put(each.key, context=each.context)


def raced(given: Given) -> Any:
    async def candidate(_: Any) -> Candidate:
        return Candidate(key=given.key, context=given.context)

    return candidate


async def test_races_are_scored_by_the_window() -> None:
    """Only the last line counts, so that what is far from it is wholly novel."""
    keys = np.eye(3, dtype=np.float32)
    race = [raced(Given(keys[0], None, {})), raced(Given(keys[1], None, {}))]
    scores = {}
    for window in (None, 1):
        async with Lattice(MemoryStore(), dim=3, novelty_window=window) as lattice:
            await lattice.put(keys[0])
            await lattice.put(keys[1])
            outcome = await lattice.race(race, query=keys[2])
            scores[window] = [score.score for score in outcome.scores]
    assert scores[None][0] == scores[None][1] == scores[1][1]
    assert scores[1][0] == pytest.approx(scores[1][1] + 0.08)


# --- fixed for ever ------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "jsonl", "lmdb"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """The same store each time."""
    if request.param == "lmdb":
        lmdb = pytest.importorskip("pmll_async.stores.lmdb")
        return lambda: lmdb.LmdbStore(tmp_path / "memory.lmdb")
    kept = MemoryStore()
    return lambda: kept if request.param == "memory" else JsonlStore(tmp_path / "memory")


async def test_it_is_the_stores_from_then_on(make_store: Callable[[], Store]) -> None:
    keys = duplicates(DIM)
    expected = await run(DIM, puts(keys), window=7)
    parts = [puts(keys)[:15], puts(keys)[15:30], puts(keys)[30:]]
    for window, part in zip((7, None, 7), parts, strict=True):
        clock = ManualClock()
        async with Lattice(make_store(), dim=DIM, clock=clock, novelty_window=window) as lattice:
            assert lattice.novelty_window == 7
            for commit in part:
                await commit(lattice)
            digest = lattice.digest
    assert digest == expected.digest


@pytest.mark.parametrize(("stored", "asked"), [(7, 8), (None, 8)])
async def test_another_one_is_refused(
    make_store: Callable[[], Store], stored: int | None, asked: int
) -> None:
    async with Lattice(make_store(), dim=DIM, novelty_window=stored) as lattice:
        assert lattice.novelty_window == stored
    with pytest.raises(PinnedError, match=f"'novelty_window' is pinned to '{stored}'.*'8'"):
        await Lattice(make_store(), novelty_window=asked)
    async with Lattice(make_store()) as lattice:
        assert lattice.novelty_window == stored


@pytest.mark.parametrize("window", [0, -1, True, 1.5, "7"])
def test_it_is_a_whole_number_and_nothing_is_made_otherwise(tmp_path: Path, window: Any) -> None:
    with pytest.raises(InvalidInputError, match="novelty_window must be a whole number from 1 on"):
        Lattice.open(tmp_path / "memory", dim=DIM, novelty_window=window)
    assert not list(tmp_path.iterdir())


async def test_it_moves_with_the_lattice(make_store: Callable[[], Store], tmp_path: Path) -> None:
    keys = clusters(DIM)
    async with Lattice(make_store(), dim=DIM, clock=ManualClock(), novelty_window=5) as lattice:
        for commit in puts(keys[:30]):
            await commit(lattice)
    lines = list(export_records(make_store(), Hasher()))
    digests = set()
    for store in (make_store(), MemoryStore(), JsonlStore(tmp_path / "copy")):
        import_records(lines, store, Hasher())
        assert list(export_records(store, Hasher()))[1:] == lines[1:]
        async with Lattice(store, clock=ManualClock()) as copy:
            assert copy.novelty_window == 5
            for commit in puts(keys[30:]):
                await commit(copy)
            digests.add(copy.digest)
    assert digests == {(await run(DIM, puts(keys[:30]) + puts(keys[30:]), window=5)).digest}
    # Records of another window must not go on in this one's store.
    async with Lattice(store := MemoryStore(), dim=DIM):
        pass
    with pytest.raises(PinnedError, match="'None' here and cannot become '5'"):
        import_records(lines, store, Hasher())


async def test_earlier_releases_do_not_take_it_for_what_they_know(tmp_path: Path) -> None:
    """They refuse a feature that they do not know, and an export of another format."""
    features = []
    for window in (None, 5):
        path = tmp_path / str(window)
        async with Lattice.open(path, dim=DIM, novelty_window=window):
            pass
        fields = decode_object((path / "store.json").read_bytes())
        features.append(fields["requires"])
        assert fields.get("novelty_window") == window
        header = next(export_records(JsonlStore(path), Hasher()))
        assert f'"format":{2 if window else 1},' in header
        assert ("novelty_window" in header) is bool(window)
    assert features[1] == [*features[0], "novelty-window"]


# --- what it costs -------------------------------------------------------------------------------


class Seen(np.ndarray[Any, Any]):
    """Bools that remember the first row that was asked for."""

    first: int

    def __getitem__(self, key: Any) -> Any:
        self.first = min(getattr(self, "first", len(self)), key.start)
        return np.asarray(super().__getitem__(key))


def watched(live: Any, chain: Any) -> Columns:
    count = len(live)
    empty = np.zeros(count)
    anchors = np.zeros(count, dtype=np.uint64)
    return Columns(count, empty, empty, empty, live.view(Seen), chain, empty.astype(int), anchors)


@given(st.integers(0, 2**32 - 1), st.integers(0, 30_000), st.integers(1, 12_000))
@settings(deadline=None, max_examples=examples(25))
def test_a_window_begins_where_counting_says(seed: int, count: int, window: int) -> None:
    random = np.random.default_rng(seed)
    live = random.random(count) < random.choice([0.001, 0.5, 1.0])
    chain = random.random(count) < random.choice([0.5, 1.0])
    eligible = live & chain
    start = window_start(watched(live, chain), window)
    assert np.count_nonzero(eligible[start:]) == min(window, np.count_nonzero(eligible))


def test_finding_it_looks_at_few_rows_more() -> None:
    live = np.random.default_rng(0).random(1_000_000) < 0.9
    columns = watched(live, np.ones_like(live))
    assert np.count_nonzero(live[window_start(columns, 65_536) :]) == 65_536
    assert 1_000_000 - columns.live.first < 80_000


@pytest.mark.parametrize("asked", [1, 5])
def test_only_its_rows_are_multiplied(asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (key_blocks, key_rows):
        monkeypatch.setattr(module, "BLOCK_ROWS", 128)
    monkeypatch.setattr(key_rows.HeldRows, "step", 128)
    land = landscape(5, 1000, DIM)
    index = ExactIndex()
    index.open(DIM)
    index.add(land.keys, land.norms)
    expected = index.nearest(land.columns, land.keys[:asked], norms_of(land.keys[:asked]), 900)
    # What is not there cannot be looked at.
    rows = index._rows
    assert isinstance(rows, key_rows.HeldRows)
    rows._blocks[: 900 // 128] = [None] * (900 // 128)  # type: ignore[list-item]  # unreadable
    found = index.nearest(land.columns, land.keys[:asked], norms_of(land.keys[:asked]), 900)
    assert found == expected
