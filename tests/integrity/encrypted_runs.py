"""Runs of other tests over encrypted stores: `PMLL_TEST_ENCRYPTED=1 pytest tests/text …`.

Every lattice that is given no secret has one, and after each test nothing that went into a record
is found in the files of an encrypted store, in what was logged, or in what a failure would print.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from encrypt_support import RAW

from pmll_async import encryption
from pmll_async.integrity.envelopes import Envelopes

ENCRYPTED: Final = "PMLL_TEST_ENCRYPTED" in os.environ
_LEAST: Final = 12
"""Shorter contents are found anywhere by accident."""
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}")
# A seal in the folder states the head, and is written on request alone.
_IN_CLEAR: Final = {"seal.json"}


class Contents:
    """What was encrypted: contexts, anchors, keys and idempotency keys, as bytes to be found."""

    def __init__(self) -> None:
        self.pieces: set[bytes] = set()

    def take(self, text: bytes) -> None:
        for found in re.finditer(rb'"(?:anchor|prev|idempotency_key|text)":"([^"]+)"', text):
            self._add(found[1])
        for found in re.finditer(rb'"key":"(~?[A-Za-z0-9+/=]+)"', text):
            self._add(found[1])
            self._add(base64.b64decode(found[1].lstrip(b"~")))
        context = re.search(rb'"ctx":(\{.*\}),"anchor":', text)
        if context is not None:
            self._add(context[1])

    def _add(self, piece: bytes) -> None:
        if len(piece) >= _LEAST and piece.strip(b"0") != b"":
            self.pieces.add(piece)

    def found_in(self, data: bytes) -> list[bytes]:
        """Those that the bytes hold, also within base64 and compressed parts."""
        parts = [data]
        for match in _BASE64.finditer(data):
            try:
                parts.append(base64.b64decode(match[0]))
            except binascii.Error:
                continue
        for part in list(parts):
            try:
                parts.append(zlib.decompress(part))
            except zlib.error:
                continue
        whole = b"\0".join(parts)
        return [piece for piece in self.pieces if piece in whole]


def watch(monkeypatch: pytest.MonkeyPatch) -> Contents:
    """Note what is encrypted from now on."""
    contents, whole = Contents(), Envelopes.seal_record

    def noted(self: Envelopes, n: int, head: bytes, text: bytes, following: int) -> Any:
        contents.take(text)
        return whole(self, n, head, text, following)

    monkeypatch.setattr(Envelopes, "seal_record", noted)
    return contents


def check_files(contents: Contents, root: Path) -> int:
    """No file of an encrypted store below has any of it; returns how many were looked at."""
    looked = 0
    for ring in root.rglob("keyring.json"):
        for file in ring.parent.rglob("*"):
            if file.is_file() and file.name not in _IN_CLEAR:
                assert contents.found_in(file.read_bytes()) == [], file
                looked += 1
    return looked


def encrypt_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every lattice a secret that has none."""
    whole: Callable[..., Any] = encryption.wrapped

    def wrapped(store: Any, secret: Any, suite: Any) -> Any:
        return whole(store, RAW if secret is None and _may_be(store) else secret, suite)

    monkeypatch.setattr(encryption, "wrapped", wrapped)


def _may_be(store: Any) -> bool:
    return hasattr(store, "read_keyring") or hasattr(store, "wrapped")


@pytest.fixture(autouse=ENCRYPTED)
def over_encrypted_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    encrypt_all(monkeypatch)
    contents = watch(monkeypatch)
    yield
    check_files(contents, tmp_path)
    told = capfd.readouterr()
    assert contents.found_in((told.out + told.err).encode()) == []
