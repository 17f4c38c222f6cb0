"""What an LMDB store says once about itself: its header, and whether its last writer closed."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pmll_async.errors import (
    CorruptionError,
    DimensionMismatchError,
    FormatError,
    StoreError,
    WrongKeyError,
)
from pmll_async.protocols import StoreHeader
from pmll_async.records.chain import NOT_OURS
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.folder import (
    ERASED_LINES,
    NOVELTY_WINDOW,
    read_window,
    window_fields,
    with_erased_lines,
)
from pmll_async.stores.jsonl.frames import BadFrameError, decode_object, encode_object
from pmll_async.stores.lmdb.environment import DATA, Environment
from pmll_async.values.anchors import Hasher

if TYPE_CHECKING:
    from lmdb import Transaction

FORMAT: Final = 1
_STORE: Final = b"store"
_OPEN: Final = b"open"
_ERASING: Final = b"erasing"
"""Where a crash has left an earlier release, which erased within the file."""


def find_header(
    folder: Directory,
    environment: Environment,
    header: StoreHeader | None,
    hasher: Hasher,
    *,
    creates: bool,
) -> StoreHeader:
    """The stored header, or the given one after making a store of it; the key is checked."""
    if not environment.has_tables():
        if not creates:
            raise StoreError(f"{folder.path} is not a store")
        if header is None:
            raise DimensionMismatchError("the lattice", None, None)
        return _create(environment, folder, header, hasher)
    stored = read_header(folder, environment)
    if stored.key_check != hasher.check_value():
        raise WrongKeyError(str(folder.path), bool(stored.key_check))
    return stored


def read_header(folder: Directory, environment: Environment) -> StoreHeader:
    """The header of a store; `FormatError` if a later version made it."""
    fields = _fields(folder, environment)
    try:
        version, features = fields["format"], list(fields["requires"])
    except NOT_OURS as exc:
        raise _damaged(folder, f"its header is not what it should be: {exc}") from exc
    if version != FORMAT or isinstance(version, bool):
        raise FormatError(str(folder.path), f"format {version}")
    unknown = [each for each in features if each not in (NOVELTY_WINDOW, ERASED_LINES)]
    if unknown:
        raise FormatError(str(folder.path), f"the feature {unknown[0]!r}")
    try:
        return _header(fields)
    except NOT_OURS as exc:
        raise _damaged(folder, f"its header is not what it should be: {exc}") from exc


def write_pins(
    folder: Directory,
    environment: Environment,
    transaction: Transaction[bytes],
    pins: dict[str, str],
) -> None:
    """Let the header say these pins, whatever else it says."""
    fields = _fields(folder, environment) | {"pins": pins}
    transaction.put(_STORE, encode_object(fields), db=environment.meta)


def require_erased_lines(
    folder: Directory, environment: Environment, transaction: Transaction[bytes]
) -> None:
    """Let the header say that there are erased lines, which earlier releases do not know."""
    fields = with_erased_lines(_fields(folder, environment))
    transaction.put(_STORE, encode_object(fields), db=environment.meta)


def facts_of(folder: Directory, environment: Environment) -> list[tuple[bytes, bytes]]:
    """What a copy without what is erased is to say of itself."""
    with environment.reading() as transaction:
        facts = dict(transaction.cursor(db=environment.meta).iternext())
    facts.pop(_ERASING, None)
    fields = with_erased_lines(_fields(folder, environment))
    return sorted((facts | {_STORE: encode_object(fields)}).items())


def end_erasing(environment: Environment, transaction: Transaction[bytes]) -> None:
    """No page has anything that was erased."""
    transaction.delete(_ERASING, db=environment.meta)


def is_erasing(environment: Environment) -> bool:
    """Whether pages may have what was erased."""
    with environment.reading() as transaction:
        return transaction.get(_ERASING, db=environment.meta) is not None


def is_marked_open(environment: Environment) -> bool:
    """Whether a writer has it open, or has left without closing."""
    with environment.reading() as transaction:
        return transaction.get(_OPEN, db=environment.meta) is not None


def mark_open(environment: Environment, transaction: Transaction[bytes]) -> None:
    """A writer has it open."""
    transaction.put(_OPEN, str(time.time()).encode(), db=environment.meta)


def mark_closed(environment: Environment, transaction: Transaction[bytes]) -> None:
    """The writer has closed it."""
    transaction.delete(_OPEN, db=environment.meta)


def _create(
    environment: Environment, folder: Directory, header: StoreHeader, hasher: Hasher
) -> StoreHeader:
    made = replace(
        header,
        key_check=hasher.check_value(),
        store_id=header.store_id or uuid.uuid4().hex,
        created=header.created or time.time(),
    )
    fields = {
        "format": FORMAT,
        **window_fields(made, []),
        "store": made.store_id,
        "dim": made.dim,
        "value_dim": made.value_dim,
        "keyed": bool(made.key_check),
        "key_check": made.key_check,
        "pins": made.pins,
        "created": made.created,
    }
    with environment.making() as transaction:
        transaction.put(_STORE, encode_object(fields), db=environment.meta)
    folder.sync()
    return made


def _fields(folder: Directory, environment: Environment) -> dict[str, Any]:
    with environment.reading() as transaction:
        stored = transaction.get(_STORE, db=environment.meta)
    if stored is None:
        raise _damaged(folder, "its header is missing")
    try:
        return decode_object(stored)
    except BadFrameError as exc:
        raise _damaged(folder, f"its header: {exc}") from exc


def _header(fields: dict[str, Any]) -> StoreHeader:
    dim, value_dim, pins = fields["dim"], fields["value_dim"], fields["pins"]
    created, key_check = fields["created"], fields["key_check"]
    if type(dim) is not int or type(value_dim) is not int or dim < 1 or value_dim < 0:
        raise ValueError(f"dimensions {dim!r} and {value_dim!r}")
    if type(created) not in (int, float) or not isinstance(key_check, str):
        raise TypeError(f"created {created!r}, key check {key_check!r}")
    if not all(isinstance(text, str) for text in dict(pins).values()):
        raise TypeError(f"pins {pins!r}")
    store_id = uuid.UUID(hex=fields["store"]).hex
    window = read_window(fields)
    return StoreHeader(dim, value_dim, key_check, store_id, float(created), dict(pins), window)


def _damaged(folder: Directory, reason: str) -> CorruptionError:
    return CorruptionError(folder.named(DATA), 0, reason)
