"""Seals: what a log was at one revision, stated in a file that can be kept elsewhere."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from pmll_async.errors import SealError
from pmll_async.integrity.documents import Document, Hash, Word64
from pmll_async.integrity.keys import (
    KEY_BYTES,
    Ed25519PublicKey,
    Mode,
    SealChecker,
    SealSigner,
)

NO_SEAL: Final = "0" * 64
"""What the first seal names as the one before it."""
_MESSAGE: Final = b"pmll seal 1\n"
"""Stands before what is signed, so that no proof of ours is one of anything else."""


class Seal(Document):
    """One seal. `number` counts the seals of a store from 1; `previous` is the digest of the last.

    Of the first `records` records: `head` is the anchor of the newest line, `digest` is h, `root`
    the RFC 9162 Merkle root over their L_n and `fnv` FNV-1a/64 over the same bytes joined;
    `log_bytes` is how long the log was, None where the store has no one log. `time` is seconds
    since the epoch by the clock of who sealed. `key` names the key of `mode`; both it and `proof`
    are empty in a plain seal, which says what was there and not who says so.
    """

    format: Literal["pmll seal 1"] = "pmll seal 1"
    store: str
    number: int = Field(ge=1)
    previous: Hash
    records: int = Field(ge=0)
    log_bytes: int | None = Field(ge=0)
    head: Word64
    fnv: Word64
    digest: Hash
    root: Hash
    time: float
    mode: Mode
    key: str = Field(max_length=64, pattern=r"^(?:[0-9a-f]{2})*$")
    proof: str = Field(default="", max_length=128, pattern=r"^(?:[0-9a-f]{2})*$")

    @property
    def message(self) -> bytes:
        """What is signed: everything but the proof, with a prefix of its own."""
        return _MESSAGE + self.model_copy(update={"proof": ""}).to_bytes()

    @property
    def own_digest(self) -> str:
        """SHA-256 of its bytes: what the next seal names as `previous`."""
        return sha256(self.to_bytes()).hexdigest()

    def signed(self, signer: SealSigner | None) -> Seal:
        """The seal with the signer's proof; without a signer a plain one."""
        if signer is None:
            return self.model_copy(update={"mode": "plain", "key": "", "proof": ""})
        named = self.model_copy(update={"mode": signer.mode, "key": signer.key_id, "proof": ""})
        return named.model_copy(update={"proof": signer.sign(named.message).hex()})

    def proof_flaw(self, checker: SealChecker | None) -> str:
        """Why its proof is not the key holder's; empty when it is.

        Without a checker a signature must be of the key that the seal itself names, and a MAC
        cannot be checked.
        """
        if self.mode == "plain" and (self.proof or self.key):
            return "it says that it is plain, and has a key or a proof"
        if checker is None:
            if self.mode == "plain":
                return ""
            if self.mode == "mac" or len(self.key) != 2 * KEY_BYTES:
                return f"its proof cannot be checked without the {self.mode} key {self.key}"
            checker = Ed25519PublicKey(bytes.fromhex(self.key))
        if self.mode != checker.mode:
            return f"its mode is {self.mode} where {checker.mode} is wanted"
        if self.key != checker.key_id:
            return f"it was sealed with the key {self.key}, not with {checker.key_id}"
        if not checker.holds(self.message, bytes.fromhex(self.proof)):
            return "its proof does not hold: it was changed, or made without the key"
        return ""


def read_seal(path: str | Path) -> Seal:
    """The seal in a file; `SealError` if there is none or it is not written as one; blocks."""
    seal = Seal.read(Path(path))
    if seal is None:
        raise SealError(str(path), "there is no such file, or nothing in it")
    return seal
