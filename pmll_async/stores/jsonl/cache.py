"""The cache: blocks of columns, keys and contexts behind each other in one file.

It only saves time. Every header and section has its own CRC-32C, a header names the store, where
its records end in the log and the checksum of the last one, and whoever loads it holds all of that
against the log. What does not hold is derived from the log again; no error here fails a write.
"""

from __future__ import annotations

import errno
import os
import struct
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np

from pmll_async.columns import Block
from pmll_async.protocols import StoreHeader
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.folder import CACHE, log_warning
from pmll_async.stores.jsonl.framing import crc32c
from pmll_async.stores.jsonl.pieces import (
    Piece,
    Sizes,
    decode_columns,
    decode_contexts,
    encode_columns,
    encode_contexts,
    encode_keys,
    join,
)

_MAGIC: Final = b"PMLLBLK1"
# magic, store, first, records, lines, vectors, last, stop, checksum of the last record, digest,
# then bytes and checksum of the columns, the keys and the contexts, then the header's checksum
_HEADER: Final = struct.Struct("<8s16sQQQQQQ8s32sQIQIQII")
HEADER_BYTES: Final = _HEADER.size
_NOWHERE: Final = 1 << 62
# Joining a thousand pieces of one record takes 5 ms in which no other thread runs; by dozens, less.
_TOGETHER: Final = 32


@dataclass(frozen=True, slots=True)
class CachedBlock:
    """A header: records `first` … `stop - 1`, whose last begins at `last` and ends at `place`.

    `checksum` is the text of the last record's `c`. `position` is the header's own in the file.
    """

    position: int
    first: int
    sizes: Sizes
    last: int
    place: int
    checksum: bytes
    digest: bytes
    lengths: tuple[int, int, int]
    checksums: tuple[int, int, int]

    @property
    def stop(self) -> int:
        """The revision after it."""
        return self.first + self.sizes.records

    @property
    def end(self) -> int:
        """Where the next header is in the file."""
        return self.position + HEADER_BYTES + sum(self.lengths)

    def section(self, i: int) -> int:
        """Where its i-th section begins in the file."""
        return self.position + HEADER_BYTES + sum(self.lengths[:i])


def read_headers(files: Files, store_id: str, dim: int) -> list[CachedBlock]:
    """The headers that follow each other without a flaw from the beginning of the file."""
    found: list[CachedBlock] = []
    while True:
        position, first = (found[-1].end, found[-1].stop) if found else (0, 0)
        try:
            raw = files.read(CACHE, HEADER_BYTES, position)
        except FileNotFoundError:
            return found
        header = parse_header(raw, position, store_id)
        if header is None or header.first != first or not header.sizes.records:
            return found
        if header.lengths[1] != header.sizes.vectors * dim * 4:
            return found
        found.append(header)


def parse_header(raw: bytes, position: int, store_id: str) -> CachedBlock | None:
    """The header that these bytes are, or None."""
    if len(raw) != HEADER_BYTES:
        return None
    magic, store, first, records, lines, vectors, last, place, checksum, digest, *rest = (
        _HEADER.unpack(raw)
    )
    if magic != _MAGIC or store.hex() != store_id or rest[-1] != crc32c(raw[:-4]):
        return None
    return CachedBlock(
        position=position,
        first=first,
        sizes=Sizes(records, lines, vectors),
        last=last,
        place=place,
        checksum=checksum,
        digest=digest,
        lengths=(rest[0], rest[2], rest[4]),
        checksums=(rest[1], rest[3], rest[5]),
    )


def read_block(files: Files, header: CachedBlock, dim: int) -> tuple[Block, array[int]] | None:
    """The block of a header and where its records end; None when its bytes do not hold."""
    keys = np.empty((header.sizes.vectors, dim), dtype="<f4")
    columns = _section(files, header, 0)
    if columns is None or not files.read_into(CACHE, keys, header.section(1)):
        return None
    if crc32c(keys) != header.checksums[1]:
        return None
    try:
        return decode_columns(columns, header.sizes, header.first, header.digest, keys)
    except (LookupError, TypeError, ValueError):
        return None


def read_contexts(files: Files, header: CachedBlock, first: int, stop: int) -> list[bytes] | None:
    """The contexts of records `first` … `stop - 1`; None when the section does not hold."""
    section = _section(files, header, 2)
    if section is None:
        return None
    return decode_contexts(section, header.sizes, first - header.first, stop - header.first)


def read_whole(files: Files, header: CachedBlock, dim: int) -> Piece | None:
    """All of a cached block; None when its bytes do not hold."""
    found = read_block(files, header, dim)
    contexts = read_contexts(files, header, header.first, header.stop)
    if found is None or contexts is None:
        return None
    return Piece(*found, contexts, header.last, header.checksum)


def encode_block(
    piece: Piece, position: int, store_id: str
) -> tuple[CachedBlock, list[bytes | memoryview]]:
    """The header of a piece at a position of the file, and what is written there."""
    columns, keys, contexts = encode_columns(piece), encode_keys(piece), encode_contexts(piece)
    lengths = (len(columns), keys.nbytes, len(contexts))
    checksums = (crc32c(columns), crc32c(keys), crc32c(contexts))
    sizes, block = piece.sizes, piece.block
    header = CachedBlock(
        position=position,
        first=block.first,
        sizes=sizes,
        last=piece.last,
        place=piece.ends[-1],
        checksum=piece.checksum,
        digest=block.digest,
        lengths=lengths,
        checksums=checksums,
    )
    raw = _HEADER.pack(
        *(_MAGIC, bytes.fromhex(store_id), block.first, sizes.records, sizes.lines, sizes.vectors),
        *(header.last, header.place, header.checksum, block.digest),
        *chain.from_iterable(zip(lengths, checksums, strict=True)),
        0,
    )[:-4]
    return header, [raw + crc32c(raw).to_bytes(4, "little"), columns, keys.data, contexts]


