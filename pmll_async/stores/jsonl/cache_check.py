"""Holding the cache against the log, for `verify`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pmll_async.columns import Block
from pmll_async.protocols import StoreHeader
from pmll_async.records import Record
from pmll_async.stores.jsonl.cache import (
    HEADER_BYTES,
    CachedBlock,
    parse_header,
    read_headers,
    read_whole,
    section_holds,
)
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.findings import Finding, Severity
from pmll_async.stores.jsonl.folder import CACHE
from pmll_async.stores.jsonl.pieces import difference, piece_of

_SECTIONS = ("columns", "keys", "contexts")


@dataclass(slots=True)
class _Run:
    """Records of the log that belong to one cached block; `digest` is h before the first."""

    place: int
    digest: bytes | None
    records: list[Record] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)


class CacheCheck:
    """Takes the records of the log in order and compares each cached block that they fill.

    Beside a live writer the cache may change meanwhile: then a block counts as damaged only if it
    is still the same afterwards, and what comes after the last one is being written.
    """

    def __init__(self, folder: Path, header: StoreHeader | None, *, live: bool) -> None:
        self._path, self._files = folder / CACHE, Files(folder)
        self._header, self._live = header, live
        self._blocks = self._read_blocks()
        self._next = 0
        self._run = _Run(0, None)
        self.findings: list[Finding] = []

    def add(self, n: int, record: Record, line: bytes, place: int, digest: bytes | None) -> None:
        """Record `n`, which lies at a place; `digest` is h before it."""
        while self._next < len(self._blocks) and self._blocks[self._next].stop <= n:
            self._check_block(_Run(0, None))
        if self._next == len(self._blocks):
            return
        block = self._blocks[self._next]
        if n == block.first:
            self._run = _Run(place, digest)
        self._run.records.append(record)
        self._run.lines.append(line)
        if n + 1 == block.stop:
            self._check_block(self._run)

    def finish(self, records: int) -> list[Finding]:
        """What was found, when the log has so many records."""
        if self._header is not None:
            while self._next < len(self._blocks):
                self._check_block(_Run(0, None))
            if not self._live:
                self._check_end(records)
        return self.findings

    def close(self) -> None:
        """Close what it read."""
        self._files.close()

    def _read_blocks(self) -> list[CachedBlock]:
        if self._header is None:
            return []
        blocks = read_headers(self._files, self._header.store_id, self._header.dim)
        size = self._size()
        return [block for block in blocks if block.end <= size]

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _check_block(self, run: _Run) -> None:
        block = self._blocks[self._next]
        self._next += 1
        offset, reason = self._flaw(block, run)
        if reason and not (self._live and block not in self._read_blocks()):
            self._find("damage", offset, block.first, reason)

    def _flaw(self, header: CachedBlock, run: _Run) -> tuple[int, str]:
        for i, name in enumerate(_SECTIONS):
            if not section_holds(self._files, header, i):
                return header.section(i), f"the checksum of the {name} does not hold"
        if self._header is None or run.digest is None or len(run.lines) != header.sizes.records:
            return 0, ""
        dim = self._header.dim
        block = Block.of(run.records, header.first, run.digest, dim)
        cached = read_whole(self._files, header, dim)
        if cached is None:
            return header.section(0), "the columns are not what they should hold"
        name = difference(cached, piece_of(run.records, block, run.lines, run.place))
        return header.section(0), f"its {name} are not those of the log" if name else ""

    def _check_end(self, records: int) -> None:
        end, stop = (self._blocks[-1].end, self._blocks[-1].stop) if self._blocks else (0, 0)
        if stop > records:
            self._find("torn", 0, records, "it holds records that the log does not have")
        size = self._size()
        if size > end:
            raw = self._files.read(CACHE, HEADER_BYTES, end)
            header = parse_header(raw, end, self._header.store_id if self._header else "")
            unfinished = header.end > size if header else len(raw) < HEADER_BYTES
            if unfinished:
                self._find("torn", end, stop, "the block is not finished")
            else:
                self._find("damage", end, stop, "this is no block that could follow")

    def _find(self, severity: Severity, offset: int, n: int, reason: str) -> None:
        self.findings.append(Finding(severity, CACHE, offset, n, reason))
