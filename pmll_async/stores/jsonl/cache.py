"""The cache: what opening would have to derive from the log, written as blocks of one file.

It only saves time. What does not hold is derived from the log again; no error here fails a write.
"""

from __future__ import annotations

import errno
import os
from array import array
from bisect import bisect_right
from collections.abc import Generator, Sequence
from typing import Final

from pmll_async.loop.logs import logger
from pmll_async.records.blocks import Block
from pmll_async.stores.jsonl.blockfile import BlockFile, CachedBlock
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.folder import CACHE, CACHE_FOLDER
from pmll_async.stores.jsonl.pieces import (
    Piece,
    Run,
    join,
)
from pmll_async.values.anchors import ROOT_DIGEST

_NOWHERE: Final = 1 << 62
# Joining a thousand pieces of one record takes 5 ms in which no other thread runs; by dozens, less.
_TOGETHER: Final = 32


class Cache:
    """The cache of one open store, and the pieces of records that are not in it yet.

    One thread writes; any thread asks for contexts, so that lists are replaced rather than cut.
    """

    def __init__(
        self, folder: Directory, files: Files, file: BlockFile, *, block_records: int, writes: bool
    ) -> None:
        self._folder, self._files, self.file = folder, files, file
        self._block_records, self._writes = block_records, writes
        self._pending: list[Piece | Run] = []
        self._loose = self._last = 0
        """How many pending are not joined yet, and the first record of the newest."""
        self._fd = -1
        # Where the first block lies whose contexts turned out damaged: nobody reads them at load.
        self._doubtful = _NOWHERE
        self.headers = file.headers()
        self.is_copied = False
        """Whether somebody reads its blocks, none of which may be written anew meanwhile."""
        self.written = 0
        """How many blocks were written: what the manifest lists is behind when this has grown."""

    @property
    def roots(self) -> tuple[tuple[int, str], ...]:
        """The roots that the manifest is to list."""
        return roots_of(self.headers)

    def keep_listed(self, roots: Sequence[tuple[int, str]]) -> None:
        """Trust only those blocks that the manifest vouches for."""
        count = len(self.headers)
        listed = [k for k, root in roots if k <= count and self.headers[k - 1].root.hex() == root]
        self.keep(max(listed, default=0))

    def keep(self, blocks: int) -> None:
        """Trust only the first so many blocks."""
        self.headers = self.headers[:blocks]

    def blocks(self, first: int) -> Generator[tuple[Block, array[int]] | None, None, None]:
        """The blocks from the i-th on and where their records end; None for one of other bytes."""
        return self.file.blocks(self.headers[first:])

    def contexts(self, n: int, stop: int) -> tuple[list[bytes], int] | None:
        """Contexts of the lines of record `n` and those after it, and the record that is next.

        None when only the log has them.
        """
        # In this order: what leaves the one list meanwhile is in the other by then.
        pending, headers = list(self._pending), self.headers
        i = bisect_right(headers, n, key=lambda header: header.first) - 1
        if i >= 0 and n < headers[i].stop:
            end = min(stop, headers[i].stop)
            contexts = self.file.contexts(headers[i], n, end)
            if contexts is not None:
                return contexts, end
            # Not where another file has taken its place meanwhile.
            if headers is self.headers:
                self._doubtful = min(self._doubtful, headers[i].position)
            return None
        for piece in pending:
            if piece.block.first <= n < piece.block.stop:
                end = min(stop, piece.block.stop)
                return piece.contexts_of(n, end), end
        return None

    def keep_up(self, durable: int) -> None:
        """Join what is loose, and write a block where there is enough for one.

        Of what is durable and came before the last batch: an unclean opening moves that one, and a
        block must hold nothing that is moved.
        """
        try:
            loose = self._pending[-self._loose :] if self._loose else []
            if loose and loose[-1].block.stop - loose[0].block.first >= _TOGETHER:
                joined = self._joined(loose)
                self._pending, self._loose = [*self._pending[: -self._loose], joined], 0
        # What it would have held is in the log.
        except Exception as exc:  # noqa: BLE001
            self._drop(exc)
        if self._pending and self._last - self._pending[0].block.first >= self._block_records:
            self.flush(min(durable, self._last))

    def add(self, piece: Piece | Run) -> None:
        """Take what was appended to the log."""
        if self._writes:
            self._pending.append(piece)
            self._loose += 1
            self._last = piece.block.first

    def flush(self, durable: int) -> None:
        """Write a block of what is pending and known durable."""
        # A record that is not durable may be gone after a crash; the cache must not know more.
        count = sum(piece.block.stop <= durable for piece in self._pending)
        if not count:
            return
        try:
            self._write(self._joined(self._pending[:count]))
            self._pending = self._pending[count:]
            self._loose = min(self._loose, len(self._pending))
        # The log is whole without it, and is to be closed.
        except Exception as exc:  # noqa: BLE001
            self._drop(exc)

    def adopt(self, headers: list[CachedBlock], moved: int = 0) -> None:
        """Another file is there, with these blocks; what is pending has moved by so many bytes."""
        if moved:
            self._pending = [piece.moved(moved) for piece in self._pending]
        self.headers, self._doubtful = headers, _NOWHERE
        self._close_file()

    def trim(self) -> None:
        """Cut off what is not trusted: the next opening makes it anew."""
        end = min(self._doubtful, self.headers[-1].end if self.headers else 0)
        try:
            if self._folder.size(CACHE) > end:
                self._folder.cut(CACHE, end)
                self._files.forget(CACHE)
        except FileNotFoundError:
            return
        except OSError as exc:
            self._drop(exc)

    def close(self) -> None:
        """Close the file that it writes."""
        if self._writes and self._doubtful < _NOWHERE:
            self.trim()
        self._close_file()

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _joined(self, pending: Sequence[Piece | Run]) -> Piece:
        """One piece of several; runs come after all else, and become one together."""
        pieces = [each for each in pending if isinstance(each, Piece)]
        runs = [each for each in pending if isinstance(each, Run)]
        return join([*pieces, Run.joined(runs).piece(packed=self.file.packed)] if runs else pieces)

    def _drop(self, error: Exception) -> None:
        logger("pmll.jsonl").warning(
            "store.cache.dropped", path=self._folder.named(CACHE), error=repr(error)
        )
        self._writes = False
        self._pending = []

    def _write(self, piece: Piece) -> None:
        # A small last block, from a clean close, grows instead of being followed by others.
        headers, last = self.headers, self.headers[-1] if self.headers else None
        room = 0 if self.is_copied else self._block_records
        if last and piece.sizes.records + last.sizes.records <= room:
            before = self.file.whole(last)
            if before is not None:
                headers, piece = headers[:-1], join([before, piece])
        position, root = (headers[-1].end, headers[-1].root) if headers else (0, ROOT_DIGEST)
        header, parts = self.file.encode(piece, position, root)
        self._overwrite(position, parts)
        self.headers = [*headers, header]
        self.written += 1

    def _overwrite(self, position: int, parts: Sequence[bytes]) -> None:
        if self._fd < 0:
            self._fd = self._opened(position)
        os.ftruncate(self._fd, position)
        size = sum(map(len, parts))
        # A disk that fills up takes less than it is given, and says nothing.
        if os.pwritev(self._fd, parts, position) != size:
            os.ftruncate(self._fd, position)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _opened(self, position: int) -> int:
        """The file for writing, one of its own where a copy of the folder shares it."""
        self._folder.make_folder(CACHE_FOLDER)
        there = self._folder.stat(CACHE)
        if there is not None and there.st_nlink > 1:
            self._folder.copy([(CACHE, 0, position)], CACHE)
            self._files.forget(CACHE)
        return self._folder.open(CACHE, os.O_WRONLY | os.O_CREAT)


def roots_of(headers: Sequence[CachedBlock]) -> tuple[tuple[int, str], ...]:
    """The roots of blocks that a manifest lists, with their numbers of blocks.

    The last block but one has its own: the last is overwritten when it grows.
    """
    numbered = list(enumerate(headers, 1))[-2:]
    return tuple((k, header.root.hex()) for k, header in numbered)
