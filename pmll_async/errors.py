"""Every error that pmll-async raises on purpose.

::

    PmllError
    ├── InvalidInputError (ValueError)
    │   ├── DimensionMismatchError
    │   ├── InvalidVectorError
    │   ├── InvalidContextError
    │   │   └── TextTooLongError
    │   ├── InvalidFilterError
    │   │   └── UnknownFieldError
    │   └── MalformedExportError
    ├── LineNotFoundError (LookupError)
    ├── LineErasedError (LookupError)
    ├── StaleAnchorError
    ├── ConflictError
    ├── NotNovelError
    ├── PinnedError (ValueError)
    ├── NoWinnerError
    ├── SealError
    ├── LatticeClosedError (RuntimeError)
    ├── WrongEventLoopError (RuntimeError)
    ├── ReentrantError (RuntimeError)
    └── StoreError
        ├── StoreLockedError
        ├── StoreMovedError
        ├── ErasureUnfinishedError
        ├── NotStoredError
        │   └── StoreFullError (OSError)
        ├── ReadOnlyStoreError
        ├── DurabilityUnknownError (OSError)
        ├── CorruptionError
        ├── FormatError
        ├── WrongKeyError
        ├── WrongSecretError
        └── KeyringError

The facts of an error are its attributes; the message is made from them and names the cure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal


class PmllError(Exception):
    """The root of every error of this package.

    `stored` is set by `put_many`: how many lines it had stored when the error stopped it.
    """

    stored: int | None = None


def copy_error(error: Exception) -> Exception:
    """An equal error for another caller, so that notes and tracebacks are each one's own."""
    # Not by calling the class, whose parameters are not the message that `args` has.
    copy = type(error).__new__(type(error), *error.args)
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    copy.__cause__, copy.__suppress_context__ = error.__cause__, error.__suppress_context__
    return copy


class InvalidInputError(PmllError, ValueError):
    """An argument cannot be used; nothing was read or written."""


class DimensionMismatchError(InvalidInputError):
    """A vector, or the lattice itself, has another number of dimensions than it must have."""

    def __init__(self, what: str, expected: int | None, actual: int | None) -> None:
        self.what, self.expected, self.actual = what, expected, actual
        super().__init__(self._message())

    def _message(self) -> str:
        if self.expected is None:
            return "a new store needs the dimension of its key vectors: pass dim=..."
        return (
            f"{self.what} has {self.actual} dimensions where the lattice has {self.expected}; "
            f"use vectors of {self.expected} or another store"
        )


class InvalidVectorError(InvalidInputError):
    """A vector that cannot be stored or compared."""

    def __init__(self, what: str, reason: str) -> None:
        self.what, self.reason = what, reason
        super().__init__(f"{what}: {reason}")


class InvalidContextError(InvalidInputError):
    """A context that is not plain JSON within the limits; `path` is the place of the offence."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"context at {path or 'its root'}: {reason}")


class TextTooLongError(InvalidContextError):
    """A text of `length` characters, whose line would take `size` bytes where `limit` may be."""

    def __init__(self, length: int, size: int, limit: int) -> None:
        self.length, self.size, self.limit = length, size, limit
        self.path, self.reason = "pmll.text", f"{size} bytes are over the limit of {limit}"
        PmllError.__init__(
            self,
            f"text has {length} characters, and with what is stored beside it takes {size} bytes, "
            f"over the limit of {limit}: remember it in parts, or raise Limits(context_bytes=...)",
        )


class InvalidFilterError(InvalidInputError):
    """A `where` filter that cannot be evaluated; `path` is the place of the offence."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"where filter at {path or 'its root'}: {reason}")


class UnknownFieldError(InvalidFilterError):
    """Nothing matches a `where`, because no line has a field of this name in its context."""

    def __init__(self, path: str, cure: str) -> None:
        super().__init__(path, f"no line has this field in its context; {cure}")


