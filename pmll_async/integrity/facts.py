"""Facts about an encrypted store: its header and its pins, sealed as pins of the store within.

The store within is told no dimension, no name of an embedder and no check of an integrity key: its
own header has the least that a store takes, and one pin that says what all of these are.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from dataclasses import replace
from typing import Any, Final

from pmll_async.errors import CorruptionError
from pmll_async.integrity.envelopes import Envelopes, Sealed
from pmll_async.integrity.keyring import Keys
from pmll_async.integrity.suites import mac
from pmll_async.protocols import StoreHeader
from pmll_async.records.chain import NOT_OURS
from pmll_async.records.content import base64_text
from pmll_async.values.anchors import Hasher

HEADER_PIN: Final = "encrypted"
# A store asks for at least one dimension; records that are encrypted have no vectors.
_DIM, _VALUE_DIM = 1, 0


class Facts:
    """The header of one encrypted store, on its way in and out."""

    def __init__(self, path: str, keys: Keys, envelopes: Envelopes) -> None:
        self._path, self._store, self._envelopes = path, keys.store, envelopes
        self._naming = keys.for_store(b"pmll pin names")

    def hide(self, header: StoreHeader, hasher: Hasher, inner: Hasher) -> StoreHeader:
        """What the store within is made with; `hasher` is the lattice's, `inner` the store's."""
        told = [header.dim, header.value_dim, hasher.check_value(), header.novelty_window]
        pins = dict(self.pin(name, value) for name, value in header.pins.items())
        return StoreHeader(
            dim=_DIM,
            value_dim=_VALUE_DIM,
            key_check=inner.check_value(),
            store_id=self._store,
            created=header.created,
            pins={HEADER_PIN: self._seal(HEADER_PIN, told), **pins},
        )

    def show(self, inner: StoreHeader) -> StoreHeader:
        """The header that is hidden in it; `CorruptionError` where that does not hold."""
        if HEADER_PIN not in inner.pins:
            raise self._damaged("the header of the encrypted store is missing")
        pins = dict(inner.pins)
        try:
            dim, value_dim, key_check, window = self._open(HEADER_PIN, pins.pop(HEADER_PIN))
            shown = dict(self._open(name, text) for name, text in pins.items())
        except NOT_OURS as exc:
            raise self._damaged("a fact about the store is not what was pinned") from exc
        return replace(
            inner,
            dim=dim,
            value_dim=value_dim,
            key_check=key_check,
            novelty_window=window,
            pins=shown,
        )

    def pin(self, name: str, value: str) -> tuple[str, str]:
        """The name and the value of the pin within that says so."""
        hidden = mac(self._naming, name.encode("utf-8", "surrogatepass")).hex()
        return hidden, self._seal(hidden, [name, value])

    def _seal(self, name: str, told: Any) -> str:
        epoch, salt, nonce, sealed = self._envelopes.seal_fact(name, json.dumps(told).encode())
        return f"{epoch} {salt.hex()} {nonce} {base64_text(sealed)}"

    def _open(self, name: str, text: str) -> Any:
        epoch, salt, nonce, sealed = text.split(" ")
        it = Sealed(int(epoch), bytes.fromhex(salt), int(nonce), a2b_base64(sealed))
        return json.loads(self._envelopes.open_fact(name, it))

    def _damaged(self, reason: str) -> CorruptionError:
        return CorruptionError(self._path, 0, reason)
