"""Which store a path names: the one place where that is decided."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pmll_async.errors import InvalidInputError
from pmll_async.protocols import Store

if TYPE_CHECKING:
    from pmll_async.stores.jsonl.verify import Progress, Report

LMDB_SUFFIX: Final = ".lmdb"


def is_lmdb(path: str | os.PathLike[str]) -> bool:
    """Whether the path names an LMDB store."""
    return Path(path).suffix == LMDB_SUFFIX


def store_at(
    path: str | os.PathLike[str],
    *,
    sync: Literal["group", "os"] = "group",
    read_only: bool = False,
    lock_timeout: float = 0.0,
) -> Store:
    """An unopened store: LMDB for a path that ends in `.lmdb`, JSONL for any other."""
    # A store is imported by who uses it: the one is an extra, and the other need not be loaded.
    if is_lmdb(path):
        from pmll_async.stores.lmdb import LmdbStore

        if sync != "group":
            raise InvalidInputError(
                f"an LMDB store makes every batch durable: sync={sync!r} is for other stores"
            )
        return LmdbStore(path, read_only=read_only, lock_timeout=lock_timeout)
    from pmll_async.stores.jsonl import JsonlStore

    return JsonlStore(path, sync=sync, read_only=read_only, lock_timeout=lock_timeout)


def verify_at(path: Path, key: bytes | None, progress: Progress) -> Report:
    """The store at a path, checked by its own `verify`."""
    if is_lmdb(path):
        from pmll_async.stores.lmdb import verify
    else:
        from pmll_async.stores.jsonl.verify import verify
    return verify(path, key, progress)
