"""Codes that an approximate index leaves beside the records: taken again, or made anew."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmll_async import Candidate, Lattice
from pmll_async.indexes import coder as craft
from pmll_async.protocols import SidecarIndex
from pmll_async.stores.memory import MemoryStore

faiss = pytest.importorskip("pmll_async.indexes.faiss", reason="pip install 'pmll-async[faiss]'")

DIM, FIRST = 9, 1024
KEYS = np.random.default_rng(0).standard_normal((FIRST + 100, DIM)).astype(np.float32)
SOME = KEYS[: FIRST + 44]


@pytest.fixture(autouse=True)
def trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Codes begin with few lines; on how many rows they were trained, each time."""
    rows: list[int] = []
    train = faiss._FastScan.train

    def noting(kernel: Any, units: np.ndarray) -> None:
        rows.append(len(units))
        train(kernel, units)

    monkeypatch.setattr(craft, "FIRST_ROWS", FIRST)
    monkeypatch.setattr(craft, "_SAMPLE", FIRST)
    monkeypatch.setattr(faiss._FastScan, "train", noting)
    return rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


@pytest.fixture
def file(path: Path) -> Path:
    return path / "codes.faiss"


async def session(path: Path, *keys: np.ndarray, **options: Any) -> int:
    """Open, put, have codes made, and close; how many rows have codes."""
    index = faiss.FaissIndex(**options.pop("index", {}))
    async with Lattice.open(path, dim=DIM, index=index, **options) as lattice:
        if keys:
            await lattice.put_many([Candidate(key=key) for key in keys])
        index.build()
        await lattice.query(KEYS[3], k=3)
    codes = index._coder._ready
    return codes.count if codes else 0


async def test_they_are_there_at_the_next_opening(
    path: Path, file: Path, trained: list[int]
) -> None:
    assert isinstance(faiss.FaissIndex(), SidecarIndex)
    assert await session(path, *SOME) == FIRST
    assert trained == [FIRST]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    assert await session(path) == FIRST
    assert file.read_bytes() == before
    # What has come since is coded, and kept in its turn.
    assert await session(path, *KEYS[len(SOME) :]) == FIRST + 64
    assert trained == [FIRST]
    assert file.read_bytes() != before
    assert await session(path, read_only=True) == FIRST + 64
    assert trained == [FIRST]


async def test_they_answer_as_those_that_were_made(path: Path) -> None:
    async def answers(index: Any) -> list[tuple[str, float]]:
        async with Lattice.open(path, dim=DIM, index=index) as lattice:
            index.build()
            found = [await lattice.query(key, k=5, now=0.0) for key in KEYS[::7]]
            return [(line.anchor, line.weight) for lines in found for line in lines]

    await session(path, *KEYS)
    taken = await answers(faiss.FaissIndex(shortlist=1))
    (path / "codes.faiss").unlink()
    assert taken == await answers(faiss.FaissIndex(shortlist=1))


def damages() -> list[Any]:
    """What may have become of the file."""

    def line(**facts: Any) -> Any:
        def changed(whole: bytes) -> bytes:
            head, _, rest = whole.partition(b"\n")
            return json.dumps(json.loads(head) | facts).encode() + b"\n" + rest

        return changed

    return [
        pytest.param(change, id=name)
        for name, change in {
            "empty": lambda _: b"",
            "no line": lambda whole: whole.partition(b"\n")[2],
            "cut": lambda whole: whole[:-1],
            "a bit": lambda whole: whole[:-7] + bytes([whole[-7] ^ 1]) + whole[-6:],
            "more rows": line(count=10**9),
            "fewer rows": line(count=960),
            "a strange count": line(count=True),
            "negative": line(lengths=[-1, 5]),
            "endless": line(lengths=[1 << 60, 1]),
            "another library": line(kind="faiss 0, 9 dimensions"),
            "another format": line(format=2),
            "other rows": line(rows="0" * 64),
            "no object": lambda _: b"[]\n",
            "text": lambda _: "nämlich".encode("latin-1") * 2000,
        }.items()
    ]


@pytest.mark.parametrize("damage", damages())
async def test_what_does_not_hold_is_made_anew(
    path: Path, file: Path, trained: list[int], damage: Any
) -> None:
    await session(path, *SOME)
    file.write_bytes(damage(file.read_bytes()))
    assert await session(path) == FIRST
    assert trained == [FIRST, FIRST]
    assert await session(path) == FIRST
    assert trained == [FIRST, FIRST]


async def test_codes_of_other_lines_are_not_taken(
    path: Path, file: Path, tmp_path: Path, trained: list[int]
) -> None:
    await session(path, *SOME)
    await session(tmp_path / "other", *KEYS[56:])
    (tmp_path / "other" / "codes.faiss").write_bytes(file.read_bytes())
    await session(tmp_path / "other")
    assert trained == [FIRST] * 3


async def test_a_link_is_not_followed(path: Path, file: Path, trained: list[int]) -> None:
    await session(path, *SOME)
    file.rename(path.parent / "elsewhere")
    file.symlink_to(path.parent / "elsewhere")
    await session(path)
    assert trained == [FIRST, FIRST]
    assert not file.is_symlink()


async def test_where_nothing_can_be_kept_all_goes_on(path: Path, file: Path) -> None:
    await session(path, *SOME)
    file.unlink()
    (path / "codes.faiss.new").mkdir()
    assert await session(path) == FIRST
    assert not file.exists()
    async with Lattice(MemoryStore(), dim=DIM, index=faiss.FaissIndex()) as lattice:
        await lattice.put(KEYS[0])


async def test_an_exact_one_keeps_nothing(path: Path, file: Path) -> None:
    assert await session(path, *SOME, index={"exact": True}) == 0
    assert not file.exists()