def section_holds(files: Files, header: CachedBlock, i: int) -> bool:
    """Whether the checksum of the i-th section does."""
    return _section(files, header, i) is not None


def _section(files: Files, header: CachedBlock, i: int) -> bytes | None:
    try:
        section = files.read(CACHE, header.lengths[i], header.section(i))
    except FileNotFoundError:
        return None
    return section if crc32c(section) == header.checksums[i] else None


class Cache:
    """The cache of one open store, and the pieces of records that are not in it yet.

    One thread writes; any thread asks for contexts, so that lists are replaced rather than cut.
    """

    def __init__(
        self,
        folder: Path,
        files: Files,
        header: StoreHeader,
        *,
        block_records: int,
        writes: bool,
    ) -> None:
        self._path, self._files = folder / CACHE, files
        self._store, self._dim = header.store_id, header.dim
        self._block_records, self._writes = block_records, writes
        self._pending: list[Piece] = []
        self._loose = 0
        self._fd = -1
        # Where the first block lies whose contexts turned out damaged: nobody reads them at load.
        self._doubtful = _NOWHERE
        self.headers = read_headers(files, self._store, self._dim)

    def keep(self, blocks: int) -> None:
        """Trust only the first so many blocks."""
        self.headers = self.headers[:blocks]

    def block(self, header: CachedBlock) -> tuple[Block, array[int]] | None:
        """The block of a header and where its records end; None when its bytes do not hold."""
        return read_block(self._files, header, self._dim)

    def contexts(self, n: int, stop: int) -> tuple[list[bytes], int] | None:
        """Contexts of the lines of record `n` and those after it, and the record that is next.

        None when only the log has them.
        """
        # In this order: what leaves the one list meanwhile is in the other by then.
        pending, headers = list(self._pending), self.headers
        i = bisect_right(headers, n, key=lambda header: header.first) - 1
        if i >= 0 and n < headers[i].stop:
            end = min(stop, headers[i].stop)
            contexts = read_contexts(self._files, headers[i], n, end)
            if contexts is not None:
                return contexts, end
            self._doubtful = min(self._doubtful, headers[i].position)
            return None
        for piece in pending:
            if piece.block.first <= n < piece.block.stop:
                end = min(stop, piece.block.stop)
                return piece.contexts_of(n, end), end
        return None

    def add(self, piece: Piece, durable: int) -> None:
        """Take what was appended to the log; what came before it may be written.

        One batch late, so that a block holds no record that an unclean opening has to move.
        """
        if not self._writes:
            return
        if (
            self._pending
            and piece.block.first - self._pending[0].block.first >= self._block_records
        ):
            self.flush(durable)
        self._pending.append(piece)
        self._loose += 1
        if self._loose == _TOGETHER:
            joined = join(self._pending[-_TOGETHER:])
            self._pending = [*self._pending[:-_TOGETHER], joined]
            self._loose = 0

    def flush(self, durable: int) -> None:
        """Write a block of what is pending and known durable."""
        count = sum(piece.block.stop <= durable for piece in self._pending)
        if not count or not self._writes:
            return
        try:
            self._write(join(self._pending[:count]))
        except OSError as exc:
            self._drop(exc)
        else:
            self._pending = self._pending[count:]
            self._loose = min(self._loose, len(self._pending))

    def trim(self) -> None:
        """Cut off what is not trusted: the next opening makes it anew."""
        end = min(self._doubtful, self.headers[-1].end if self.headers else 0)
        try:
            if self._path.stat().st_size > end:
                os.truncate(self._path, end)
        except FileNotFoundError:
            return
        except OSError as exc:
            self._drop(exc)

    def close(self) -> None:
        """Close the file that it writes."""
        if self._writes and self._doubtful < _NOWHERE:
            self.trim()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _drop(self, error: OSError) -> None:
        log_warning("store.cache.dropped", path=str(self._path), error=str(error))
        self._writes = False
        self._pending = []

    def _write(self, piece: Piece) -> None:
        # A small last block, from a clean close, grows instead of being followed by others.
        headers, last = self.headers, self.headers[-1] if self.headers else None
        if last and piece.sizes.records + last.sizes.records <= self._block_records:
            before = read_whole(self._files, last, self._dim)
            if before is not None:
                headers, piece = headers[:-1], join([before, piece])
        position = headers[-1].end if headers else 0
        header, parts = encode_block(piece, position, self._store)
        self._overwrite(position, parts)
        self.headers = [*headers, header]

    def _overwrite(self, position: int, parts: Sequence[bytes | memoryview]) -> None:
        if self._fd < 0:
            self._path.parent.mkdir(exist_ok=True)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o666)
        os.ftruncate(self._fd, position)
        size = sum(memoryview(part).nbytes for part in parts)
        if os.pwritev(self._fd, parts, position) != size:
            os.ftruncate(self._fd, position)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
