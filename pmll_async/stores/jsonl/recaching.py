"""The cache of a log that is written anew: a new file beside the old one, until it takes its place.

The old one goes on growing meanwhile, and the new one catches up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from pmll_async.loop.breathing import Breather
from pmll_async.stores.jsonl.blockfile import CachedBlock
from pmll_async.stores.jsonl.cache import Cache
from pmll_async.stores.jsonl.directory import Directory, remove, write_all
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.folder import CACHE
from pmll_async.stores.jsonl.pieces import Piece
from pmll_async.values.anchors import ROOT_DIGEST

_NEW: Final = f"{CACHE}.new"


class Recaching:
    """The new file of a cache in which nothing changes, or moves, before record `first`."""

    def __init__(self, folder: Directory, files: Files, cache: Cache, first: int) -> None:
        self._folder, self._files, self._cache = folder, files, cache
        # What a crash left of one may have all of what is erased.
        self._remove()
        cache.trim()
        cache.is_copied = True
        self._same = [header for header in cache.headers if header.stop <= first]
        self._made = list(self._same)
        self._taken = len(self._same)
        self._has_file = False

    @property
    def made(self) -> list[CachedBlock]:
        """The blocks of the new file."""
        return self._made

    @property
    def is_behind(self) -> bool:
        """Whether the old file has blocks that were not looked at yet."""
        return self._taken < len(self._cache.headers)

    def catch_up(self, changed: Callable[[Piece], Piece]) -> None:
        """Write what the old file has and the new one has not; what cannot be read ends it.

        The next opening makes the rest. Durable when it returns.
        """
        breathe, count = Breather(), len(self._made)
        for header in self._cache.headers[self._taken :]:
            breathe()
            piece = self._cache.file.whole(header) if self._taken == len(self._made) else None
            self._taken += 1
            if piece is not None:
                self._write(changed(piece))
        if len(self._made) > count:
            with self._folder.opened(_NEW, os.O_RDWR) as fd:
                os.fsync(fd)

    def _write(self, piece: Piece) -> None:
        position, root = (
            (self._made[-1].end, self._made[-1].root) if self._made else (0, ROOT_DIGEST)
        )
        header, parts = self._cache.file.encode(piece, position, root)
        if not self._has_file:
            self._folder.copy([(CACHE, 0, position)] if position else [], _NEW)
            self._has_file = True
        with self._folder.opened(_NEW, os.O_WRONLY | os.O_APPEND) as fd:
            for part in parts:
                write_all(fd, part)
        self._made.append(header)

    def leave_the_old(self) -> None:
        """Cut off the old file what does not fit the new log; the old log has it a moment less."""
        self._cache.adopt(self._same)
        self._cache.trim()

    def take_over(self, moved: int) -> None:
        """Let the new file be the cache of the new log, which has become so much longer."""
        self._cache.is_copied = False
        # What is pending has moved, whatever comes of the file.
        self._cache.adopt(self._same, moved)
        if self._has_file:
            self._folder.rename(_NEW, CACHE)
            self._files.forget(CACHE)
        self._cache.adopt(self._made)

    def give_up(self) -> None:
        """Leave the cache to the old log."""
        self._cache.is_copied = False
        self._remove()

    def _remove(self) -> None:
        remove(self._folder, (f"{_NEW}.tmp", _NEW))
