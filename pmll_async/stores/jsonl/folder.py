"""The folder of a store: its files, how they are replaced, and whose errors they raise.

Every `OSError` of this store becomes a `StoreError` in `translated`.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pmll_async.anchors import ROOT_DIGEST
from pmll_async.errors import (
    CorruptionError,
    DurabilityUnknownError,
    FormatError,
    StoreError,
    StoreFullError,
)
from pmll_async.protocols import StoreHeader
from pmll_async.stores.jsonl.framing import BadFrameError, decode_object, encode_object

FORMAT: Final = 1
STORE: Final = "store.json"
MANIFEST: Final = "MANIFEST.json"
LOCK: Final = "LOCK"
CACHE: Final = "cache/blocks.bin"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: OSError) -> bool:
    """Whether there was no room: on the disk, in the quota, or under the limit of a file's size."""
    return error.errno in _FULL


def log_warning(event: str, **facts: object) -> None:
    """A structlog event; imported here because a store that is well never needs it."""
    import structlog  # noqa: PLC0415  # takes 80 ms

    structlog.get_logger("pmll_async").warning(event, **facts)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns the system's errors into those of the store at `path`."""
    try:
        yield
    except StoreError:
        raise
    except OSError as exc:
        if is_full(exc):
            raise StoreFullError(str(path)) from exc
        raise StoreError(f"{path}: {exc.strerror or exc} ({exc.filename or path.name})") from exc


# --- writing files -----------------------------------------------------------------------------


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write everything; one write may take less than it was given."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_synced(path: Path, data: bytes) -> None:
    """A new file whose bytes are durable; its name is not yet."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes) -> None:
    """The file with these bytes, durably; after a crash it holds the old bytes or the new ones.

    An error leaves the old bytes, but for `DurabilityUnknownError`.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        write_synced(temporary, data)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    try:
        sync_folder(path.parent)
    except OSError as exc:
        raise DurabilityUnknownError(str(path.parent)) from exc


def make_folder(folder: Path) -> None:
    """The folder and those above it, with durable names; others may be making them as well."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        sync_folder(path.parent)


def remove_temporaries(folder: Path) -> None:
    """What a crash left of a replacement."""
    for path in folder.glob("*.tmp"):
        path.unlink(missing_ok=True)


# --- the objects -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """What the manifest says of one segment; `h` is the digest after its last record, in hex."""

    file: str
    records: int
    bytes: int
    h: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The segments that are known to be durable as a whole, in order."""

    store: str
    segments: tuple[SegmentEntry, ...] = ()

    @property
    def records(self) -> int:
        """How many records it proves durable."""
        return sum(entry.records for entry in self.segments)

    @property
    def digests(self) -> dict[int, bytes]:
        """The digest at the end of each segment, by the number of records up to there."""
        known, stop = {0: ROOT_DIGEST}, 0
        for entry in self.segments:
            stop += entry.records
            known[stop] = bytes.fromhex(entry.h)
        return known


def read_store(folder: Path) -> StoreHeader:
    """The header of `store.json`; `FormatError` if a later version made the store."""
    fields = _read_object(folder / STORE)
    with _shaped(folder / STORE):
        return StoreHeader(
            dim=int(fields["dim"]),
            value_dim=int(fields["value_dim"]),
            key_check=str(fields["key_check"]),
            store_id=uuid.UUID(hex=fields["store"]).hex,
            created=float(fields["created"]),
            pins={str(name): str(value) for name, value in fields["pins"].items()},
        )


def write_store(folder: Path, header: StoreHeader) -> None:
    """Make `store.json`, which makes the folder a store."""
    fields = {
        "format": FORMAT,
        "requires": [],
        "store": header.store_id,
        "dim": header.dim,
        "value_dim": header.value_dim,
        "keyed": bool(header.key_check),
        "key_check": header.key_check,
        "pins": header.pins,
        "created": header.created,
    }
    replace_file(folder / STORE, encode_object(fields))


def write_pins(folder: Path, pins: dict[str, str]) -> None:
    """Replace `store.json` by one that differs in its pins alone, whatever else it says."""
    replace_file(folder / STORE, encode_object(_read_object(folder / STORE) | {"pins": pins}))


def read_manifest(folder: Path, store_id: str) -> Manifest:
    """The manifest of the store with this id; of any store when the id is empty."""
    fields = _read_object(folder / MANIFEST)
    with _shaped(folder / MANIFEST):
        manifest = Manifest(
            store=str(fields["store"]),
            segments=tuple(SegmentEntry(**entry) for entry in fields["segments"]),
        )
        if manifest.store != (store_id or manifest.store) or any(
            len(d) != 32 for d in manifest.digests.values()
        ):
            raise ValueError("it belongs to another store")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest."""
    fields = {
        "format": FORMAT,
        "store": manifest.store,
        "segments": [asdict(entry) for entry in manifest.segments],
    }
    replace_file(folder / MANIFEST, encode_object(fields))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        fields = decode_object(path.read_bytes())
    except FileNotFoundError as exc:
        raise CorruptionError(str(path), 0, "the file is missing") from exc
    except BadFrameError as exc:
        raise CorruptionError(str(path), 0, str(exc)) from exc
    with _shaped(path):
        version, features = int(fields["format"]), list(fields.get("requires", ()))
    if version != FORMAT:
        raise FormatError(str(path.parent), f"format {version}")
    if features:
        raise FormatError(str(path.parent), f"the feature {features[0]!r}")
    return fields


@contextmanager
def _shaped(path: Path) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as exc:
        raise CorruptionError(str(path), 0, f"not what it should hold: {exc}") from exc
