"""Codes on disk: what an approximate index has made, for the next opening.

A line of JSON, then arrays of plain numbers. The line says with what they were made, and of which
rows, by a digest of their anchors; a file that says anything else, or whose arrays are not those of
its line, is as good as none. Who can write it may have lines missed, but none misranked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_FORMAT: Final = 1
_LINE_BYTES: Final = 4096
"""The line is far shorter, and another file may have none."""


class SavedCodes(NamedTuple):
    """The arrays of codes for the first `rows` rows, trained for `level` of them."""

    level: int
    rows: int
    arrays: Sequence[bytes]


def write_codes(path: Path, kind: str, saved: SavedCodes, anchors: NDArray[np.uint64]) -> None:
    """Replace the file by these codes, which `kind` made of the rows with these anchors."""
    facts = _facts(kind, saved.rows, anchors) | {
        "level": saved.level,
        "lengths": [len(part) for part in saved.arrays],
        "codes": _digest(saved.arrays),
    }
    new = path.with_name(f"{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
            file.writelines([json.dumps(facts).encode(), b"\n", *saved.arrays])
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def read_codes(path: Path, kind: str, anchors: NDArray[np.uint64]) -> SavedCodes | None:
    """What the file has for the rows with these anchors; None if it has nothing for them."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            facts: dict[str, Any] = json.loads(file.readline(_LINE_BYTES))
            level, count, lengths = facts["level"], facts["count"], facts["lengths"]
            if not all(type(number) is int and number >= 0 for number in (level, count, *lengths)):
                return None
            # Nothing is read that cannot be there.
            if count > len(anchors) or sum(lengths) > os.fstat(file.fileno()).st_size:
                return None
            arrays = [file.read(length) for length in lengths]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    whole = _facts(kind, count, anchors) | {
        "level": level,
        "lengths": lengths,
        "codes": _digest(arrays),
    }
    return SavedCodes(level, count, arrays) if facts == whole else None


def _facts(kind: str, count: int, anchors: NDArray[np.uint64]) -> dict[str, Any]:
    rows = sha256(anchors[:count].astype("<u8", copy=False).tobytes()).hexdigest()
    return {"format": _FORMAT, "kind": kind, "count": count, "rows": rows}


def _digest(arrays: Sequence[bytes]) -> str:
    digest = sha256()
    for part in arrays:
        digest.update(part)
    return digest.hexdigest()
