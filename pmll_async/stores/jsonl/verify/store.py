"""Checking every byte of a store without changing one."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, TypeVar

from pmll_async.errors import CorruptionError, StoreError, WrongKeyError
from pmll_async.records.findings import Finding, Progress, Report, Severity, Watch, status_of
from pmll_async.stores.jsonl.directory import Directory, NotPlainError, store_folder, translated
from pmll_async.stores.jsonl.folder import (
    LOCK,
    MANIFEST,
    STORE,
    Manifest,
    read_manifest,
    read_store,
)
from pmll_async.stores.jsonl.lock import Holder, has_writer, read_holder
from pmll_async.stores.jsonl.segments import Segment, locate, plain_table, segment_files
from pmll_async.stores.jsonl.verify.cache import CacheCheck
from pmll_async.stores.jsonl.verify.log import LogCheck, LogPlace
from pmll_async.values.anchors import ROOT_ANCHOR, Hasher

# A writer replaces a file, or its line in LOCK, in far less than this twentieth of a second.
_ATTEMPTS: Final = 5
_PAUSE: Final = 0.01
# More lines at once take as long each.
_MANY: Final = 256
T = TypeVar("T")


def verify(
    path: str | os.PathLike[str],
    integrity_key: bytes | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Report:
    """Check every file of the store at `path`; damage is reported, never raised or repaired.

    `progress` is told bytes, and `watch` each record. Beside a live writer the records that are
    durable now are checked. A torn end is told from damage as opening does it. Raises
    `WrongKeyError` for another key than the store's, `FormatError` for a store of a later version,
    and `StoreError` where there is none.
    """
    return check(Path(path), Hasher(integrity_key), progress, watch)


def check(
    path: Path, hasher: Hasher, progress: Progress | None = None, watch: Watch | None = None
) -> Report:
    """`verify`, for who has a hasher."""
    with translated(str(path)), closing(store_folder(path)) as folder:
        if folder.stat(STORE) is None and not segment_files(folder):
            raise StoreError(f"{path} is not a store")
        for _ in range(_ATTEMPTS):
            # A writer that recovers beside us replaces segments: then look again.
            with suppress(FileNotFoundError):
                return _Verification(folder, hasher, progress, watch).report()
        return _Verification(folder, hasher, progress, watch).report()


class _Verification:
    def __init__(
        self,
        folder: Directory,
        hasher: Hasher,
        progress: Progress | None,
        watch: Watch | None,
    ) -> None:
        self._folder, self._hasher = folder, hasher
        self._progress, self._watch = progress, watch
        self._findings: list[Finding] = []
        self._live = self._has_writer()
        self._holder = self._read_holder()
        self._header = self._or_told(read_store, folder)
        if self._header and self._header.key_check != hasher.check_value():
            raise WrongKeyError(str(folder.path), bool(self._header.key_check))
        store_id = self._header.store_id if self._header else ""
        self._manifest = self._or_told(read_manifest, folder, store_id) or Manifest(store_id)
        self._table = self._or_told(locate, folder, self._manifest) or plain_table(folder)

    def report(self) -> Report:
        with closing(
            CacheCheck(self._folder, self._header, self._hasher, live=self._live)
        ) as cache:
            log = LogCheck(self._manifest, self._header, self._hasher, cache, self._watch)
            self._read_through(log)
            self._judge(log)
            first = self._table.segments[0].file if self._table.segments else MANIFEST
            erasures = log.chain.erasures(first)
            # A live writer is about to remove what it has just erased.
            self._findings += [e for e in erasures if not self._live or e.severity != "torn"]
            self._findings += cache.finish(log.keep.n)
        keep = log.keep
        return Report(
            findings=tuple(self._findings),
            records=keep.n,
            lines=log.chain.length(keep.n),
            head=log.chain.head(keep.n) or ROOT_ANCHOR,
            digest=keep.digest.hex() if keep.digest else "",
            status=status_of(self._findings),
            store=self._header.store_id if self._header else "",
            keyed=self._hasher.keyed,
            erased=log.chain.erased,
        )

    def _read_through(self, log: LogCheck) -> None:
        for segment, offset, lines in self._together(log):
            log.lines(segment, offset, lines)
            if self._progress is not None:
                place = segment.base + offset + sum(map(len, lines))
                self._progress(place, self._table.stop)

    def _together(self, log: LogCheck) -> Iterator[tuple[Segment, int, list[bytes]]]:
        """The lines of the log as many at once as `log` may take, and are of one segment."""
        begun: tuple[Segment, int] | None = None
        lines, most = list[bytes](), 0
        for segment, offset, line in self._table.lines(self._folder, 0):
            if begun and (segment is not begun[0] or len(lines) >= most):
                yield *begun, lines
                begun, lines = None, []
            if begun is None:
                begun, most = (segment, offset), min(log.due, _MANY)
            lines.append(line)
        if begun:
            yield *begun, lines

    def _judge(self, log: LogCheck) -> None:
        """Tell torn from damaged, as opening would, and leave alone what is being written."""
        keep, durable = log.keep, log.proven
        if self._live and self._holder:
            durable = max(durable, self._holder.durable)
        found = list(log.findings)
        if durable > keep.n:
            found += log.later
            if log.broken is None:
                reason = "durable records are missing or part of an unfinished group"
                found.append(self._at(keep, "damage", reason))
        elif (log.broken or log.group) and not self._live:
            found.append(self._at(keep, "torn", log.reason or "a group is not finished"))
        self._findings += [f for f in found if not self._live or f.n is None or f.n < durable]

    def _at(self, point: LogPlace, severity: Severity, reason: str) -> Finding:
        last = self._table.segments[-1].file if self._table.segments else MANIFEST
        return Finding(severity, point.file or last, point.offset, point.n, reason)

    def _has_writer(self) -> bool:
        try:
            return has_writer(self._folder)
        except NotPlainError as exc:
            self._findings.append(Finding("damage", LOCK, 0, None, str(exc.strerror)))
            return False

    def _read_holder(self) -> Holder | None:
        lock = self._folder.stat(LOCK)
        if lock is None or not lock.st_size or not stat.S_ISREG(lock.st_mode):
            return None
        for _ in range(_ATTEMPTS):
            holder = read_holder(self._folder)
            if holder is not None or not self._folder.size(LOCK):
                return holder
            # A writer may be writing it this moment.
            time.sleep(_PAUSE)
        # It is not synced, so that a crash may leave anything in it; the next writer makes it anew.
        self._findings.append(Finding("torn", LOCK, 0, None, "it is not what a writer writes"))
        return None

    def _or_told(self, read: Callable[..., T], *arguments: object) -> T | None:
        """What was read, or None after telling of the damage that kept it from being read."""
        try:
            return read(*arguments)
        except CorruptionError as exc:
            name = Path(exc.file).name
            self._findings.append(Finding("damage", name, exc.offset, exc.n, exc.reason))
            return None
