"""Locks: how a secret becomes the key that wraps others, quickly from 32 bytes, slowly from words.

A lock says what was chosen when it was made. Its numbers come from a file that anybody may have
written, so that they are held against limits before they are obeyed.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from pmll_async.errors import StoreError
from pmll_async.integrity.documents import Document, Hash
from pmll_async.integrity.secrets import KEY_BYTES, Passphrase, RawKey
from pmll_async.integrity.suites import SALT_BYTES, derive
from pmll_async.values.extras import require

COSTS: Final[Mapping[str, int]] = {"passes": 3, "memory_kib": 65536, "lanes": 4}
"""The second recommendation of RFC 9106, section 4: 64 MiB, and about 0.2 s of one core."""


class RawLock(Document):
    """For 32 random bytes, which nobody can guess."""

    kind: Literal["raw"] = "raw"
    salt: Hash

    @property
    def what(self) -> str:
        """What opens it."""
        return "a RawKey, or a function that fetches its 32 bytes"

    def fits(self, secret: Passphrase | RawKey) -> bool:
        """Whether it may be this secret's."""
        return isinstance(secret, RawKey)

    def key(self, secret: bytes) -> bytes:
        """The key that the secret is to others."""
        return derive(secret, bytes.fromhex(self.salt), b"pmll raw key")


class PassphraseLock(Document):
    """For a passphrase: Argon2id, within limits that nobody's memory or patience ends before."""

    kind: Literal["argon2id"] = "argon2id"
    salt: Hash
    passes: Annotated[int, Field(ge=1, le=32)]
    memory_kib: Annotated[int, Field(ge=8, le=1 << 20)]
    lanes: Annotated[int, Field(ge=1, le=16)]

    @property
    def what(self) -> str:
        """What opens it."""
        return "a Passphrase"

    def fits(self, secret: Passphrase | RawKey) -> bool:
        """Whether it may be this secret's."""
        return isinstance(secret, Passphrase)

    def key(self, secret: bytes) -> bytes:
        """The key that the secret is to others; blocks."""
        require("secure", "argon2")
        argon2: Any = import_module("argon2")
        try:
            key: bytes = argon2.low_level.hash_secret_raw(
                secret,
                bytes.fromhex(self.salt),
                self.passes,
                self.memory_kib,
                self.lanes,
                KEY_BYTES,
                argon2.low_level.Type.ID,
            )
        except argon2.exceptions.HashingError as exc:
            raise StoreError(f"the passphrase could not be hashed: {exc}") from exc
        return key


Lock = Annotated[RawLock | PassphraseLock, Field(discriminator="kind")]


def new_lock(secret: Passphrase | RawKey) -> RawLock | PassphraseLock:
    """A new lock for a secret."""
    salt = secrets.token_bytes(SALT_BYTES).hex()
    if isinstance(secret, RawKey):
        return RawLock(salt=salt)
    return PassphraseLock(
        salt=salt,
        passes=COSTS["passes"],
        memory_kib=COSTS["memory_kib"],
        lanes=COSTS["lanes"],
    )


def locked_with(secret: Passphrase | RawKey, lock: RawLock | PassphraseLock) -> bytes:
    """The key that a lock makes of a secret; blocks."""
    return lock.key(secret.reveal())
