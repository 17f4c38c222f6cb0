"""How a lattice comes to an encrypted store; what does the work is loaded with the first secret."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from pmll_async.errors import InvalidInputError, WrongKeyError, WrongSecretError
from pmll_async.loop.jobs import begin
from pmll_async.loop.workers import CALLS
from pmll_async.stores.choice import StoreAt
from pmll_async.values.extras import require

if TYPE_CHECKING:
    from pmll_async.integrity.secrets import Secret, SuiteName
    from pmll_async.protocols import Store


def wrapped(
    store: Store | StoreAt, secret: Secret | None, suite: SuiteName | None
) -> Store | StoreAt:
    """The store within one that encrypts, or itself without a secret."""
    if secret is None:
        if suite is not None:
            raise InvalidInputError(f"suite={suite!r} is of an encrypted store: give its secret=")
        return store
    from pmll_async.integrity.secrets import check_choice

    require("secure", "cryptography")
    check_choice(secret, suite)
    wrap = partial(_encrypted, secret=secret, suite=suite)
    return store.wrapped(wrap) if isinstance(store, StoreAt) else wrap(store)


def fetching(store: Store | StoreAt, secret: Secret | None) -> Callable[[], Awaitable[None]] | None:
    """What awaits the function that gives the key of a wrapped store, if the secret is one."""
    if secret is None:
        return None
    from pmll_async.integrity.secrets import Passphrase, RawKey

    return None if isinstance(secret, Passphrase | RawKey) else partial(_fetch, store)


@contextmanager
def told(store: Store) -> Iterator[None]:
    """Tells of an encrypted store that is opened without a secret; blocks."""
    try:
        yield
    except WrongKeyError as exc:
        from pmll_async.protocols import SupportsKeyring

        if isinstance(store, SupportsKeyring) and store.read_keyring() is not None:
            raise WrongSecretError(store.path, "missing") from exc
        raise


async def _fetch(store: Store | StoreAt) -> None:
    # Its modules are imported by who may block.
    made = await begin(CALLS, store.made) if isinstance(store, StoreAt) else store
    from pmll_async.integrity.encrypted import EncryptedStore

    if isinstance(made, EncryptedStore):
        await made.fetch()


def _encrypted(store: Store, secret: Secret, suite: SuiteName | None) -> Store:
    from pmll_async.integrity.encrypted import EncryptedStore

    return EncryptedStore(store, secret, suite=suite)
