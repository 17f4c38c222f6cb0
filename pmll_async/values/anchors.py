"""Bytes and digests: how content becomes an anchor, and a record a digest (design, section 4)."""

from __future__ import annotations

import hmac
import struct
from hashlib import blake2b, sha256
from typing import Final

from pmll_async.errors import InvalidInputError

ANCHOR_BYTES: Final = 8
DIGEST_BYTES: Final = 32
ROOT_ANCHOR: Final = "0" * 16
ROOT_DIGEST: Final = bytes(DIGEST_BYTES)
_LENGTH: Final = struct.Struct("<I")
_SECTION: Final = b"pmll cache section"
_HEX: Final = frozenset("0123456789abcdef")


def encode_vector(values: bytes) -> bytes:
    """E(vec): the dimension, then the float32 little-endian bytes given."""
    return _LENGTH.pack(len(values) // 4) + values


def encode_bytes(canonical: bytes) -> bytes:
    """E(ctx): the length, then the canonical JSON given."""
    return _LENGTH.pack(len(canonical)) + canonical


def is_anchor(text: object) -> bool:
    """Whether this is 16 lower-case hex digits."""
    return isinstance(text, str) and len(text) == 2 * ANCHOR_BYTES and _HEX.issuperset(text)


def fold(digest: bytes, leaf: bytes) -> bytes:
    """h_n of h_{n-1} and L_n."""
    return blake2b(digest + leaf, digest_size=DIGEST_BYTES).digest()


def fold_all(digest: bytes, leaves: bytes) -> bytes:
    """h after some more records, whose L, joined, these are."""
    for start in range(0, len(leaves), DIGEST_BYTES):
        digest = fold(digest, leaves[start : start + DIGEST_BYTES])
    return digest


def leaf_digest(canonical: bytes) -> bytes:
    """L_n of a record's canonical JSON."""
    return blake2b(canonical, digest_size=DIGEST_BYTES).digest()


class Hasher:
    """The content hashes of one lattice: plain BLAKE2b, or keyed with its integrity key."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes | None = None) -> None:
        if key is not None and not 1 <= len(key) <= blake2b.MAX_KEY_SIZE:
            raise InvalidInputError(
                f"an integrity_key has 1 to {blake2b.MAX_KEY_SIZE} bytes, not {len(key)}"
            )
        self._key = key or b""

    @property
    def keyed(self) -> bool:
        """Whether an integrity key takes part."""
        return bool(self._key)

    def digest(self, encoded: bytes) -> bytes:
        """D(x) of E(x), 32 bytes."""
        return blake2b(encoded, digest_size=DIGEST_BYTES, key=self._key).digest()

    def anchor(self, prev_anchor: str, digests: bytes) -> str:
        """The anchor after `prev_anchor` for D(key) ‖ D(value) ‖ D(ctx)."""
        return blake2b(
            bytes.fromhex(prev_anchor) + digests, digest_size=ANCHOR_BYTES, key=self._key
        ).hexdigest()

    def section(self, data: bytes | memoryview) -> bytes:
        """The root of a piece of what is derived from a log, 32 bytes; never equal to a D.

        SHA-256, which processors have instructions for: opening hashes every key of the lattice,
        and by BLAKE2b that took 2.5 times as long.
        """
        if self._key:
            root = hmac.new(self._key, _SECTION, "sha256")
            root.update(data)
            return root.digest()
        plain = sha256(_SECTION)
        plain.update(data)
        return plain.digest()

    def derived(self, purpose: bytes) -> bytes:
        """A key of 32 bytes for another purpose, from which nobody gets back to this one."""
        return blake2b(purpose, digest_size=DIGEST_BYTES, key=self._key).digest()

    def check_value(self) -> str:
        """What a keyed store keeps to recognise its key by; empty without a key."""
        if not self._key:
            return ""
        return blake2b(b"pmll key check", digest_size=16, key=self._key).hexdigest()
