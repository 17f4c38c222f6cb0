"""Other keys for an encrypted store: a new one for what comes, or the same under another secret."""

from __future__ import annotations

from pmll_async.integrity.secrets import Passphrase, RawKey
from pmll_async.integrity.unlocking import Unlocking
from pmll_async.protocols import Store


def rekey(
    store: Store, secret: Passphrase | RawKey, new_secret: Passphrase | RawKey | None = None
) -> int:
    """Rotate the key of the closed store within an encrypted one; returns the newest epoch.

    Records that are written from now on have the new key, those of before stay readable through
    the ring. With `new_secret` no key changes: all are wrapped under that secret, and the old one
    opens the store no more. A crash leaves the old ring or the new one. Blocks; nobody may have the
    store open for writing: `StoreLockedError`.
    """
    return Unlocking(store, secret, None).rekey(new_secret)
