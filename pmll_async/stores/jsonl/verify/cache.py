"""Holding the cache against the log, for `verify`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pmll_async.records.findings import Finding, Severity
from pmll_async.stores.jsonl.blockfile import HEADER_BYTES, BlockFile, CachedBlock
from pmll_async.stores.jsonl.directory import Directory, NotPlainError
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.folder import CACHE, FolderHeader
from pmll_async.stores.jsonl.pieces import Piece, difference, join
from pmll_async.values.anchors import ROOT_DIGEST, Hasher

_SECTIONS: Final = ("columns", "keys", "contexts")
_MANY: Final = 1024
"""Records that come together where there is no block, such as behind the last one."""


class CacheCheck:
    """Takes the records of the log in order and compares each cached block that they fill.

    Beside a live writer the cache may change meanwhile: then a block counts as damaged only if it
    is still the same afterwards, and what comes after the last one is being written.
    """

    def __init__(
        self, folder: Directory, header: FolderHeader | None, hasher: Hasher, *, live: bool
    ) -> None:
        self._folder, self._files = folder, Files(folder)
        self._header, self._live = header, live
        self._file = None if header is None else BlockFile(self._files, header, hasher)
        self._blocks = self._read_blocks()
        self._next = 0
        self._pieces: list[Piece] = []
        self.findings: list[Finding] = []

    def due(self, n: int) -> int:
        """How many records from `n` on may come together: those of one block, or between two."""
        while self._next < len(self._blocks) and self._blocks[self._next].stop <= n:
            self._check_block([])
        if self._next == len(self._blocks):
            return _MANY
        block = self._blocks[self._next]
        return (block.first if n < block.first else block.stop) - n

    def add(self, piece: Piece) -> None:
        """The next records, no more than were due; those that cannot be read are left out."""
        if self._next == len(self._blocks):
            return
        block, own = self._blocks[self._next], piece.block
        if own.first == block.first:
            self._pieces = []
        if own.first >= block.first:
            self._pieces.append(piece)
        if own.stop == block.stop:
            self._check_block(self._pieces)

    def finish(self, records: int) -> list[Finding]:
        """What was found, when the log has so many records."""
        if self._file is not None:
            while self._next < len(self._blocks):
                self._check_block([])
            if not self._live:
                self._check_end(self._file, records)
        self._check_plain()
        return self.findings

    def _check_plain(self) -> None:
        try:
            self._folder.size(CACHE)
        except NotPlainError as exc:
            self._find("damage", 0, 0, str(exc.strerror))
        except FileNotFoundError:
            pass

    def close(self) -> None:
        """Close what it read."""
        self._files.close()

    def _read_blocks(self) -> list[CachedBlock]:
        if self._file is None:
            return []
        size = self._size()
        return [block for block in self._file.headers() if block.end <= size]

    def _size(self) -> int:
        try:
            return self._folder.size(CACHE)
        except (FileNotFoundError, NotPlainError):
            return 0

    def _check_block(self, pieces: Sequence[Piece]) -> None:
        block = self._blocks[self._next]
        self._next += 1
        offset, reason = self._flaw(block, pieces)
        if reason and not (self._live and block not in self._read_blocks()):
            self._find("damage", offset, block.first, reason)

    def _flaw(self, header: CachedBlock, pieces: Sequence[Piece]) -> tuple[int, str]:
        if self._file is None:
            return 0, ""
        for i, name in enumerate(_SECTIONS):
            if self._file.section(header, i) is None:
                return header.section(i), f"the {name} are not those that its header names"
        if sum(len(piece.ends) for piece in pieces) != header.sizes.records:
            return 0, ""
        cached = self._file.whole(header)
        if cached is None:
            return header.section(0), "the columns are not what they should hold"
        name = difference(join(pieces), cached)
        return header.section(0), f"its {name} are not those of the log" if name else ""

    def _check_end(self, file: BlockFile, records: int) -> None:
        last = self._blocks[-1] if self._blocks else None
        end, stop, root = (last.end, last.stop, last.root) if last else (0, 0, ROOT_DIGEST)
        if stop > records:
            self._find("torn", 0, records, "it holds records that the log does not have")
        size = self._size()
        if size > end:
            raw = self._files.read(CACHE, HEADER_BYTES, end)
            header = file.parse_header(raw, end, root)
            unfinished = header.end > size if header else len(raw) < HEADER_BYTES
            if unfinished:
                self._find("torn", end, stop, "the block is not finished")
            else:
                self._find("damage", end, stop, "this is no block that could follow")

    def _find(self, severity: Severity, offset: int, n: int, reason: str) -> None:
        self.findings.append(Finding(severity, CACHE, offset, n, reason))
