"""Files of seals are read strictly, and keys show nothing of themselves."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from integrity_support import fill, lattice_at

from pmll_async import InvalidInputError, SealError
from pmll_async.integrity import Ed25519Key, Ed25519PublicKey, MacKey, read_seal


async def test_seals_are_read_strictly(tmp_path: Path) -> None:
    async with lattice_at(tmp_path / "memory") as lattice:
        await fill(lattice, 1)
        seal = await lattice.seal()
    data, file = seal.to_bytes(), tmp_path / "seal.json"
    fields = json.loads(data)
    bad = [
        b"",
        b"{}",
        b"nothing",
        b"[" * 100_000,
        data + b" ",
        data.replace(b'"mode":"plain"', b'"mode":"plain","mode":"plain"'),
        data.replace(b'"number":1', b'"number":1.0'),
        json.dumps({**fields, "more": 1}, sort_keys=True, separators=(",", ":")).encode() + b"\n",
        json.dumps({**fields, "number": 0}, sort_keys=True, separators=(",", ":")).encode() + b"\n",
        data.replace(b"pmll seal 1", b"pmll seal 2"),
        data.replace(seal.root.encode(), seal.root.upper().encode()),
    ]
    for content in bad:
        file.write_bytes(content)
        with pytest.raises(SealError):
            read_seal(file)
    for position in range(len(data)):
        # A bit turned in a signed seal is found by its proof; in any seal the form is checked.
        file.write_bytes(data[:position] + bytes([data[position] ^ 0x80]) + data[position + 1 :])
        with pytest.raises(SealError):
            read_seal(file)
    with pytest.raises(SealError, match="no such file"):
        read_seal(tmp_path / "missing.json")
    (tmp_path / "link.json").symlink_to(file)
    with pytest.raises(SealError, match="cannot be read"):
        read_seal(tmp_path / "link.json")


def test_keys_show_and_leave_nothing() -> None:
    secret = b"a secret that nobody may see"
    for key in (MacKey(secret), Ed25519Key(secret.ljust(32, b"!"))):
        assert secret.decode() not in repr(key)
        assert secret.hex() not in repr(key)
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(key)
    with pytest.raises(InvalidInputError):
        MacKey(b"short")
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(InvalidInputError):
            Ed25519Key(wrong)
        with pytest.raises(InvalidInputError):
            Ed25519PublicKey(wrong)
