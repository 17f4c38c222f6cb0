"""The key ring of an encrypted store: a document in the folder, which only its wrapper reads."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from pmll_async.errors import ReadOnlyStoreError
from pmll_async.stores.jsonl.directory import Directory, make_durable_folder, translated
from pmll_async.stores.jsonl.folder import KEYRING
from pmll_async.stores.jsonl.lock import WriterLock

_MOST_BYTES: Final = 1 << 16
"""Far more than any has, and so little that reading it harms nobody."""


def read_keyring(path: Path) -> bytes | None:
    """See `SupportsKeyring.read_keyring`."""
    with translated(str(path)):
        try:
            with closing(Directory(path)) as folder:
                return folder.read(KEYRING, _MOST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None


def begin_keyring(path: Path, data: bytes, lock_timeout: float) -> None:
    """See `SupportsKeyring.begin_keyring`; of two that begin one the first is kept."""
    with translated(str(path)), ExitStack() as stack:
        make_durable_folder(path)
        folder = stack.enter_context(closing(Directory(path)))
        lock = WriterLock(folder)
        stack.callback(lock.release)
        lock.acquire(lock_timeout)
        if folder.stat(KEYRING) is None:
            folder.replace(KEYRING, data)


def write_keyring(folder: Directory, data: bytes, *, read_only: bool) -> None:
    """See `SupportsKeyring.replace_keyring`, for who has locked the folder."""
    if read_only:
        raise ReadOnlyStoreError(str(folder.path))
    with translated(str(folder.path)):
        folder.replace(KEYRING, data)
