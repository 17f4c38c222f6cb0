"""Loading: the cached blocks that hold, then the records behind them, up to what may be served."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pmll_async.columns import Block
from pmll_async.stores.jsonl.cache import Cache
from pmll_async.stores.jsonl.folder import Manifest, read_manifest
from pmll_async.stores.jsonl.lock import read_holder
from pmll_async.stores.jsonl.log import Log
from pmll_async.stores.jsonl.scan import Scan
from pmll_async.stores.jsonl.segments import locate


@dataclass(frozen=True, slots=True)
class Plan:
    """What was found: the manifest, the frames behind the trusted cache, and how far to go.

    `proven` is how many records are known to have been durable, `limit` how many are served.
    """

    manifest: Manifest
    scan: Scan
    proven: int
    limit: int


class Loader:
    """Brings a log up to date with the disk; `parsed` counts the records that no cache held."""

    def __init__(self, folder: Path, store_id: str, log: Log, cache: Cache, most: int) -> None:
        self._folder, self._store = folder, store_id
        self._log, self._cache, self._most = log, cache, most
        self._handed = 0
        self.parsed = 0

    def blocks(self, plan: Plan) -> Iterator[Block]:
        """The blocks of a plan that were not handed over yet."""
        for i, header in enumerate(self._cache.headers):
            if header.stop <= self._handed:
                continue
            found = self._cache.block(header)
            if found is None:
                self._cache.keep(i)
                plan = self.plan(whole=plan.limit == plan.scan.keep)
                break
            block, ends = found
            self._adopt(header, array("q", ends.tobytes()))
            yield block
        yield from self._parse(plan)

    def plan(self, *, whole: bool) -> Plan:
        """Look at the disk: `whole` takes all records that hold, otherwise the durable ones.

        Raises `CorruptionError` for damage that is no torn end.
        """
        # In this order: a writer that closes replaces the manifest before it empties LOCK.
        holder = None if whole else read_holder(self._folder)
        manifest = read_manifest(self._folder, self._store)
        self._log.table = locate(self._folder, manifest)
        self._cache.keep(self._agreeing(manifest))
