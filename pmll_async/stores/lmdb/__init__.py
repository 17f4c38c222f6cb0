"""The LMDB store: one memory-mapped file in a folder, a transaction a batch (extra `lmdb`)."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("lmdb") is None:
    raise ImportError("lmdb missing: pip install 'pmll-async[lmdb]'", name="lmdb")

from pmll_async.stores.lmdb.store import LmdbStore as LmdbStore
from pmll_async.stores.lmdb.verify import verify as verify

__all__ = ["LmdbStore", "verify"]
