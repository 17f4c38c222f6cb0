"""The small files of a store's folder, `store.json` and `MANIFEST.json`, and all their names."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Final, TypeVar

from pmll_async.errors import CorruptionError, FormatError
from pmll_async.protocols import StoreHeader
from pmll_async.records.chain import NOT_OURS
from pmll_async.records.content import WriteVector, base64_text, packed_text
from pmll_async.stores.jsonl.directory import Directory, NotPlainError
from pmll_async.stores.jsonl.frames import BadFrameError, decode_object, encode_object
from pmll_async.values.anchors import ROOT_DIGEST

FORMAT: Final = 1
PACKED_KEYS: Final = "packed-keys"
"""The feature that new stores are made with; those without it keep to what they were made with."""
NOVELTY_WINDOW: Final = "novelty-window"
"""The feature of a store whose `novelty_window` says of how many lines novelty is."""
ERASED_LINES: Final = "erased-lines"
"""The feature of a store that has erased lines, or segments that were written anew."""
_FEATURES: Final = (PACKED_KEYS, NOVELTY_WINDOW, ERASED_LINES)
STORE: Final = "store.json"
MANIFEST: Final = "MANIFEST.json"
LOCK: Final = "LOCK"
KEYRING: Final = "keyring.json"
"""Of an encrypted store; whoever wraps the store knows what is in it."""
CACHE_FOLDER: Final = "cache"
CACHE: Final = f"{CACHE_FOLDER}/blocks.bin"
SEGMENT_NAME: Final = re.compile(r"log-([0-9]{8,})(?:-([1-9][0-9]{0,8}))?\.jsonl")
"""A segment's number, and how often it was written anew because something in it was erased."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """What the manifest says of one segment; `h` is the digest after its last record, in hex."""

    file: str
    records: int
    bytes: int
    h: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The segments that are known to be durable as a whole, in order.

    `cache` has the root of the cache's first so many blocks, in hex, for one or two such numbers.
    `replaced` segments are no part of the log any more, if they are there still.
    """

    store: str
    segments: tuple[SegmentEntry, ...] = ()
    cache: tuple[tuple[int, str], ...] = ()
    replaced: tuple[str, ...] = ()

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


@dataclass(frozen=True, slots=True)
class FolderHeader(StoreHeader):
    """The header of a store in a folder; with `packed`, vectors that pack are packed."""

    packed: bool = False

    @property
    def write_vector(self) -> WriteVector:
        """How its log has a vector."""
        return packed_text if self.packed else base64_text


def read_store(folder: Directory) -> FolderHeader:
    """The header of `store.json`; `FormatError` if a later version made the store."""
    fields = _read_object(folder, STORE)
    with _shaped(folder, STORE):
        pins = _of_kind(fields, "pins", dict)
        return FolderHeader(
            dim=_whole(fields, "dim", 1),
            value_dim=_whole(fields, "value_dim", 0),
            key_check=_of_kind(fields, "key_check", str),
            store_id=uuid.UUID(hex=fields["store"]).hex,
            created=_seconds(fields, "created"),
            pins={name: _of_kind(pins, name, str) for name in pins},
            novelty_window=read_window(fields),
            packed=PACKED_KEYS in fields.get("requires", ()),
        )


def read_window(fields: dict[str, Any]) -> int | None:
    """The novelty window of a header; None if it requires none."""
    has_one = NOVELTY_WINDOW in fields.get("requires", ())
    return _whole(fields, "novelty_window", 1) if has_one else None


def window_fields(header: StoreHeader, features: list[str]) -> dict[str, Any]:
    """What a header says of its features, and of its novelty window if it has one."""
    if header.novelty_window is None:
        return {"requires": features}
    features = [*features, NOVELTY_WINDOW]
    return {"requires": features, "novelty_window": header.novelty_window}


def write_store(folder: Directory, header: FolderHeader) -> None:
    """Make `store.json`, which makes the folder a store."""
    fields = {
        "format": FORMAT,
        **window_fields(header, [PACKED_KEYS] if header.packed else []),
        "store": header.store_id,
        "dim": header.dim,
        "value_dim": header.value_dim,
        "keyed": bool(header.key_check),
        "key_check": header.key_check,
        "pins": header.pins,
        "created": header.created,
    }
    folder.replace(STORE, encode_object(fields))


def write_pins(folder: Directory, pins: dict[str, str]) -> None:
    """Replace `store.json` by one that differs in its pins alone, whatever else it says."""
    # Fields that a later version added stay as they are.
    folder.replace(STORE, encode_object(_read_object(folder, STORE) | {"pins": pins}))


def require_erased_lines(folder: Directory) -> None:
    """Let `store.json` say that there are erased lines, which earlier releases do not know."""
    fields = _read_object(folder, STORE)
    if ERASED_LINES not in fields.get("requires", ()):
        folder.replace(STORE, encode_object(with_erased_lines(fields)))


def with_erased_lines(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a header, requiring what reads erased lines."""
    features = [each for each in fields.get("requires", ()) if each != ERASED_LINES]
    return fields | {"requires": [*features, ERASED_LINES]}


