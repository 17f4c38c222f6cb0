"""The JSONL store: plain files in a folder, crash-safe; the default."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from pmll_async.errors import StoreError

if find_spec("fcntl") is None:
    raise StoreError(
        f"a lattice in a folder needs the file locks of a POSIX system, which {sys.platform} has "
        "not got; use a POSIX system (such as WSL), or Lattice(MemoryStore())"
    )

from pmll_async.stores.jsonl.store import JsonlStore as JsonlStore
