"""Keys that sign seals and check them: HMAC-SHA-256, or Ed25519 by the `cryptography` package."""

from __future__ import annotations

import hmac
from hashlib import sha256
from importlib import import_module
from typing import Any, Final, Literal, NoReturn, Protocol, Self

from pmll_async.errors import InvalidInputError
from pmll_async.values.anchors import Hasher
from pmll_async.values.extras import require

Mode = Literal["plain", "mac", "ed25519"]
KEY_BYTES: Final = 32
_LATTICE_SEALS: Final = b"pmll seal mac"
_KEY_ID: Final = b"pmll seal key id"


class SealSigner(Protocol):
    """Makes the proof of a seal. `key_id` names the key, and tells nothing that is secret."""

    @property
    def mode(self) -> Mode: ...

    @property
    def key_id(self) -> str: ...

    def sign(self, message: bytes) -> bytes:
        """The proof of the message; blocks."""

    @property
    def checker(self) -> SealChecker:
        """What checks the proofs of this key."""


class SealChecker(Protocol):
    """Checks the proofs of one key."""

    @property
    def mode(self) -> Mode: ...

    @property
    def key_id(self) -> str: ...

    def holds(self, message: bytes, proof: bytes) -> bool:
        """Whether the key's holder made this proof of the message."""


class _Secret:
    """Shows nothing of itself, and stays in its process."""

    key_id: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key_id[:16]}…>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled: hand over where it can be read from")


class MacKey(_Secret):
    """One key of at least 16 bytes that both seals and checks: whoever can check can also forge."""

    mode: Final = "mac"

    def __init__(self, secret: bytes) -> None:
        if len(secret) < KEY_BYTES // 2:
            raise InvalidInputError(
                f"a key that seals has at least {KEY_BYTES // 2} bytes, not {len(secret)}"
            )
        self._secret = secret
        self.key_id = hmac.digest(secret, _KEY_ID, sha256).hex()

    @classmethod
    def of(cls, hasher: Hasher) -> Self | None:
        """The key of a keyed lattice, made of its integrity key; None for one without."""
        return cls(hasher.derived(_LATTICE_SEALS)) if hasher.keyed else None

    @property
    def checker(self) -> SealChecker:
        """Itself."""
        return self

    def sign(self, message: bytes) -> bytes:
        """See `SealSigner.sign`."""
        return hmac.digest(self._secret, message, sha256)

    def holds(self, message: bytes, proof: bytes) -> bool:
        """See `SealChecker.holds`."""
        return hmac.compare_digest(self.sign(message), proof)


class Ed25519PublicKey:
    """The public half, 32 bytes, which anybody may have: it checks, and cannot seal."""

    mode: Final = "ed25519"

    def __init__(self, raw: bytes) -> None:
        _check_length(raw, "a public Ed25519 key")
        self.raw, self.key_id = raw, raw.hex()

    def __repr__(self) -> str:
        return f"Ed25519PublicKey(bytes.fromhex({self.key_id!r}))"

    def holds(self, message: bytes, proof: bytes) -> bool:
        """See `SealChecker.holds`."""
        key = _ed25519().Ed25519PublicKey
        try:
            key.from_public_bytes(self.raw).verify(proof, message)
        except import_module("cryptography.exceptions").InvalidSignature:
            return False
        return True


class Ed25519Key(_Secret):
    """The private half: the seed of 32 bytes that RFC 8032 begins with, such as 32 random bytes."""

    mode: Final = "ed25519"

    def __init__(self, seed: bytes) -> None:
        _check_length(seed, "the seed of an Ed25519 key")
        self._key = _ed25519().Ed25519PrivateKey.from_private_bytes(seed)
        self.checker = Ed25519PublicKey(self._key.public_key().public_bytes_raw())
        self.key_id = self.checker.key_id

    def sign(self, message: bytes) -> bytes:
        """See `SealSigner.sign`."""
        proof: bytes = self._key.sign(message)
        return proof


def _check_length(raw: bytes, what: str) -> None:
    if len(raw) != KEY_BYTES:
        raise InvalidInputError(f"{what} has {KEY_BYTES} bytes, not {len(raw)}")


def _ed25519() -> Any:
    require("secure", "cryptography")
    return import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
