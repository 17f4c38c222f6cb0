"""Looking at the end of a log: which frames hold, what they prove, and what is torn."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from pmll_async.errors import CorruptionError
from pmll_async.records.chain import group_flaw
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.folder import Manifest
from pmll_async.stores.jsonl.frames import BadFrameError, FrameHead, check_frame
from pmll_async.stores.jsonl.segments import Table


@dataclass(slots=True)
class Scan:
    """What the frames from `first`, at `place`, on say; `ends` is where each that holds ends.

    `proven` is the largest number of records that any frame, also one behind a bad place, says are
    durable. `group` is the first record of an unfinished group. `bad` is the error for what is not
    torn, of the first place where the log stops making sense.
    """

    first: int
    place: int
    proven: int
    ends: array[int] = field(default_factory=lambda: array("q"))
    group: int | None = None
    following: int = 0
    bad: CorruptionError | None = None

    @property
    def stop(self) -> int:
        """The number of the first record that is not there."""
        return self.first + len(self.ends)

    @property
    def keep(self) -> int:
        """How many records remain when an unfinished group is left out."""
        return self.stop if self.group is None else self.group

    def place_of(self, n: int) -> int:
        """Where record `n`, or the end of those that hold, is."""
        return self.place if n == self.first else self.ends[n - self.first - 1]


def scan_frames(folder: Directory, table: Table, place: int, first: int, proven: int) -> Scan:
    """Check every frame from a place on, where record `first` is due.

    Raises `CorruptionError` where a frame that holds cannot follow the one before it.
    """
    scan = Scan(first, place, proven)
    for segment, offset, line in table.lines(folder, place):
        try:
            head = check_frame(line)
        except BadFrameError as exc:
            file = folder.named(segment.file)
            scan.bad = scan.bad or CorruptionError(file, offset, str(exc), scan.stop)
            continue
        scan.proven = max(scan.proven, head.d)
        if scan.bad is None:
            if reason := out_of_order(head, scan.stop, scan.following):
                raise CorruptionError(folder.named(segment.file), offset, reason, scan.stop)
            if not head.g:
                scan.group = None
            elif scan.group is None:
                scan.group = scan.stop
            scan.following = head.g
            scan.ends.append(segment.base + offset + len(line))
    return scan


def out_of_order(head: FrameHead, due: int, following: int) -> str:
    """Why this frame cannot be that of record `due`, `following` more of a group being due."""
    if head.n != due:
        return f"record {head.n} stands where record {due} is due"
    if head.d > head.n:
        return f"it says that {head.d} records before it are durable"
    return group_flaw(head.g, following)


def settle(scan: Scan, folder: Directory, table: Table, manifest: Manifest) -> None:
    """The torn rule: `CorruptionError` if what cannot be kept is proven to have been durable."""
    if max(scan.proven, manifest.records) <= scan.keep:
        return
    if scan.bad is not None:
        raise scan.bad
    place = scan.place_of(scan.keep)
    segment = table.at(place)
    what = "missing" if scan.group is None else "part of an unfinished group"
    reason = f"durable records are {what}"
    raise CorruptionError(folder.named(segment.file), place - segment.base, reason, scan.keep)
