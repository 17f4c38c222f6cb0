"""The JSONL store: plain files in a folder, crash-safe; the default."""

from __future__ import annotations

from pmll_async.stores.jsonl.store import JsonlStore as JsonlStore
