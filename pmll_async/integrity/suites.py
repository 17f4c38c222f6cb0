"""Suites: the authenticated ciphers that a store may be encrypted with, and deriving keys for them.

Every key that is derived encrypts at most `MOST_NONCES` messages, whose nonces are their numbers.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, Final

from pmll_async.integrity.secrets import KEY_BYTES, SuiteName
from pmll_async.values.extras import missing, require

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ModuleNotFoundError as exc:
    raise missing("an encrypted store", "secure", exc) from exc

DEFAULT: Final[SuiteName] = "aes-256-gcm"
SALT_BYTES: Final = 32
TAG_BYTES: Final = 16
MOST_NONCES: Final = 1 << 20
"""Far below the 2³² messages that GCM allows a key, at 8 µs for the next key."""


class DecryptionError(ValueError):
    """This is not what was encrypted under that key, with that number, for that place."""


class Cipher(ABC):
    """One key of one suite."""

    nonce_bytes: ClassVar[int]

    @abstractmethod
    def __init__(self, key: bytes) -> None:
        """Ready for messages; the key has 32 bytes."""

    @abstractmethod
    def seal(self, number: int, message: bytes, data: bytes) -> bytes:
        """The message encrypted, and a tag of it and `data`. No number may come twice."""

    @abstractmethod
    def open(self, number: int, sealed: bytes, data: bytes) -> bytes:
        """The message; `DecryptionError` unless all is what was sealed."""

    def nonce(self, number: int) -> bytes:
        """The nonce of a number."""
        return number.to_bytes(self.nonce_bytes, "big")


class AesGcm(Cipher):
    """AES-256-GCM by `cryptography`."""

    nonce_bytes = 12

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, number: int, message: bytes, data: bytes) -> bytes:
        return self._cipher.encrypt(self.nonce(number), message, data)

    def open(self, number: int, sealed: bytes, data: bytes) -> bytes:
        try:
            return self._cipher.decrypt(self.nonce(number), sealed, data)
        except (InvalidTag, ValueError, OverflowError):
            raise DecryptionError("its tag does not hold") from None


class XChaCha20Poly1305(Cipher):
    """XChaCha20-Poly1305 by libsodium: where processors have no instructions for AES."""

    nonce_bytes = 24

    def __init__(self, key: bytes) -> None:
        require("secure", "nacl")
        self._sodium: Any = import_module("nacl.bindings")
        self._broken: type[Exception] = import_module("nacl.exceptions").CryptoError
        self._key = key

    def seal(self, number: int, message: bytes, data: bytes) -> bytes:
        sealed: bytes = self._sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
            message, data, self.nonce(number), self._key
        )
        return sealed

    def open(self, number: int, sealed: bytes, data: bytes) -> bytes:
        # libsodium would take it for a negative length.
        if len(sealed) < TAG_BYTES:
            raise DecryptionError("it is shorter than its tag")
        try:
            message: bytes = self._sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
                sealed, data, self.nonce(number), self._key
            )
        except (self._broken, OverflowError):
            raise DecryptionError("its tag does not hold") from None
        return message


SUITES: Final[Mapping[str, type[Cipher]]] = {
    "aes-256-gcm": AesGcm,
    "xchacha20-poly1305": XChaCha20Poly1305,
}


def derive(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    """A key of 32 bytes for one purpose: HKDF-SHA-256."""
    return HKDF(SHA256(), KEY_BYTES, salt, purpose).derive(key)


def mac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256."""
    return hmac.digest(key, message, "sha256")