def read_manifest(folder: Directory, store_id: str) -> Manifest:
    """The manifest of the store with this id; of any store when the id is empty."""
    fields = _read_object(folder, MANIFEST)
    with _shaped(folder, MANIFEST):
        manifest = Manifest(
            store=_of_kind(fields, "store", str),
            segments=tuple([_entry(entry) for entry in _of_kind(fields, "segments", list)]),
            # A manifest of an earlier release knows of no roots: then no cache is trusted.
            cache=tuple([_root(root) for root in fields.get("cache", ())]),
            replaced=tuple(map(_segment_file, fields.get("replaced", ()))),
        )
        if manifest.store != (store_id or manifest.store):
            raise ValueError("it belongs to another store")
    return manifest


def write_manifest(folder: Directory, manifest: Manifest) -> None:
    """Replace the manifest."""
    fields = {
        "format": FORMAT,
        "store": manifest.store,
        "segments": [asdict(entry) for entry in manifest.segments],
        "cache": manifest.cache,
    }
    if manifest.replaced:
        fields["replaced"] = manifest.replaced
    folder.replace(MANIFEST, encode_object(fields))


def _read_object(folder: Directory, name: str) -> dict[str, Any]:
    path = folder.named(name)
    try:
        fields = decode_object(folder.read(name))
    except FileNotFoundError as exc:
        raise CorruptionError(path, 0, "the file is missing") from exc
    except (BadFrameError, NotPlainError) as exc:
        raise CorruptionError(path, 0, str(exc)) from exc
    with _shaped(folder, name):
        version, features = fields["format"], list(fields.get("requires", ()))
    if version != FORMAT or isinstance(version, bool):
        raise FormatError(str(folder.path), f"format {version}")
    unknown = [each for each in features if each not in _FEATURES]
    if unknown:
        raise FormatError(str(folder.path), f"the feature {unknown[0]!r}")
    return fields


def _entry(entry: dict[str, Any]) -> SegmentEntry:
    file, h = _segment_file(entry["file"]), _of_kind(entry, "h", str)
    if len(bytes.fromhex(h)) != len(ROOT_DIGEST):
        raise ValueError(f"{h!r} is no digest")
    return SegmentEntry(file, _whole(entry, "records", 0), _whole(entry, "bytes", 0), h)


def _segment_file(name: object) -> str:
    # No manifest leads out of the folder.
    if not isinstance(name, str) or not SEGMENT_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no segment")
    return name


def _root(root: list[Any]) -> tuple[int, str]:
    blocks, digest = root
    return _whole({"blocks": blocks}, "blocks", 1), _of_kind({"root": digest}, "root", str)


def _of_kind(fields: dict[str, Any], name: str, kind: type[T]) -> T:
    value = fields[name]
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r}")
    return value


def _whole(fields: dict[str, Any], name: str, least: int) -> int:
    number = _of_kind(fields, name, int)
    if isinstance(number, bool) or number < least:
        raise ValueError(f"{name} is {number!r}")
    return number


def _seconds(fields: dict[str, Any], name: str) -> float:
    number = fields[name]
    if isinstance(number, bool) or not isinstance(number, int | float) or not isfinite(number):
        raise ValueError(f"{name} is {number!r}")
    return float(number)


@contextmanager
def _shaped(folder: Directory, name: str) -> Iterator[None]:
    try:
        yield
    except NOT_OURS as exc:
        reason = f"not what it should hold: {exc}"
        raise CorruptionError(folder.named(name), 0, reason) from exc
