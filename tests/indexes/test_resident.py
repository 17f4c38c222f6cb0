"""An index that leaves its keys to the store answers as one that holds them, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from pmll_async import InvalidInputError, Lattice
from pmll_async.indexes import codes, exact, keys, rows
from pmll_async.indexes.exact import ExactIndex
from pmll_async.protocols import Index, ReadsKeys
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import IndexSuite
from pmll_async.testing.oracle import Landscape, landscape, vectors_near
from pmll_async.values.concert import Concert, Float32, Float64, exact_norm

pytest.importorskip("numkong", reason="numkong missing: pip install 'pmll-async[fast]'")

CHUNK = 8


@pytest.fixture(scope="module", autouse=True)
def small_chunks() -> Iterator[None]:
    """Codes in chunks of eight rows, so that few rows have all that many have."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (keys, codes, rows):
            patch.setattr(module, "CHUNK_ROWS", CHUNK)
        patch.setattr(codes, "_PACK_ROWS", (128, 32, CHUNK))
        patch.setattr(exact, "_READ_SHARE", 8)
        yield


class ReadIndex(ExactIndex):
    """Reads its keys from an array that stands for a store; `read` are the rows it asked for."""

    def __init__(self) -> None:
        super().__init__(resident="mmap")

    def open(self, dim: int) -> None:
        super().open(dim)
        self.stored, self.read = np.empty((0, dim), np.float32), list[int]()
        self.read_keys(_Stored(self))

    def add(self, keys: Float32, norms: Float64) -> None:
        self.stored = np.concatenate([self.stored, keys])
        super().add(keys, norms)


class _Stored:
    def __init__(self, index: ReadIndex) -> None:
        self._index = index

    def __call__(self, rows: Any) -> Float32:
        assert (np.diff(rows) > 0).all(), "each row is asked for once, in order"
        count = len(self._index.stored)
        assert rows.max(initial=0) < count // CHUNK * CHUNK, "the newest have no code yet"
        found: Float32 = self._index.stored[rows]
        self._index.read += rows.tolist()
        # A store's arrays may be read-only.
        found.flags.writeable = False
        return found

    def refuse(self, row: int) -> NoReturn:
        raise LookupError(row)


class TestReadIndex(IndexSuite):
    def make_index(self) -> Index:
        return ReadIndex()


def both(land: Landscape, step: int = 10**6) -> tuple[ReadIndex, ExactIndex]:
    indexes = ReadIndex(), ExactIndex()
    for index in indexes:
        index.open(land.keys.shape[1])
        for first in range(0, len(land.keys), step):
            span = slice(first, first + step)
            index.add(land.keys[span], land.norms[span])
    return indexes


concerts = st.builds(
    Concert,
    alpha=st.sampled_from([0.0, 0.35, -0.5]),
    beta=st.sampled_from([0.0, 0.5, -1.0, 1.0]),
    gamma=st.sampled_from([0.0, 0.08, -0.3]),
    tau=st.sampled_from([0.5, 21600.0]),
    floor=st.sampled_from([-1.0, 0.0, 0.15, 0.9]),
)


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.sampled_from([0, 1, 7, 8, 9, 64, 130, 400]),
    dim=st.sampled_from([1, 3, 24]),
    step=st.sampled_from([1, 5, 8, 10**6]),
    concert=concerts,
    scale=st.sampled_from([None, 1e-30, 1e30]),
)
@settings(max_examples=examples(30))
def test_every_call_gives_the_same_bits(
    seed: int, count: int, dim: int, step: int, concert: Concert, scale: float | None
) -> None:
    land = landscape(seed, count, dim)
    if scale is not None:
        land.keys[::5] *= np.float32(scale)
    reads, holds = both(land, step)
    vectors, random = vectors_near(seed, land.keys, 7), np.random.default_rng(seed)
    some = np.flatnonzero(random.random(count) < 0.3)
    queries = [
        land.query(vector, k, concert=concert, rows=chosen)
        for number, vector in enumerate(vectors)
        for k, chosen in ((1 + number, None), (count + 2, None), (3, some), (2, some[:2]))
    ]
    assert reads.rank(land.columns, queries) == holds.rank(land.columns, queries)
    assert reads.rank(land.columns, queries[:1]) == holds.rank(land.columns, queries[:1])
    norms = np.array([exact_norm(vector) for vector in vectors])
    for asked in (slice(1), slice(7)):
        assert reads.nearest(land.columns, vectors[asked], norms[asked]) == holds.nearest(
            land.columns, vectors[asked], norms[asked]
        )
    for chosen in (None, some, some[::-1], np.repeat(some, 2)):
        told = [index.cosines(count, vectors[0], norms[0], chosen) for index in (reads, holds)]
        assert told[0].tobytes() == told[1].tobytes()
    assert reads.units(some).tobytes() == holds.units(some).tobytes()


