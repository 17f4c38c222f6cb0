"""What sealing and verifying refuse before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from integrity_support import SEED, fill, lattice_at

from pmll_async import InvalidInputError, Lattice, SealError
from pmll_async.integrity import Ed25519Key


@pytest.mark.parametrize(
    "options",
    [
        {"path": 5},
        {"path": b"seal.json"},
        {"path": ""},
        {"path": "a\0b"},
        {"trust": 3},
        {"signer": b"a key"},
        {"witness": 3},
        {"path": "one.json", "trust": "one.json"},
    ],
)
async def test_what_is_no_way_to_seal(tmp_path: Path, options: Any) -> None:
    async with lattice_at(tmp_path / "memory") as lattice:
        with pytest.raises(InvalidInputError):
            await lattice.seal(**options)
        with pytest.raises(InvalidInputError):
            await lattice.seal(witness=lattice.verify)
    assert not (tmp_path / "memory/seal.json").exists()
    for given in (True, 7, "", b"seal.json"):
        with pytest.raises(InvalidInputError):
            lattice_at(tmp_path / "memory", seal_on_close=given)


async def test_a_place_that_cannot_be_written_to_is_found_before_anything_is(
    tmp_path: Path,
) -> None:
    nowhere = tmp_path / "no such folder" / "file.json"
    async with lattice_at(tmp_path / "memory") as lattice:
        await fill(lattice, 1)
        for options in ({"path": nowhere}, {"trust": nowhere}):
            with pytest.raises(SealError, match="make it first"):
                await lattice.seal(**options)
        assert not (tmp_path / "memory/seal.json").exists()


async def test_what_cannot_be_verified_against(tmp_path: Path) -> None:
    async with lattice_at(tmp_path / "memory") as lattice:
        [anchor] = await fill(lattice, 1)
        key: Any = Ed25519Key(SEED).checker
        wrong: list[dict[str, Any]] = [
            {"expect": "seal.json"},
            {"trust": "trust.json"},
            {"checker": b"a key"},
            {"checker": key},
        ]
        for options in wrong:
            with pytest.raises(InvalidInputError):
                await lattice.verify(**options)
        no_seal: Any = "seal.json"
        with pytest.raises(InvalidInputError, match="a Seal is wanted"):
            await lattice.prove(anchor, no_seal)


async def test_what_the_block_raised_is_more_than_a_seal_that_failed(tmp_path: Path) -> None:
    nowhere = tmp_path / "no such folder" / "seal.json"
    with pytest.raises(KeyError):
        async with lattice_at(tmp_path / "memory", seal_on_close=nowhere):
            raise KeyError("the user's")


async def test_a_reader_seals_what_is_there_now(tmp_path: Path) -> None:
    async with (
        lattice_at(tmp_path / "memory") as writer,
        Lattice.open(tmp_path / "memory", read_only=True) as reader,
    ):
        await fill(writer, 2)
        await writer.seal(trust=tmp_path / "trust.json")
        await fill(writer, 1, 2)
        seal = await reader.seal(tmp_path / "out.json", trust=tmp_path / "trust.json")
        assert (seal.number, seal.records) == (2, 3)
