"""Going through a whole log for `verify`: nothing is raised, everything is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pmll_async.records.blocks import Block
from pmll_async.records.chain import Chain, Dimensions
from pmll_async.records.content import PACKED, WriteVector, base64_text, packed_text
from pmll_async.records.findings import Finding, Watch
from pmll_async.records.parser import UnknownOperationError
from pmll_async.records.record import Record, leaf
from pmll_async.stores.jsonl.folder import MANIFEST, FolderHeader, Manifest
from pmll_async.stores.jsonl.frames import BadFrameError, FrameHead, check_frame, decode_exact_frame
from pmll_async.stores.jsonl.pieces import Run
from pmll_async.stores.jsonl.puts import Before, LineTexts, Puts, read_puts, runs
from pmll_async.stores.jsonl.scan import out_of_order
from pmll_async.stores.jsonl.segments import Segment
from pmll_async.stores.jsonl.verify.cache import CacheCheck
from pmll_async.values.anchors import ROOT_DIGEST, Hasher, fold

_PACKED_VECTORS: Final = tuple(f'"{name}":"{PACKED}'.encode() for name in ("key", "value"))


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A place before record `n`, with the digest there if every record before could be read."""

    n: int
    file: str
    offset: int
    digest: bytes | None


@dataclass(slots=True)
class _Run:
    """Records read one by one from `first` on, at a place; `digest` is h before them."""

    first: int
    place: int
    digest: bytes | None
    records: list[Record] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)


