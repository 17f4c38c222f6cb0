"""Going through a whole log for `verify`: nothing is raised, everything is told."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Final

from pmll_async.anchors import ROOT_DIGEST, Hasher, fold
from pmll_async.parsing import UnknownOperationError
from pmll_async.protocols import StoreHeader
from pmll_async.records import Record, RollbackRecord, anchors_hold, leaf
from pmll_async.stores.jsonl.cache_check import CacheCheck
from pmll_async.stores.jsonl.findings import Finding
from pmll_async.stores.jsonl.folder import MANIFEST, Manifest
from pmll_async.stores.jsonl.framing import BadFrameError, Head, check_frame, decode_exactly
from pmll_async.stores.jsonl.log import flaw
from pmll_async.stores.jsonl.scan import out_of_order
from pmll_async.stores.jsonl.segments import Segment

_UNKNOWN: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Point:
    """A place before record `n`, with the digest there if every record before could be read."""

    n: int
    file: str
    offset: int
    digest: bytes | None


class History:
    """The chain after every revision: its head and its length, as far as they can be followed."""

    def __init__(self) -> None:
        self._heads = array("Q", [0])
        self._lengths = array("q", [0])

    @property
    def revision(self) -> int:
        """How many records it has followed or missed."""
        return len(self._heads) - 1

    def head(self, revision: int) -> str | None:
        """The head after so many records; None where it is not known."""
        head = self._heads[revision]
        return None if head == _UNKNOWN else f"{head:016x}"

    def length(self, revision: int) -> int:
        """The lines on the chain after so many records."""
        return self._lengths[revision]

    def add(self, record: Record) -> None:
        """The next record."""
        head, length = self._heads[-1], self._lengths[-1]
        if isinstance(record, RollbackRecord):
            head, length = self._heads[record.revision], self._lengths[record.revision]
        elif record.lines:
            head, length = int(record.lines[0].anchor, 16), length + 1
        self._heads.append(head)
        self._lengths.append(length)

    def miss(self, revision: int) -> None:
        """The records up to this revision cannot be read."""
        missed = revision - self.revision
        self._heads.extend([_UNKNOWN] * missed)
        self._lengths.extend([self._lengths[-1]] * missed)


class LogCheck:
    """Takes the lines of a log in order.

    `proven` is how many records are known durable, `broken` where the log stops making sense for
    the first time and `reason` why, `group` where a group began that is not finished. `findings`
    are damage, and `later` those from `broken` on, which may as well be torn.
    """

    def __init__(
        self, manifest: Manifest, header: StoreHeader | None, hasher: Hasher, cache: CacheCheck
    ) -> None:
        self._header, self._hasher, self._cache = header, hasher, cache
        self._digests = manifest.digests
        self._following = 0
        self._lost = False
        self.group: Point | None = None
        self._here = Point(0, "", 0, ROOT_DIGEST)
        self.history = History()
        self.proven = manifest.records
        self.findings: list[Finding] = []
        self.later: list[Finding] = []
        self.broken: Point | None = None
        self.reason = ""

    @property
    def keep(self) -> Point:
        """Where the log ends, without what is torn or damaged and without an unfinished group."""
        return self.broken or self.group or self._here

    def line(self, segment: Segment, offset: int, line: bytes) -> None:
        """One more line."""
        digest = self._here.digest
        self._here = Point(self.history.revision, segment.file, offset, digest)
        try:
            head = check_frame(line)
        except BadFrameError as exc:
            self._lose(str(exc))
            return
        self.proven = max(self.proven, head.d)
        if self._in_order(head):
            self._take(head, line, segment.base + offset)

    def _lose(self, reason: str) -> None:
        if self.broken is None:
            self.broken, self.reason = self.group or self._here, reason
        self._find(reason)
        self._lost, self.group, self._following = True, None, 0

    def _in_order(self, head: Head) -> bool:
        reason = out_of_order(head, self.history.revision, self._following)
        # Behind a place that cannot be read, records are missing for a reason already told.
        if reason and not (self._lost and head.n > self.history.revision and head.d <= head.n):
            self._find(reason)
        if head.n < self.history.revision:
            return False
        if head.n > self.history.revision:
            self.history.miss(head.n)
            self._here = Point(head.n, self._here.file, self._here.offset, None)
        return True

    def _take(self, head: Head, line: bytes, place: int) -> None:
        record = self._decoded(head, line)
        before, n = self._here, self.history.revision
        if head.g and self.group is None:
            self.group = before
        elif not head.g:
            self.group = None
        self._following, self._lost = head.g, False
        digest = None
        if record is None:
            self.history.miss(n + 1)
        else:
            self.history.add(record)
            digest = before.digest and fold(before.digest, leaf(record))
            self._cache.add(n, record, line, place, before.digest)
        if digest and self._digests.get(n + 1, digest) != digest:
            reason = f"its digest after {n + 1} records is not that of the log"
            self.findings.append(Finding("damage", MANIFEST, 0, n, reason))
        self._here = Point(n + 1, before.file, before.offset + len(line), digest)

    def _decoded(self, head: Head, line: bytes) -> Record | None:
        """The record, or None after telling why it is none; wrong anchors are told as well."""
        try:
            record = decode_exactly(line, head, self._hasher)
        except (BadFrameError, UnknownOperationError) as exc:
            self._find(str(exc))
            return None
        reason = flaw(record, head.n, self._header)
        if reason:
            self._find(reason)
            return None
        chained = self.history.head(head.n) or (record.lines and record.lines[0].prev_anchor)
        if chained and not anchors_hold(record, chained, self._hasher):
            self._find("an anchor does not follow from its line and the head")
        return record

    def _find(self, reason: str) -> None:
        here = self._here
        findings = self.findings if self.broken is None else self.later
        findings.append(Finding("damage", here.file, here.offset, here.n, reason))