def test_few_keys_are_read() -> None:
    random = np.random.default_rng(1)
    keys = random.standard_normal((4000, 64)).astype(np.float32)
    land = landscape(1, 4000, 64)
    land = Landscape(keys, land.columns, land.now)
    reads, _ = both(land)
    vectors = random.standard_normal((20, 64)).astype(np.float32)
    for vector in vectors:
        reads.rank(land.columns, [land.query(vector, 5, concert=Concert.cosine())])
    assert len(reads.read) < 20 * 200
    reads.read.clear()
    reads.nearest(land.columns, vectors, np.array([exact_norm(vector) for vector in vectors]))
    assert len(reads.read) < 20 * 50


def test_a_wide_filter_reads_no_more_than_none() -> None:
    land = landscape(2, 4000, 24)
    reads, _ = both(land)
    every = np.arange(0, 4000, 9)
    reads.rank(land.columns, [land.query(vectors_near(2, land.keys, 2)[1], 5, rows=every)])
    assert len(reads.read) < len(every)


def test_an_index_without_a_reader_has_its_newest_rows() -> None:
    land = landscape(3, CHUNK + 1, 4)
    index = ExactIndex(resident="mmap")
    index.open(4)
    index.add(land.keys, land.norms)
    assert index.units(np.array([CHUNK])).shape == (1, 4)
    with pytest.raises(RuntimeError):
        index.units(np.array([CHUNK - 1]))


def test_another_key_is_refused() -> None:
    land = landscape(4, 5 * CHUNK, 4)
    reads, _ = both(land)
    reads.stored[3] *= np.float32(1.001)
    with pytest.raises(LookupError, match="3"):
        reads.units(np.arange(CHUNK))


# --- what is refused ------------------------------------------------------------------------------


def test_only_two_places() -> None:
    with pytest.raises(InvalidInputError, match='"memory" or "mmap"'):
        ExactIndex(resident="disk")  # type: ignore[arg-type]  # refused


def test_the_extra_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmll_async.values.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'pmll-async\[fast\]'"):
        ExactIndex(resident="mmap")
    ExactIndex()


def test_a_broken_library_is_told_when_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = codes.ProductLibrary()
    monkeypatch.setattr(codes, "find_spec", lambda name: None)
    monkeypatch.setattr(keys, "PRODUCTS", broken)
    index = ExactIndex(resident="mmap")
    with pytest.raises(ImportError, match="resident="):
        index.open(3)


async def test_a_store_that_cannot_read_keys_is_refused_before_it_is_opened() -> None:
    class Foreign:
        def __getattr__(self, name: str) -> Any:
            if name == "keys":
                raise AttributeError(name)
            return getattr(MemoryStore(), name)

    with pytest.raises(InvalidInputError, match="Foreign has no `keys`"):
        await Lattice(Foreign(), dim=3, index=ExactIndex(resident="mmap"))  # type: ignore[arg-type]  # no `Store`
    async with Lattice(Foreign(), dim=3, index=ExactIndex()):  # type: ignore[arg-type]  # no `Store`
        pass
    assert isinstance(ExactIndex(), ReadsKeys)
