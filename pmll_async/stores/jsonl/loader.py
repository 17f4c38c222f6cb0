"""Loading: the cached blocks that hold, then the records behind them, up to what may be served."""

from __future__ import annotations

from array import array
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

from pmll_async.errors import CorruptionError
from pmll_async.records.blocks import Block
from pmll_async.stores.jsonl.blockfile import CachedBlock
from pmll_async.stores.jsonl.cache import Cache
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.folder import MANIFEST, Manifest, read_manifest
from pmll_async.stores.jsonl.frames import CHECKSUM, BadFrameError, FrameHead, check_frame
from pmll_async.stores.jsonl.lock import read_holder
from pmll_async.stores.jsonl.log import Log
from pmll_async.stores.jsonl.scan import Scan, scan_frames, settle
from pmll_async.stores.jsonl.segments import locate


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What was found: the manifest, the frames behind the trusted cache, and how far to go.

    `proven` is how many records are known to have been durable, `limit` how many are served.
    """

    whole: bool

    manifest: Manifest
    scan: Scan
    proven: int
    limit: int

    @property
    def clean(self) -> bool:
        """Whether the last writer closed and nothing came after."""
        return self.scan.bad is None and self.manifest.records == self.scan.keep == self.scan.stop


class Loader:
    """Brings a log up to date with the disk; `parsed` counts the records that no cache held."""

    def __init__(self, folder: Directory, store_id: str, log: Log, cache: Cache, most: int) -> None:
        self._folder, self._store = folder, store_id
        self._log, self._cache, self._most = log, cache, most
        self._handed = 0
        self.parsed = 0

    def plan(self, *, whole: bool) -> LoadPlan:
        """Look at the disk: `whole` goes for all records that hold, otherwise for the durable ones.

        Raises `CorruptionError` for damage that is no torn end.
        """
        # In this order: a writer that closes replaces the manifest before it empties LOCK.
        holder = None if whole else read_holder(self._folder)
        manifest = read_manifest(self._folder, self._store)
        self._log.rearrange(locate(self._folder, manifest))
        if not self._log.records:
            self._cache.keep_listed(manifest.cache)
            self._cache.keep(self._agreeing(manifest))
        # Each turn trusts fewer blocks of the cache, so that it ends.
        while True:
            scan = scan_frames(self._folder, self._log.table, *self._start())
            settle(scan, self._folder, self._log.table, manifest)
            proven = max(scan.proven, manifest.records)
            durable = max(proven, self._log.records, holder.durable if holder else 0)
            plan = LoadPlan(
                whole, manifest, scan, proven, scan.keep if whole else min(scan.keep, durable)
            )
            usable = self._usable(plan)
            if usable == len(self._cache.headers):
                return plan
            self._cache.keep(usable)

    def blocks(self, plan: LoadPlan) -> Generator[Block, None, LoadPlan]:
        """The blocks of a plan that were not handed over yet; returns the plan as it turned out."""
        skipped = sum(header.stop <= self._handed for header in self._cache.headers)
        with closing(self._cache.blocks(skipped)) as blocks:
            for i, found in enumerate(blocks, skipped):
                if found is None:
                    self._cache.keep(i)
                    plan = self.plan(whole=plan.whole)
                    break
                yield self._adopt(*found)
        self._log.extend(plan.scan.ends[: max(0, plan.limit - plan.scan.first)])
        # A piece ends where the proven records do, so that the digest there is known.
        for stop in sorted({min(plan.proven, plan.limit), plan.limit}):
            for piece in self._log.parse(self._handed, stop, self._most):
                self.parsed += len(piece.ends)
                self._handed = piece.block.stop
                self._cache.add(piece)
                self._cache.keep_up(self._handed)
                yield piece.block
            if plan.whole and stop == self._handed:
                self._log.digests[stop] = self._log.digest
        self._check_digests(plan.manifest)
        return plan

    def _adopt(self, block: Block, ends: array[int]) -> Block:
        self._log.extend(ends)
        self._log.chain.add_block(block)
        self._log.digest = self._log.digests[block.stop] = block.digest
        self._handed = block.stop
        return block

    def _start(self) -> tuple[int, int, int]:
        """Where to look for frames: the place, the record due there, and what is proven."""
        headers = self._cache.headers
        if not headers or headers[-1].stop <= self._log.records:
            return self._log.stop, self._log.records, 0
        # It may prove more durable records than the manifest, and is not scanned again.
        head = self._last_head(headers[-1])
        return headers[-1].place, headers[-1].stop, head.d if head else 0

    def _agreeing(self, manifest: Manifest) -> int:
        """How many cached blocks agree with the manifest's digests and the log's own bytes."""
        headers, known = self._cache.headers, manifest.digests
        count = 0
        while count < len(headers):
            header = headers[count]
            if known.get(header.stop, header.digest) != header.digest:
                break
            count += 1
        while count and self._last_head(headers[count - 1]) is None:
            count -= 1
        return count

    def _last_head(self, header: CachedBlock) -> FrameHead | None:
        if header.place > self._log.table.stop:
            return None
        line = self._log.bytes_at(header.last, header.place)
        try:
            head = check_frame(line)
        except BadFrameError:
            return None
        same = head.n == header.stop - 1 and line[CHECKSUM] == header.checksum
        return head if same else None

    def _usable(self, plan: LoadPlan) -> int:
        """How many cached blocks lie within what is served and across no place of interest.

        Those are the ends of segments that the manifest does not list, and of what is proven: the
        digest there must be known.
        """
        table, listed = self._log.table, len(plan.manifest.segments)
        places = [segment.base for segment in table.segments[listed:]]
        before, place = 0, 0
        for i, header in enumerate(self._cache.headers):
            across = before < plan.proven < header.stop
            across = across or any(place < other < header.place for other in places)
            if header.stop > self._log.records and (across or header.stop > plan.limit):
                return i
            before, place = header.stop, header.place
        return len(self._cache.headers)

    def _check_digests(self, manifest: Manifest) -> None:
        for n, digest in manifest.digests.items():
            if self._log.digests.get(n, digest) != digest:
                reason = f"its digest after {n} records is not that of the log"
                raise CorruptionError(self._folder.named(MANIFEST), 0, reason, n)
