"""Unlocking: from a secret to the keys of one store, and from one secret to another."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from pmll_async.errors import (
    DimensionMismatchError,
    InvalidInputError,
    KeyringError,
    PinnedError,
    StoreError,
    WrongKeyError,
    WrongSecretError,
)
from pmll_async.integrity.keyring import Keyring, Keys, new_keys, read_ring, unlock
from pmll_async.integrity.secrets import Passphrase, RawKey, Secret, SuiteName, check_choice
from pmll_async.integrity.suites import DEFAULT
from pmll_async.loop.jobs import begin
from pmll_async.loop.workers import CALLS
from pmll_async.protocols import Store, StoreHeader, SupportsKeyring
from pmll_async.values.anchors import Hasher

Result = TypeVar("Result")
Key = TypeVar("Key")


class Unlocking:
    """The key ring of the store that an encrypted one wraps."""

    def __init__(self, inner: Store, secret: Secret, suite: SuiteName | None) -> None:
        check_choice(secret, suite)
        if not isinstance(inner, SupportsKeyring):
            raise InvalidInputError(
                f"{type(inner).__name__} has no place for a key ring (SupportsKeyring), and so "
                "cannot be encrypted"
            )
        self._inner: Store = inner
        self._ring: SupportsKeyring = inner
        self._secret, self._suite = secret, suite
        self._fetched: RawKey | None = None
        self._keys: Keys | None = None
        self._new_store = uuid.uuid4().hex

    async def fetch(self) -> None:
        """Await the function that gives the key, if the secret is one; its errors go through."""
        if not isinstance(self._secret, Passphrase | RawKey):
            ring = await begin(CALLS, self._found)
            fetching: object = self._secret(ring.store if ring else self._new_store)
            if not isinstance(fetching, Awaitable):
                raise InvalidInputError(
                    "a function that fetches the key is async: what it gives is awaited"
                )
            self._fetched = RawKey(await fetching)

    def unlocked(self, header: StoreHeader | None) -> Keys:
        """The keys; with a header, of a new ring where there is no store yet; blocks."""
        ring = self._found()
        if ring is None:
            ring = self._begun(header)
        if self._suite not in (None, ring.suite):
            raise PinnedError("suite", ring.suite, str(self._suite))
        self._keys = unlock(ring, self._usable(), self._inner.path)
        # It has done what it was fetched for.
        self._fetched = None
        return self._keys

    def opened(self, header: StoreHeader | None, hasher: Hasher) -> StoreHeader:
        """Open the store within, which is the ring's; it has the hasher's key."""
        path = self._inner.path
        stored = self.checked(partial(self._inner.open, header), hasher)
        if self._keys is not None and stored.store_id != self._keys.store:
            self._inner.close()
            raise KeyringError(path, f"it is that of the store {self._keys.store}")
        return stored

    def checked(self, work: Callable[[Key], Result], key: Key) -> Result:
        """What work on the store within gives; a ring without its key is refused."""
        path = self._inner.path
        try:
            return work(key)
        except WrongKeyError as exc:
            if not exc.keyed:
                raise WrongSecretError(path, "needless") from exc
            raise KeyringError(path, "it is that of another store") from exc

    def rekey(self, secret: Passphrase | RawKey | None) -> int:
        """Begin an epoch, or with a secret wrap the same keys under that one; the newest epoch."""
        self.opened(None, Hasher(self.unlocked(None).within))
        try:
            # Again, now that nobody else can replace it: no epoch may get lost.
            keys = self.again()
            made = keys.rotated() if secret is None else keys.under(secret)
            self._ring.replace_keyring(made.document().to_bytes())
        finally:
            self._inner.close()
        return made.epoch

    def again(self) -> Keys:
        """The keys as they are now, by the secret that opened the store; blocks."""
        ring = self._found()
        if ring is None or self._keys is None:
            raise KeyringError(self._inner.path, "it is missing")
        self._keys = self._keys.unlocked_again(ring, self._inner.path)
        return self._keys

    def _found(self) -> Keyring | None:
        data = self._ring.read_keyring()
        return None if data is None else read_ring(data, self._inner.path)

    def _begun(self, header: StoreHeader | None) -> Keyring:
        """A new ring, for a store that is to be made; refused where there is one without."""
        self._refuse_store(header)
        keys = new_keys(self._usable(), self._new_store, self._suite or DEFAULT)
        self._ring.begin_keyring(keys.document().to_bytes())
        # Perhaps another began one first.
        ring = self._found()
        if ring is None:
            raise KeyringError(self._inner.path, "it is missing")
        return ring

    def _refuse_store(self, header: StoreHeader | None) -> None:
        path = self._inner.path
        try:
            self._inner.open(None, Hasher())
        except DimensionMismatchError:
            if header is None:
                raise
        except WrongKeyError as exc:
            reason = "there is none, and the store has a key: it is encrypted, or a keyed lattice"
            raise KeyringError(path, reason) from exc
        else:
            self._inner.close()
            raise WrongSecretError(path, "needless")

    def _usable(self) -> Passphrase | RawKey:
        if isinstance(self._secret, Passphrase | RawKey):
            return self._secret
        if self._fetched is None:
            raise StoreError(
                "the key of an encrypted store is fetched on an event loop: open it by Lattice, or "
                "await its `fetch` first"
            )
        return self._fetched
