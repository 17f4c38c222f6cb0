"""Mistakes that others published about their sealed logs, tried on ours.

journald: CVE-2023-31437, -31438 and -31439. immudb: GHSA-672p-m5jq-mrh8. Borg: CVE-2023-36811.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from attacks import SEAL, change_content, cut_off, records_of, rewrite
from integrity_support import KEY, SEED, fill, lattice_at

from pmll_async import CorruptionError, SealError
from pmll_async.cli.verify import Expected, checked
from pmll_async.integrity import Ed25519Key, Seal, read_seal


async def sealed(path: Path) -> tuple[list[str], Seal]:
    async with lattice_at(path) as lattice:
        anchors = await fill(lattice, 8)
        return anchors, await lattice.seal(signer=Ed25519Key(SEED))


def is_found(path: Path, seal: Seal) -> bool:
    return not checked(path, None, Expected(seal, Ed25519Key(SEED).checker)).holds


async def test_no_view_leaves_out_what_is_sealed(tmp_path: Path) -> None:
    """CVE-2023-31437: a changed index hid sealed entries from some views, and nothing told it."""
    path = tmp_path / "memory"
    anchors, seal = await sealed(path)
    # What opening and queries go by is derived, and may be anybody's here.
    for name in ("cache/blocks.bin", "leaves.bin", "MANIFEST.json"):
        for content in (b"", (path / name).read_bytes()[:-1]):
            copy = Path(shutil.copytree(path, tmp_path / f"copy of {name.replace('/', ' ')}"))
            (copy / name).write_bytes(content)
            try:
                async with lattice_at(copy) as lattice:
                    shown = [line.anchor async for line in lattice.rewind()]
                    assert shown == anchors[::-1]
            except CorruptionError:
                assert is_found(copy, seal)
            shutil.rmtree(copy)


async def test_sealing_does_not_go_on_after_a_cut(tmp_path: Path) -> None:
    """CVE-2023-31438: a log was cut off, sealing resumed behind it, and the check passed."""
    path = tmp_path / "memory"
    _, seal = await sealed(path)
    rewrite(path, cut_off)
    assert is_found(path, seal)
    async with lattice_at(path) as lattice:
        await fill(lattice, 4, 20)
        with pytest.raises(SealError, match="it was cut off, replaced or changed"):
            await lattice.seal(signer=Ed25519Key(SEED))
    assert is_found(path, seal)
    assert read_seal(path / SEAL) == seal, "the evidence stays"


async def test_a_changed_past_is_not_made_to_fit(tmp_path: Path) -> None:
    """CVE-2023-31439: past events were changed and the rest adjusted, and the check passed."""
    path = tmp_path / "memory"
    _, seal = await sealed(path)
    rewrite(path, change_content)
    assert records_of(path)[2]["ctx"] == {"n": 99}
    assert checked(path, None, Expected()).holds, "without a seal all of it fits"
    assert is_found(path, seal)
    async with lattice_at(path) as lattice:
        with pytest.raises(SealError):
            await lattice.seal(signer=Ed25519Key(SEED))


async def test_a_shorter_or_longer_proof_is_none(tmp_path: Path) -> None:
    """GHSA-672p-m5jq-mrh8: a server left nodes out of a proof, and the client did not count."""
    async with lattice_at(tmp_path / "memory") as lattice:
        anchors = await fill(lattice, 11)
        older = await lattice.seal()
        await fill(lattice, 6, 11)
        newer = await lattice.seal()
        included = await lattice.prove(anchors[4], newer)
        grown = await lattice.prove_growth(older, newer)
    for proof in (included, grown):
        assert proof.holds
        for path in (
            (),
            proof.path[:-1],
            proof.path[1:],
            (*proof.path, proof.path[0]),
            proof.path[::-1],
            (proof.path[0], *proof.path),
        ):
            assert not proof.model_copy(update={"path": path}).holds


async def test_what_has_no_proof_is_not_taken_for_what_has(tmp_path: Path) -> None:
    """CVE-2023-36811: an archive without authentication was taken where others had it."""
    path = tmp_path / "memory"
    _, seal = await sealed(path)
    plain = seal.signed(None)
    fields = json.loads(seal.to_bytes())
    unproven = Seal.model_validate({**fields, "proof": ""})
    by_another = seal.signed(Ed25519Key(KEY.ljust(32, b"!")[:32]))
    for forged in (plain, unproven, by_another):
        found = checked(path, None, Expected(forged, Ed25519Key(SEED).checker))
        assert not found.holds
        assert found.report.status == "clean"
