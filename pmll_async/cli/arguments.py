"""What several commands take: the types of their arguments, and what is read for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import JsonValue

from pmll_async.values.where import parse

KEY_FILE_VARIABLE: Final = "PMLL_INTEGRITY_KEY_FILE"
_LONGEST_KEY: Final = 64  # what BLAKE2b takes
_SEED_BYTES: Final = 32

LatticePath = Annotated[
    Path, typer.Argument(metavar="PATH", help="The folder of a lattice.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
TrustFile = Annotated[
    Path | None,
    typer.Option(
        "--trust",
        metavar="FILE",
        help="Remembers the newest seal; kept where nobody who can write the lattice can write.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        envvar=KEY_FILE_VARIABLE,
        help="The integrity key of a keyed lattice: all bytes of this file, 1 to 64.",
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        envvar="PMLL_PASSPHRASE_FILE",
        help="The passphrase of an encrypted lattice: the first line of this file.",
    ),
]
SecretKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--secret-key-file",
        metavar="FILE",
        envvar="PMLL_SECRET_KEY_FILE",
        help="The raw key of an encrypted lattice: the 32 bytes of this file.",
    ),
]


def key_in(file: Path | None) -> bytes | None:
    """The integrity key in a file: all of its bytes."""
    if file is None:
        return None
    with file.open("rb") as opened:
        # One more than a key has tells that there is more, whatever the file is.
        key = opened.read(_LONGEST_KEY + 1)
    if not 1 <= len(key) <= _LONGEST_KEY:
        reason = f"{file} must hold 1 to {_LONGEST_KEY} bytes, and all of them are the key"
        raise typer.BadParameter(reason, param_hint="--key-file")
    return key


def seed_in(file: Path) -> bytes:
    """The seed of an Ed25519 key in a file."""
    with file.open("rb") as opened:
        seed = opened.read(_SEED_BYTES + 1)
    if len(seed) != _SEED_BYTES:
        reason = f"{file} must hold {_SEED_BYTES} random bytes: head -c 32 /dev/urandom > {file}"
        raise typer.BadParameter(reason, param_hint="--sign-key-file")
    return seed


def filter_of(text: str) -> Mapping[str, JsonValue]:
    """The filter of a JSON text."""
    try:
        where = json.loads(text)
        parse(where)
    except ValueError as exc:  # not JSON, or no filter
        raise typer.BadParameter(str(exc), param_hint="--where") from None
    except RecursionError:
        raise typer.BadParameter("nested too deeply", param_hint="--where") from None
    checked: Mapping[str, JsonValue] = where
    return checked
