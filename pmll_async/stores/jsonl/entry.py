"""Opening a folder: the lock first, then the look whether there is a store, or making one."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from pathlib import Path

from pmll_async.errors import CorruptionError, DimensionMismatchError, StoreError, WrongKeyError
from pmll_async.protocols import StoreHeader
from pmll_async.stores.jsonl.directory import Directory, make_durable_folder
from pmll_async.stores.jsonl.folder import (
    LOCK,
    STORE,
    Manifest,
    SegmentEntry,
    read_store,
    write_manifest,
    write_store,
)
from pmll_async.stores.jsonl.segments import plain_table, segment_name
from pmll_async.values.anchors import ROOT_DIGEST, Hasher


def prepare_folder(path: Path, header: StoreHeader | None) -> None:
    """The folder for a writer. Without a header, and nothing there, nothing is made."""
    if header is not None:
        make_durable_folder(path)
    elif not any((path / name).exists() for name in (STORE, LOCK)):
        raise DimensionMismatchError("the lattice", None, None)


def find_header(
    folder: Directory, header: StoreHeader | None, hasher: Hasher, *, creates: bool
) -> StoreHeader:
    """The stored header, or the given one after making a store of it; the key is checked."""
    if folder.stat(STORE) is None:
        _refuse_remains(folder)
        if not creates:
            raise StoreError(f"{folder.path} is not a store")
        if header is None:
            raise DimensionMismatchError("the lattice", None, None)
        return _create(folder, header, hasher)
    stored = read_store(folder)
    if stored.key_check != hasher.check_value():
        raise WrongKeyError(str(folder.path), bool(stored.key_check))
    return stored


def _refuse_remains(folder: Directory) -> None:
    # A crash while a store is made leaves an empty log; a log with records has lost its header.
    if plain_table(folder).stop:
        raise CorruptionError(folder.named(STORE), 0, "the file is missing beside a log")


def _create(folder: Directory, header: StoreHeader, hasher: Hasher) -> StoreHeader:
    """Make a store; `store.json` comes last, and with it there is one."""
    made = replace(
        header,
        key_check=hasher.check_value(),
        store_id=header.store_id or uuid.uuid4().hex,
        created=header.created or time.time(),
    )
    name = segment_name(1)
    folder.write_synced(name, b"")
    entry = SegmentEntry(name, 0, 0, ROOT_DIGEST.hex())
    write_manifest(folder, Manifest(made.store_id, (entry,)))
    write_store(folder, made)
    return made
