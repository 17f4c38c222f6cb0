"""Which store a path names: the one place where that is decided."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from pmll_async.errors import InvalidInputError
from pmll_async.values.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from pmll_async.protocols import Store
    from pmll_async.records.findings import Progress, Report, Watch

LMDB_SUFFIX: Final = ".lmdb"


def is_lmdb(path: str | os.PathLike[str]) -> bool:
    """Whether the path names an LMDB store."""
    return Path(path).suffix == LMDB_SUFFIX


class StoreAt:
    """A store by its path: LMDB where that ends in `.lmdb`, JSONL anywhere else.

    Its module is loaded when it is `made`, and then by who may block.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: Literal["group", "os"] = "group",
        read_only: bool = False,
        lock_timeout: float = 0.0,
    ) -> None:
        if not os.fspath(path):
            raise InvalidInputError('the path of a store is empty; this folder is "."')
        if is_lmdb(path):
            require("lmdb", "lmdb")
            if sync != "group":
                raise InvalidInputError(
                    f"an LMDB store makes every batch durable: sync={sync!r} is for other stores"
                )
        self.path, self.read_only = str(Path(path)), read_only
        self._sync, self._lock_timeout = sync, lock_timeout
        self._made: Store | None = None
        self._wrap: Callable[[Store], Store] | None = None

    def wrapped(self, wrap: Callable[[Store], Store]) -> Self:
        """Itself, whose store will be made in a wrapper; before it is `made`."""
        self._wrap = wrap
        return self

    def made(self) -> Store:
        """The one store, unopened."""
        if self._made is None:
            made = self._make()
            self._made = made if self._wrap is None else self._wrap(made)
        return self._made

    def close(self) -> None:
        """Close it, if it was made."""
        if self._made is not None:
            self._made.close()

    def _make(self) -> Store:
        # A store is imported by who uses it: the one is an extra, and the other need not be loaded.
        if is_lmdb(self.path):
            from pmll_async.stores.lmdb import LmdbStore

            return LmdbStore(self.path, read_only=self.read_only, lock_timeout=self._lock_timeout)
        from pmll_async.stores.jsonl import JsonlStore

        return JsonlStore(
            self.path,
            sync=self._sync,
            read_only=self.read_only,
            lock_timeout=self._lock_timeout,
        )


def store_at(path: str | os.PathLike[str], *, read_only: bool = False) -> Store:
    """An unopened store, as `StoreAt` chooses it."""
    return StoreAt(path, read_only=read_only).made()


def verify_at(
    path: Path, key: bytes | None, progress: Progress | None, watch: Watch | None = None
) -> Report:
    """The store at a path, checked by its own `verify`."""
    if is_lmdb(path):
        from pmll_async.stores.lmdb import verify
    else:
        from pmll_async.stores.jsonl.verify import verify
    return verify(path, key, progress, watch)