class LogCheck:
    """Takes the lines of a log in order.

    `proven` is how many records are known durable, `broken` where the log stops making sense for
    the first time and `reason` why, `group` where a group began that is not finished. `findings`
    are damage, and `later` those from `broken` on, which may as well be torn.
    """

    def __init__(
        self,
        manifest: Manifest,
        header: FolderHeader | None,
        hasher: Hasher,
        cache: CacheCheck,
        watch: Watch | None,
    ) -> None:
        self._header, self._hasher, self._cache = header, hasher, cache
        self._watch: Watch = watch or _nobody
        self._digests = manifest.digests
        self._following = 0
        self._lost = False
        self.group: LogPlace | None = None
        self._here = LogPlace(0, "", 0, ROOT_DIGEST)
        self._run = _Run(0, 0, None)
        shape = None if header is None else Dimensions(header.dim, header.value_dim)
        self.chain = Chain(hasher, shape)
        self.proven = manifest.records
        self.findings: list[Finding] = []
        self.later: list[Finding] = []
        self.broken: LogPlace | None = None
        self.reason = ""

    @property
    def keep(self) -> LogPlace:
        """Where the log ends, without what is torn or damaged and without an unfinished group."""
        return self.broken or self.group or self._here

    @property
    def due(self) -> int:
        """How many lines may come together."""
        return self._cache.due(self.chain.revision)

    def lines(self, segment: Segment, offset: int, lines: Sequence[bytes]) -> None:
        """Some more lines of a segment, no more than are due."""
        for some, texts in runs(lines):
            if texts is None or not self._puts(segment, offset, some, texts):
                self._one_by_one(segment, offset, some)
            offset += sum(map(len, some))

    def _puts(
        self, segment: Segment, offset: int, lines: Sequence[bytes], texts: LineTexts
    ) -> bool:
        """Take plain puts together; False, and none is taken, if there may be anything to say."""
        first, before = self.chain.revision, self._here
        head = self.chain.head(first)
        if self._header is None or before.digest is None or head is None or self.broken:
            return False
        heads, place = texts.heads, segment.base + offset
        puts = read_puts(
            lines, texts, Before(first, place, head, before.digest), self._header, self._hasher
        )
        if puts is None or self._breaks_order(heads) or self._differs(first, puts.digests):
            return False
        self.chain.add_block(puts.piece.block)
        self._cache.add(puts.piece)
        for own, anchor, end in zip(puts.leaves, texts.anchor, puts.piece.ends, strict=True):
            self._watch(own, anchor.decode(), end)
        self._follow(segment, offset, heads, puts)
        return True

    def _breaks_order(self, heads: Sequence[FrameHead]) -> bool:
        awaited = [self._following, *(head.g for head in heads)]
        due = enumerate(heads, self.chain.revision)
        return any(out_of_order(head, n, awaited[i]) for i, (n, head) in enumerate(due))

    def _differs(self, first: int, digests: Sequence[bytes]) -> bool:
        """Whether one of these digests, of the records from `first` on, is not the manifest's."""
        stop = first + len(digests)
        known = self._digests.items()
        return any(first < n <= stop and digests[n - first - 1] != digest for n, digest in known)

    def _follow(
        self, segment: Segment, offset: int, heads: Sequence[FrameHead], puts: Puts
    ) -> None:
        """Go on behind these puts."""
        first, ends = heads[0].n, puts.piece.ends
        whole = [i for i, head in enumerate(heads, 1) if not head.g]
        begun = whole[-1] if whole else 0
        if begun == len(heads):
            self.group = None
        elif whole or self.group is None:
            digest = puts.digests[begun - 1] if begun else self._here.digest
            place = ends[begun - 1] - segment.base if begun else offset
            self.group = LogPlace(first + begun, segment.file, place, digest)
        self._following, self._lost = heads[-1].g, False
        self.proven = max(self.proven, *(head.d for head in heads))
        stop = ends[-1] - segment.base
        self._here = LogPlace(first + len(heads), segment.file, stop, puts.digests[-1])

    def _one_by_one(self, segment: Segment, offset: int, lines: Sequence[bytes]) -> None:
        for line in lines:
            self._line(segment, offset, line)
            offset += len(line)
        self._pass_on()

    def _pass_on(self) -> None:
        """Let the cache have what was read one by one."""
        run, self._run = self._run, _Run(0, 0, None)
        if run.records and run.digest and self._header:
            block = Block.of(run.records, run.first, run.digest, self._header.dim)
            piece = Run(run.records, block, run.lines, run.place)
            self._cache.add(piece.piece(packed=self._header.packed))

    def _line(self, segment: Segment, offset: int, line: bytes) -> None:
        digest = self._here.digest
        self._here = LogPlace(self.chain.revision, segment.file, offset, digest)
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

    def _in_order(self, head: FrameHead) -> bool:
        reason = out_of_order(head, self.chain.revision, self._following)
        # Behind a place that cannot be read, records are missing for a reason already told.
        if reason and not (self._lost and head.n > self.chain.revision and head.d <= head.n):
            self._find(reason)
        if head.n < self.chain.revision:
            return False
        if head.n > self.chain.revision:
            self._pass_on()
            for _ in range(self.chain.revision, head.n):
                self._watch(None, None, None)
            self.chain.miss(head.n)
            self._here = LogPlace(head.n, self._here.file, self._here.offset, None)
        return True

    def _take(self, head: FrameHead, line: bytes, place: int) -> None:
        record = self._decoded(head, line)
        before, n = self._here, self.chain.revision
        if head.g and self.group is None:
            self.group = before
        elif not head.g:
            self.group = None
        self._following, self._lost = head.g, False
        digest = own = None
        if record is None:
            self._pass_on()
            self.chain.miss(n + 1)
        else:
            self.chain.add(record)
            own = leaf(record)
            digest = before.digest and fold(before.digest, own)
            if not self._run.records:
                self._run = _Run(n, place, before.digest)
            self._run.records.append(record)
            self._run.lines.append(line)
        self._watch(own, self.chain.head(n + 1), place + len(line))
        if digest and self._digests.get(n + 1, digest) != digest:
            reason = f"its digest after {n + 1} records is not that of the log"
            self.findings.append(Finding("damage", MANIFEST, 0, n, reason))
        self._here = LogPlace(n + 1, before.file, before.offset + len(line), digest)

    def _decoded(self, head: FrameHead, line: bytes) -> Record | None:
        """The record, or None after telling why it is none; wrong anchors are told as well."""
        try:
            record = decode_exact_frame(line, head, self._hasher, self._written(line))
        except (BadFrameError, UnknownOperationError) as exc:
            self._find(str(exc))
            return None
        reason = self.chain.shape_flaw(record)
        if reason:
            self._find(reason)
            return None
        reason = self.chain.place_flaw(record)
        if reason:
            self._find(reason)
        return record

    def _written(self, line: bytes) -> WriteVector:
        """How the store has vectors; where nobody knows, as this line has them."""
        if self._header is not None:
            return self._header.write_vector
        return packed_text if any(mark in line for mark in _PACKED_VECTORS) else base64_text

    def _find(self, reason: str) -> None:
        here = self._here
        findings = self.findings if self.broken is None else self.later
        findings.append(Finding("damage", here.file, here.offset, here.n, reason))


def _nobody(leaf: bytes | None, head: str | None, end: int | None) -> None: ...
