"""The file of the cache: blocks of columns, keys and contexts behind each other, read and encoded.

A header names the store, where its records end in the log and the checksum of the last one, and
whoever loads it holds that against the log. A header has the root of each of its sections, and the
manifest that of all headers up to one: what was not written by who wrote the manifest, or in a
keyed store by who has the key, is not trusted.
"""

from __future__ import annotations

import struct
from array import array
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Final

from pmll_async.records.blocks import Block
from pmll_async.records.chain import NOT_OURS
from pmll_async.stores.jsonl.compression import compress, decompress
from pmll_async.stores.jsonl.directory import NotPlainError
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.folder import CACHE, FolderHeader
from pmll_async.stores.jsonl.frames import crc32c
from pmll_async.stores.jsonl.keys import PackedKeys, decode_keys, encode_keys, most_bytes
from pmll_async.stores.jsonl.pieces import (
    Piece,
    Sizes,
    decode_columns,
    decode_contexts,
    encode_columns,
    encode_contexts,
)
from pmll_async.values.anchors import ROOT_DIGEST, Hasher
from pmll_async.values.room import RoomPool

# Of a store of plain keys, and of one whose keys are packed and whose blocks are compressed.
_MAGICS: Final = (b"PMLLBLK3", b"PMLLBLK4")
# magic, store, first, records, lines, vectors, last, stop, checksum of the last record, digest,
# then bytes and root of the columns, the keys and the contexts, then the header's CRC-32C
_HEADER: Final = struct.Struct("<8s16sQQQQQQ8s32sQ32sQ32sQ32sI")
HEADER_BYTES: Final = _HEADER.size
_AHEAD: Final = 4
"""Blocks read before the first of them is taken; a few megabytes each."""


@dataclass(frozen=True, slots=True)
class CachedBlock:
    """A header: records `first` … `stop - 1`, whose last begins at `last` and ends at `place`.

    `checksum` is the text of the last record's `c`. `position` is the header's own in the file,
    `sections` are the roots of its sections, and `root` that of all headers up to this one.
    """

    position: int
    first: int
    sizes: Sizes
    last: int
    place: int
    checksum: bytes
    digest: bytes
    lengths: tuple[int, int, int]
    sections: tuple[bytes, bytes, bytes]
    root: bytes

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