class MalformedExportError(InvalidInputError):
    """Line `line` of an export, counted from 1, is not what an export has there.

    `stored` is how many records were in the store by then.
    """

    def __init__(self, line: int, reason: str, stored: int = 0) -> None:
        self.line, self.reason, self.stored = line, reason, stored
        super().__init__(f"line {line} of the export: {reason}")


class LineNotFoundError(PmllError, LookupError):
    """No line has this anchor or idempotency key."""

    def __init__(self, name: str, what: str = "anchor") -> None:
        self.name, self.what = name, what
        super().__init__(f"no line has the {what} {name!r} here")


class LineErasedError(PmllError, LookupError):
    """The line's content was erased for good; its place on the chain is kept."""

    def __init__(self, anchor: str) -> None:
        self.anchor = anchor
        super().__init__(f"the content of line {anchor} was erased")


class StaleAnchorError(PmllError):
    """The chain has moved on from the anchor that the caller built on; nothing was stored."""

    def __init__(self, given: str, current: str, reason: str = "is no longer the head") -> None:
        self.given, self.current = given, current
        super().__init__(
            f"{given} {reason}; the head is {current}: read it again and repeat the call"
        )


class ConflictError(PmllError):
    """The idempotency key already stands for other content, under `anchor`."""

    def __init__(self, key: str, anchor: str) -> None:
        self.key, self.anchor = key, anchor
        super().__init__(
            f"idempotency key {key!r} already stands for other content, line {anchor}; "
            "use a new key for new content"
        )


class NotNovelError(PmllError):
    """The line is closer to a stored one, `nearest`, than `min_novelty` allows."""

    def __init__(self, novelty: float, min_novelty: float, nearest: str) -> None:
        self.novelty, self.min_novelty, self.nearest = novelty, min_novelty, nearest
        super().__init__(
            f"novelty {novelty:.6g} is under min_novelty {min_novelty:.6g}; "
            f"the nearest line is {nearest}"
        )


class PinnedError(PmllError, ValueError):
    """The fact `name` is fixed as `pinned` for ever, and `given` is another value."""

    def __init__(self, name: str, pinned: str, given: str) -> None:
        self.name, self.pinned, self.given = name, pinned, given
        super().__init__(
            f"{name!r} is pinned to {pinned!r} here and cannot become {given!r}; "
            f"use {pinned!r}, or a new store"
        )


class NoWinnerError(PmllError):
    """No candidate of a race produced a line; nothing was written."""

    def __init__(self, failures: Sequence[object], unfinished: Sequence[str]) -> None:
        self.failures, self.unfinished = tuple(failures), tuple(unfinished)
        # A race may have hundreds of candidates that all failed in one way.
        told = "; ".join(str(failure) for failure in self.failures[:3])
        super().__init__(
            f"no candidate produced a line: {len(self.failures)} failed"
            f"{f' ({told})' if told else ''}, {len(self.unfinished)} unfinished"
        )


class SealError(PmllError):
    """A seal, or what is remembered of one, cannot be made, read or written.

    `path` is the file, or names what it was to be. No record is touched by it.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}")


class LatticeClosedError(PmllError, RuntimeError):
    """The lattice is not open."""

    def __init__(self, reason: str = "this lattice is closed; open it again") -> None:
        super().__init__(reason)


class WrongEventLoopError(PmllError, RuntimeError):
    """The lattice was opened on another event loop, or here runs none of asyncio."""

    def __init__(
        self, reason: str = "this lattice belongs to another event loop; open one in each loop"
    ) -> None:
        super().__init__(reason)


class ReentrantError(PmllError, RuntimeError):
    """What makes the item, or does the effect, of `key` comes to wait for that very thing."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"making {key!r} waits for {key!r} itself; give what it needs another key")


class StoreError(PmllError):
    """The store cannot do what was asked."""


