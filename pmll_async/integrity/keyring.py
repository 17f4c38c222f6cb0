"""The key ring: which keys a store's records are encrypted with, wrapped under a secret.

One document a store. Of each epoch it has a random master key; a secret unlocks them all. A
rotation adds an epoch, a changed passphrase only wraps the same keys anew. Nothing in it is
believed before its MAC, under a key of the secret's, was found to hold.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from pmll_async.errors import KeyringError, SealError, StoreError, WrongSecretError
from pmll_async.integrity.documents import Document, Hash
from pmll_async.integrity.passphrases import Lock, locked_with, new_lock
from pmll_async.integrity.secrets import KEY_BYTES, Passphrase, RawKey, SuiteName
from pmll_async.integrity.suites import (
    SALT_BYTES,
    SUITES,
    DecryptionError,
    derive,
    mac,
)

Wrapped = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{96}$")]
"""A key and its tag, in lower-case hex."""
MOST_EPOCHS: Final = 128
"""Each is derived and checked at every opening."""
_NO_MAC: Final = "0" * 64


class Epoch(Document):
    """One master key: wrapped, and what tells that it was unwrapped rightly."""

    id: Annotated[int, Field(ge=1, lt=1 << 32)]
    salt: Hash
    wrapped: Wrapped
    check: Hash


class Keyring(Document):
    """The document. `secret_check` tells the right secret from another."""

    format: Literal["pmll keyring 1"] = "pmll keyring 1"
    store: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    suite: SuiteName
    lock: Lock
    secret_check: Hash
    epochs: Annotated[tuple[Epoch, ...], Field(min_length=1, max_length=MOST_EPOCHS)]
    mac: Hash


class Keys:
    """An unlocked ring: the master keys by epoch, and the key that wraps them."""

    def __init__(
        self,
        store: str,
        suite: SuiteName,
        lock: Lock,
        wrapping: bytes,
        masters: Mapping[int, bytes],
    ) -> None:
        self.store, self.suite = store, suite
        self.masters = masters
        self._lock, self._wrapping = lock, wrapping

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.store}: {len(self.masters)} not shown>"

    @property
    def epoch(self) -> int:
        """The newest, whose key new records are encrypted with."""
        return max(self.masters)

    def for_store(self, purpose: bytes) -> bytes:
        """A key of the whole store for a purpose: the same in every epoch."""
        return derive(self.masters[min(self.masters)], bytes.fromhex(self.store), purpose)

    @property
    def within(self) -> bytes:
        """The integrity key of the store within: who has not got it is refused there."""
        return self.for_store(b"pmll store within")

    def rotated(self) -> Keys:
        """The same and one epoch more; `StoreError` where there are enough for good."""
        if len(self.masters) == MOST_EPOCHS:
            raise StoreError(
                f"the key was rotated {MOST_EPOCHS - 1} times: make an encrypted copy, which has "
                "one key for all of it (pmll encrypt)"
            )
        masters = {**self.masters, self.epoch + 1: secrets.token_bytes(KEY_BYTES)}
        return Keys(self.store, self.suite, self._lock, self._wrapping, masters)

    def under(self, secret: Passphrase | RawKey) -> Keys:
        """The same keys under another secret; blocks."""
        lock = new_lock(secret)
        return Keys(self.store, self.suite, lock, locked_with(secret, lock), self.masters)

    def document(self) -> Keyring:
        """The ring, each key wrapped anew."""
        ring = Keyring(
            store=self.store,
            suite=self.suite,
            lock=self._lock,
            secret_check=_secret_check(self._wrapping),
            epochs=tuple(self._wrap(epoch, self.masters[epoch]) for epoch in self.masters),
            mac=_NO_MAC,
        )
        return ring.model_copy(update={"mac": _mac(self._wrapping, ring)})

    def unlocked_again(self, ring: Keyring, path: str) -> Keys:
        """The keys of a newer ring of the same store that the same secret locks."""
        return _unwrapped(ring, self._wrapping, path)

    def _wrap(self, epoch: int, master: bytes) -> Epoch:
        salt = secrets.token_bytes(SALT_BYTES)
        key = derive(self._wrapping, salt, b"pmll master key")
        wrapped = SUITES[self.suite](key).seal(0, master, _place(self.store, self.suite, epoch))
        return Epoch(id=epoch, salt=salt.hex(), wrapped=wrapped.hex(), check=_check(master))


def new_keys(secret: Passphrase | RawKey, store: str, suite: SuiteName) -> Keys:
    """The keys of a new store; blocks."""
    lock = new_lock(secret)
    masters = {1: secrets.token_bytes(KEY_BYTES)}
    return Keys(store, suite, lock, locked_with(secret, lock), masters)


def read_ring(data: bytes, path: str) -> Keyring:
    """The document of these bytes; `KeyringError` for anything else."""
    try:
        return Keyring.from_bytes(data, path)
    except SealError as exc:
        raise KeyringError(path, exc.reason) from exc


def unlock(ring: Keyring, secret: Passphrase | RawKey, path: str) -> Keys:
    """The keys; `WrongSecretError` by another secret, `KeyringError` for an edited ring; blocks."""
    if not ring.lock.fits(secret):
        raise WrongSecretError(path, "wrong", f"it opens with {ring.lock.what}")
    return _unwrapped(ring, locked_with(secret, ring.lock), path)


def _unwrapped(ring: Keyring, wrapping: bytes, path: str) -> Keys:
    if not hmac.compare_digest(_secret_check(wrapping), ring.secret_check):
        raise WrongSecretError(path, "wrong")
    if not hmac.compare_digest(_mac(wrapping, ring), ring.mac):
        raise KeyringError(path, "it was changed by somebody who had no key")
    masters = dict[int, bytes]()
    for epoch in ring.epochs:
        key = derive(wrapping, bytes.fromhex(epoch.salt), b"pmll master key")
        data = _place(ring.store, ring.suite, epoch.id)
        try:
            master = SUITES[ring.suite](key).open(0, bytes.fromhex(epoch.wrapped), data)
        except DecryptionError as exc:
            raise KeyringError(path, f"the key of epoch {epoch.id} was changed") from exc
        if not hmac.compare_digest(_check(master), epoch.check):
            raise KeyringError(path, f"epoch {epoch.id} has another key than it says")
        masters[epoch.id] = master
    return Keys(ring.store, ring.suite, ring.lock, wrapping, masters)


def _place(store: str, suite: str, epoch: int) -> bytes:
    return f"pmll master key\n{store}\n{suite}\n{epoch}".encode()


def _check(master: bytes) -> str:
    """Tells the key, and nothing of it: also that of two keys only one was meant."""
    return mac(master, b"pmll key check").hex()


def _secret_check(wrapping: bytes) -> str:
    return mac(wrapping, b"pmll secret check").hex()


def _mac(wrapping: bytes, ring: Keyring) -> str:
    document = ring.model_copy(update={"mac": _NO_MAC}).to_bytes()
    return mac(derive(wrapping, b"", b"pmll keyring mac"), document).hex()