class BlockFile:
    """Reads the cache of one store, whoever writes it."""

    def __init__(self, files: Files, header: FolderHeader, hasher: Hasher) -> None:
        self._files, self._hasher = files, hasher
        self._store, self._dim = header.store_id, header.dim
        self.packed, self._magic = header.packed, _MAGICS[header.packed]

    def headers(self) -> list[CachedBlock]:
        """The headers that follow each other without a flaw from the beginning of the file."""
        found: list[CachedBlock] = []
        while True:
            position, first = (found[-1].end, found[-1].stop) if found else (0, 0)
            raw = self._read(HEADER_BYTES, position)
            header = self.parse_header(raw, position, found[-1].root if found else ROOT_DIGEST)
            if header is None or header.first != first or not header.sizes.records:
                return found
            # An array of the header's size is made before the bytes are read into it.
            if header.lengths[1] > most_bytes(header.sizes.vectors, self._dim):
                return found
            found.append(header)

    def parse_header(self, raw: bytes, position: int, before: bytes) -> CachedBlock | None:
        """The header that these bytes are, behind headers with a root, or None."""
        if len(raw) != HEADER_BYTES:
            return None
        magic, store, first, records, lines, vectors, last, place, checksum, digest, *rest = (
            _HEADER.unpack(raw)
        )
        if magic != self._magic or store.hex() != self._store or rest[-1] != crc32c(raw[:-4]):
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
            sections=(rest[1], rest[3], rest[5]),
            root=self._hasher.section(before + raw),
        )

    def block(
        self, header: CachedBlock, room: RoomPool | None = None
    ) -> tuple[Block, array[int]] | None:
        """The block of a header and where its records end; None when its bytes do not hold."""
        found = self._decoded(header, RoomPool() if room is None else room)
        return None if found is None else found[:2]

    def _decoded(
        self, header: CachedBlock, room: RoomPool
    ) -> tuple[Block, array[int], PackedKeys] | None:
        section = room.bytes(header.lengths[1])
        columns = self.section(header, 0)
        if columns is None or not self._files.read_into(CACHE, section, header.section(1)):
            return None
        if self._hasher.section(section.data) != header.sections[1]:
            return None
        count, packed = header.sizes.vectors, PackedKeys()
        try:
            if self.packed:
                columns = decompress(columns)
                keys, packed = decode_keys(section, count, self._dim)
            else:
                keys = section.view("<f4").reshape(count, self._dim)
            block, ends = decode_columns(columns, header.sizes, header.first, header.digest, keys)
        except NOT_OURS:
            return None
        return block, ends, packed

    def blocks(
        self, headers: Sequence[CachedBlock]
    ) -> Generator[tuple[Block, array[int]] | None, None, None]:
        """The blocks of some headers, each as of `block`.

        Reading and hashing hold no interpreter lock: two threads do it ahead of whoever takes them.
        """
        if len(headers) < _AHEAD:
            yield from map(self.block, headers)
            return
        room = RoomPool()
        with ThreadPoolExecutor(2, "pmll-load") as threads:
            ahead: deque[Future[tuple[Block, array[int]] | None]] = deque()
            for header in headers:
                ahead.append(threads.submit(self.block, header, room))
                if len(ahead) == _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def contexts(self, header: CachedBlock, first: int, stop: int) -> list[bytes] | None:
        """The contexts of records `first` … `stop - 1`; None when the section does not hold."""
        section = self.section(header, 2)
        if section is None:
            return None
        if self.packed:
            section = decompress(section)
        return decode_contexts(section, header.sizes, first - header.first, stop - header.first)

    def whole(self, header: CachedBlock) -> Piece | None:
        """All of a cached block; None when its bytes do not hold."""
        found = self._decoded(header, RoomPool())
        contexts = self.contexts(header, header.first, header.stop)
        if found is None or contexts is None:
            return None
        block, ends, packed = found
        return Piece(block, ends, contexts, packed, header.last, header.checksum)

    def encode(self, piece: Piece, position: int, before: bytes) -> tuple[CachedBlock, list[bytes]]:
        """The header of a piece, behind headers with a root, and what is written at a position."""
        sizes, block = piece.sizes, piece.block
        keys = encode_keys(block.keys, piece.packed if self.packed else None)
        columns, contexts = encode_columns(piece), encode_contexts(piece)
        if self.packed:
            columns, contexts = compress(columns), compress(contexts)
        parts = [columns, keys, contexts]
        sections = [(len(part), self._hasher.section(part)) for part in parts]
        raw = _HEADER.pack(
            *(self._magic, bytes.fromhex(self._store)),
            *(block.first, sizes.records, sizes.lines, sizes.vectors),
            *(piece.last, piece.ends[-1], piece.checksum, block.digest),
            *chain.from_iterable(sections),
            0,
        )[:-4]
        raw += crc32c(raw).to_bytes(4, "little")
        header = self.parse_header(raw, position, before)
        if header is None:
            raise ValueError("a header that was just written cannot be read")
        return header, [raw, *parts]

    def section(self, header: CachedBlock, i: int) -> bytes | None:
        """The bytes of the i-th section, 0 columns, 1 keys, 2 contexts; None unless they hold."""
        section = self._read(header.lengths[i], header.section(i))
        return section if self._hasher.section(section) == header.sections[i] else None

    def _read(self, size: int, position: int) -> bytes:
        try:
            return self._files.read(CACHE, size, position)
        except (FileNotFoundError, NotPlainError):
            return b""
