"""The index on a device of torch's: on the host here, and on a card where there is one."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from pmll_async import Concert, InvalidInputError, Lattice
from pmll_async.protocols import Index
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import IndexSuite, oracle
from pmll_async.testing.indexes import first_rows
from pmll_async.testing.oracle import landscape, vectors_near

torch = pytest.importorskip("torch", reason="torch missing: pip install 'pmll-async[cuda]'")
if not torch.cuda.is_available():
    # Read where the kernel is compiled, which is at its import.
    os.environ["TRITON_INTERPRET"] = "1"

from pmll_async.indexes import cuda, device  # noqa: E402  # they need torch
from pmll_async.indexes.cuda import CudaIndex  # noqa: E402  # as above

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(autouse=True, params=DEVICES)
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The device, to which the smallest lattice goes, in many blocks and steps."""
    monkeypatch.setattr(cuda, "SMALL_PRODUCT", 0)
    monkeypatch.setattr(cuda, "_SENT_ROWS", 100)
    monkeypatch.setattr(cuda, "_HOST_SCORES", 700)
    monkeypatch.setattr(device, "BLOCK_ROWS", 256)
    return str(request.param)


class _Suite(IndexSuite):
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def take(self, card: str) -> None:
        self.card = card

    def make_index(self) -> Index:
        return CudaIndex(self.card, **self.options)


class TestHalf(_Suite):
    pass


class TestSingle(_Suite):
    options: ClassVar[dict[str, Any]] = {"dtype": "float32"}


class TestFused(_Suite):
    options: ClassVar[dict[str, Any]] = {"fused": True}


class TestFusedSingle(_Suite):
    options: ClassVar[dict[str, Any]] = {"fused": True, "dtype": "float32"}


class TestMostOfItSent(_Suite):
    options: ClassVar[dict[str, Any]] = {"memory": 256 * 8 * 2}


def test_questions_about_the_past_of_some_lines(card: str) -> None:
    """Of lines later than `now` the recency is 1."""
    land = landscape(7, 800, 8)
    index = CudaIndex(card)
    index.open(8)
    index.add(land.keys, land.norms)
    queries = [
        replace(land.query(vector, 5, concert=Concert(alpha=0.9)), now=now)
        for vector in vectors_near(7, land.keys, 3)
        for now in (land.now, land.now - 30_000, land.now - 1e9)
    ]
    expected = [oracle.rank(land.keys, land.columns, query) for query in queries]
    assert index.rank(land.columns, queries) == expected
    assert index.sent == 800


def test_the_kernel_is_asked_wherever_it_can_be(card: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not about the past of some lines, nor for a filter, which it knows nothing of."""
    from pmll_async.indexes import fused

    land = landscape(11, 600, 8)
    index = CudaIndex(card, fused=True)
    index.open(8)
    index.add(land.keys, land.norms)
    calls: list[int] = []
    plain = fused.select_by_tiles

    def counting(*args: Any) -> Any:
        calls.append(1)
        return plain(*args)

    monkeypatch.setattr(fused, "select_by_tiles", counting)
    late = max(land.now, float(land.columns.timestamps.max()))
    queries = [replace(land.query(v, 5), now=late) for v in vectors_near(11, land.keys, 9)]
    every = np.arange(600, dtype=np.int64)
    for asked, number in [
        (queries, 1),
        ([replace(queries[0], now=land.now - 1e9)], 1),
        ([replace(queries[0], rows=every)], 1),
        (queries[:1], 2),
    ]:
        expected = [oracle.rank(land.keys, land.columns, query) for query in asked]
        assert index.rank(land.columns, asked) == expected
        assert len(calls) == number


def test_concerts_of_their_own(card: str) -> None:
    land = landscape(8, 600, 8)
    index = CudaIndex(card)
    index.open(8)
    index.add(land.keys, land.norms)
    concerts = [Concert(), Concert.cosine(), Concert(beta=-0.5), Concert(gamma=-2.0)]
    queries = [
        land.query(vector, 7, concert=concert, branches=branches)
        for vector in vectors_near(8, land.keys, 2)
        for concert in concerts
        for branches in (True, False)
    ]
    expected = [oracle.rank(land.keys, land.columns, query) for query in queries]
    assert index.rank(land.columns, queries) == expected


def test_keys_of_any_length(card: str) -> None:
    """Beyond what float32 can square."""
    land = landscape(9, 500, 8)
    keys = land.keys.copy()
    keys[::50] *= np.float32(1e25)
    keys[7::50] *= np.float32(1e-25)
    land = oracle.Landscape(keys, land.columns, land.now)
    index = CudaIndex(card)
    index.open(8)
    index.add(land.keys, land.norms)
    queries = [land.query(vector, 9) for vector in vectors_near(9, land.keys, 6)]
    assert index.rank(land.columns, queries) == [
        oracle.rank(land.keys, land.columns, query) for query in queries
    ]


def test_threads_ask_while_it_grows(card: str) -> None:
    land = landscape(10, 2000, 8)
    index = CudaIndex(card)
    index.open(8)
    queries = [land.query(vector, 5) for vector in vectors_near(10, land.keys, 4)]
    with ThreadPoolExecutor(4) as pool:
        asked = []
        for first in range(0, 2000, 100):
            index.add(land.keys[first : first + 100], land.norms[first : first + 100])
            columns = first_rows(land.columns, first + 100)
            asked.append((columns, [pool.submit(index.rank, columns, [q]) for q in queries]))
        for columns, answers in asked:
            expected = [oracle.rank(land.keys[: columns.count], columns, q) for q in queries]
            assert [answer.result()[0] for answer in answers] == expected


async def test_a_lattice_on_it_has_the_anchors_of_every_other(card: str) -> None:
    rng = np.random.default_rng(0)
    keys = rng.standard_normal((300, 16)).astype(np.float32)
    digests, answers = [], []
    for index in (CudaIndex(card), None):
        async with Lattice(MemoryStore(), dim=16, index=index, clock=lambda: 1.7e9) as lattice:
            for key in keys:
                await lattice.put(key)
            digests.append(lattice.digest)
            answers.append([await lattice.query(key, 5) for key in keys[:20]])
    assert digests[0] == digests[1]
    assert answers[0] == answers[1]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="float16"):
        CudaIndex("cpu", dtype="int8")  # type: ignore[arg-type]  # that is what is refused
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInputError, match='device="cpu"'):
            CudaIndex()
