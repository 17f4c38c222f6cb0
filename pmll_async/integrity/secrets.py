"""Secrets: what opens an encrypted store, and shows nothing of itself.

A passphrase that people remember, 32 bytes that a machine keeps, or a function that fetches such
bytes from where they are kept. None is a key that records are encrypted with: it unlocks those.
"""

from __future__ import annotations

import hmac
import os
import unicodedata
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal, NoReturn, Self, TypeAlias, get_args

from pmll_async.errors import InvalidInputError

KEY_BYTES: Final = 32
_LONGEST_LINE: Final = 1 << 16
SuiteName = Literal["aes-256-gcm", "xchacha20-poly1305"]
"""The ciphers that a store may be encrypted with: one of them, chosen when it is made."""
FetchKey: TypeAlias = Callable[[str], Awaitable[bytes]]
"""Gives the 32 bytes for a store id, such as by asking a key management service."""


class _Hidden:
    """Bytes that stay in their process and in this object."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def reveal(self) -> bytes:
        """The bytes, for who derives keys of them."""
        return self._raw

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, not shown>"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or not isinstance(other, _Hidden):
            return NotImplemented
        return hmac.compare_digest(self._raw, other._raw)

    # A hash would be a copy of some of its bits.
    __hash__ = None  # type: ignore[assignment]  # as a class with `__eq__` alone has it

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is neither pickled nor copied: hand over where it is read from")


class Passphrase(_Hidden):
    """Words that people remember. Argon2id makes guessing at them slow, not impossible."""

    __slots__ = ()

    def __init__(self, text: str) -> None:
        given: object = text
        if not isinstance(given, str) or not given.strip():
            raise InvalidInputError("a passphrase is a text of at least one letter")
        try:
            # The same letters have several codes, by keyboard and system.
            raw = unicodedata.normalize("NFC", text).encode()
        except UnicodeEncodeError:
            # Without the error of before, which shows the text.
            raise InvalidInputError("a passphrase is Unicode text") from None
        super().__init__(raw)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """That of the first line of a file, without the line's end; blocks."""
        with Path(path).open("rb") as file:
            line = file.readline(_LONGEST_LINE)
        try:
            return cls(line.rstrip(b"\r\n").decode())
        except ValueError:
            # Without the error of before, which shows what is in the file.
            raise InvalidInputError(
                f"the first line of {path} is to be a passphrase, UTF-8 text of at least one letter"
            ) from None


class RawKey(_Hidden):
    """32 random bytes, such as `secrets.token_bytes(32)`."""

    __slots__ = ()

    def __init__(self, raw: bytes | bytearray | memoryview) -> None:
        given: object = raw
        if not isinstance(given, bytes | bytearray | memoryview) or len(given) != KEY_BYTES:
            raise InvalidInputError(f"a raw key is {KEY_BYTES} random bytes")
        super().__init__(bytes(raw))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """All bytes of a file; blocks."""
        with Path(path).open("rb") as file:
            raw = file.read(KEY_BYTES + 1)
        if len(raw) != KEY_BYTES:
            raise InvalidInputError(
                f"{path} is to hold {KEY_BYTES} random bytes: head -c {KEY_BYTES} /dev/urandom > "
                "FILE"
            )
        return cls(raw)


Secret: TypeAlias = Passphrase | RawKey | FetchKey


def check_choice(secret: object, suite: object) -> None:
    """Refuse what is no secret, of which nothing is shown, or no suite."""
    if suite is not None and suite not in get_args(SuiteName):
        raise InvalidInputError(
            f"a suite is one of {', '.join(get_args(SuiteName))}: not {suite!r}"
        )
    if not isinstance(secret, Passphrase | RawKey) and not callable(secret):
        raise InvalidInputError(
            "secret is a Passphrase(text), a RawKey(32 bytes) or an async function of a store id, "
            f"not a {type(secret).__name__}"
        )