class StoreLockedError(StoreError):
    """Another writer holds the store; `holder` says who, as far as it is known."""

    def __init__(self, path: str, holder: Mapping[str, object], same_process: bool) -> None:
        self.path, self.holder, self.same_process = path, dict(holder), same_process
        who = (
            "this process"
            if same_process
            else f"process {holder.get('pid', 'unknown')} on {holder.get('host', 'unknown')}"
        )
        if "heir_of" in holder:
            who += f", which process {holder['heir_of']} left behind when it ended"
        super().__init__(
            f"{path} is open for writing in {who}; close it there, share that lattice, "
            "or open it with read_only=True"
        )


class StoreMovedError(StoreError):
    """The store is no longer where it was opened; nothing more is written by this lattice.

    What was acknowledged is in the files as they were; the last call's record may be there, too.
    """

    def __init__(self, path: str, what: str) -> None:
        self.path, self.what = path, what
        super().__init__(
            f"{path}: {what} while it was open, so nothing more is written; "
            "close this lattice and open the store where it is now"
        )


class ErasureUnfinishedError(StoreError):
    """Erased lines are gone from every answer, but not yet from the store's files."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"{path}: what was erased is given to nobody any more, but could not be removed from "
            f"the files: {reason}; mend that and erase again, or open the lattice anew, which does"
        )


class NotStoredError(StoreError):
    """The store could not take a record and has nothing of it; the same call may succeed later."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}; nothing of this call is stored")


class StoreFullError(NotStoredError, OSError):
    """There is no room for the record; what was acknowledged before is intact."""

    def __init__(self, path: str, cure: str = "free some room") -> None:
        self.path, self.reason, self.cure = path, "no room is left", cure
        StoreError.__init__(
            self, f"no room left for {path}; nothing of this call is stored: {cure}"
        )


class ReadOnlyStoreError(StoreError):
    """A write was asked of a read-only lattice."""

    def __init__(self, path: str, reason: str = "was opened with read_only=True") -> None:
        self.path = path
        super().__init__(f"{path} {reason}; open it for writing")


class DurabilityUnknownError(StoreError, OSError):
    """The disk refused to confirm a write; the store takes no more writes until reopened."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(
            f"the disk did not confirm a write to {path}: it may or may not be there; "
            "reopen the store to find out"
        )


class CorruptionError(StoreError):
    """Stored bytes are not what was written; `file`, `offset` and record `n` say where."""

    def __init__(self, file: str, offset: int, reason: str, n: int | None = None) -> None:
        self.file, self.offset, self.reason, self.n = file, offset, reason, n
        record = "" if n is None else f", record {n}"
        super().__init__(
            f"{file} at byte {offset}{record}: {reason}; restore the file from a copy, "
            "nothing was changed"
        )


class FormatError(StoreError):
    """The store was written in a format that this version does not know."""

    def __init__(self, path: str, what: str) -> None:
        self.path, self.what = path, what
        super().__init__(f"{path} needs {what}, which this version does not know; upgrade")


class WrongKeyError(StoreError):
    """The integrity key is missing, needless or not the one that the store was made with."""

    def __init__(self, path: str, keyed: bool) -> None:
        self.path, self.keyed = path, keyed
        super().__init__(
            f"{path} needs the integrity_key that it was made with; if it was encrypted, its key "
            "ring is missing: bring its keyring.json back from a copy"
            if keyed
            else f"{path} was made without a key; open it without integrity_key"
        )


class WrongSecretError(StoreError):
    """The secret of an encrypted store is missing, needless or not the one that opens it."""

    def __init__(
        self, path: str, what: Literal["missing", "needless", "wrong"], hint: str = ""
    ) -> None:
        self.path, self.what, self.hint = path, what, hint
        message = {
            "missing": "is encrypted: open it with the secret= that it was made with",
            "needless": (
                "is not encrypted: open it without secret, or make an encrypted copy (pmll encrypt)"
            ),
            "wrong": "does not open with this secret",
        }[what]
        super().__init__(f"{path} {message}{f'; {hint}' if hint else ''}")


class KeyringError(StoreError):
    """The key ring of an encrypted store is missing, damaged, or another store's."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"the key ring of {path}: {reason}; bring its keyring.json back from a copy: without "
            "it nothing can be decrypted, and nothing was changed"
        )
