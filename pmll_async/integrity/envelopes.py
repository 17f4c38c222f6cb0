"""Envelopes: one record, or one fact, encrypted for its place in one store and no other.

A writer has a salt of its own at every opening, and after `MOST_NONCES` messages or an append that
failed another one. A nonce counts what was encrypted under the salt's key, and never goes back: a
record that is undone and written again, after a crash, in a copy of the folder, has another key.
"""

from __future__ import annotations

import os
import secrets
import struct
from functools import lru_cache, partial
from itertools import count
from typing import Final, NamedTuple

from pmll_async.errors import StoreError
from pmll_async.integrity.keyring import Keys
from pmll_async.integrity.suites import (
    MOST_NONCES,
    SALT_BYTES,
    SUITES,
    Cipher,
    DecryptionError,
    derive,
)
from pmll_async.records.cipher import CipherRecord

HEAD_BYTES: Final = 16
"""What is kept of the digest before a record: 128 bits, for which nobody finds another log."""
KEPT_CIPHERS: Final = 256
"""A store that was opened more often derives the key of an old record anew, in 8 µs."""
_RECORD: Final = b"pmll record"
_FACT: Final = b"pmll fact"
_NUMBERS: Final = struct.Struct("<IQ")


class Sealed(NamedTuple):
    """A message encrypted: under which key, as the how manyth, and the bytes."""

    epoch: int
    salt: bytes
    nonce: int
    sealed: bytes


class Envelopes:
    """Encrypts and decrypts for one open store, in any thread."""

    def __init__(self, keys: Keys) -> None:
        self._pid = os.getpid()
        self._store = bytes.fromhex(keys.store)
        self.with_keys(keys)
        self.renew()

    # --- records -------------------------------------------------------------------------------

    def seal_record(self, n: int, head: bytes, text: bytes, following: int) -> CipherRecord:
        """Record `n`, whose JSON is `text`, behind a log whose digest begins with `head`."""
        made = self._seal(_RECORD, _NUMBERS.pack(following, n) + head, text)
        return CipherRecord(following=following, **made._asdict())

    def open_record(self, n: int, head: bytes, record: CipherRecord) -> bytes:
        """The JSON of record `n`; `DecryptionError` unless it was sealed for this very place."""
        sealed = Sealed(record.epoch, record.salt, record.nonce, record.sealed)
        return self._open(_RECORD, _NUMBERS.pack(record.following, n) + head, sealed)

    # --- facts ---------------------------------------------------------------------------------

    def seal_fact(self, name: str, value: bytes) -> Sealed:
        """A fact about the store."""
        return self._seal(_FACT, name.encode(), value)

    def open_fact(self, name: str, sealed: Sealed) -> bytes:
        """Its value; `DecryptionError` unless it was sealed as this fact."""
        return self._open(_FACT, name.encode(), sealed)

    # --- keys ----------------------------------------------------------------------------------

    def renew(self) -> None:
        """Go on with another salt, and so another key."""
        self._sequence = secrets.token_bytes(SALT_BYTES), count()

    def with_keys(self, keys: Keys) -> None:
        """Go by these: those of a newer ring, which has the epochs of before as well."""
        self._keys = keys
        # Not of a method of its own, or nothing but the collector could give it all back.
        self._cipher = lru_cache(KEPT_CIPHERS)(partial(_derived, keys))

    def knows(self, epoch: int) -> bool:
        """Whether there is a key of that epoch."""
        return epoch in self._keys.masters

    def _seal(self, purpose: bytes, place: bytes, message: bytes) -> Sealed:
        if os.getpid() != self._pid:
            # It would use the nonces that its parent uses.
            raise StoreError("this store was opened before fork; open it in this process")
        epoch, (salt, nonce) = self._keys.epoch, self._next()
        data = self._bound(purpose, epoch, salt, place)
        return Sealed(
            epoch, salt, nonce, self._cipher(purpose, epoch, salt).seal(nonce, message, data)
        )

    def _next(self) -> tuple[bytes, int]:
        """A salt, and a nonce that nothing else under it has or will have."""
        while True:
            salt, nonces = self._sequence
            # Counting is one step, which no other thread comes into; and it is counted before it is
            # used: whatever fails, it is not used again.
            nonce = next(nonces)
            if nonce < MOST_NONCES:
                return salt, nonce
            self.renew()

    def _open(self, purpose: bytes, place: bytes, it: Sealed) -> bytes:
        if len(it.salt) != SALT_BYTES or not self.knows(it.epoch):
            raise DecryptionError(f"its salt is none, or epoch {it.epoch} has no key in the ring")
        data = self._bound(purpose, it.epoch, it.salt, place)
        return self._cipher(purpose, it.epoch, it.salt).open(it.nonce, it.sealed, data)

    def _bound(self, purpose: bytes, epoch: int, salt: bytes, place: bytes) -> bytes:
        """What a tag is of besides the message: each part but the last has one length."""
        suite, number = self._keys.suite.encode(), epoch.to_bytes(4, "little")
        return b"".join([purpose, b"\n", suite, b"\n", self._store, number, salt, place])


def _derived(keys: Keys, purpose: bytes, epoch: int, salt: bytes) -> Cipher:
    what = b"\n".join([purpose, keys.suite.encode(), bytes.fromhex(keys.store)])
    return SUITES[keys.suite](derive(keys.masters[epoch], salt, what + epoch.to_bytes(4, "little")))
