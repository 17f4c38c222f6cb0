"""`pmll convert`: what it is called, takes and says about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pmll_async.cli import arguments
from pmll_async.cli.arguments import AsJson, KeyFile, LatticePath, PassphraseFile, SecretKeyFile
from pmll_async.cli.secrets import secret_of
from pmll_async.values.anchors import Hasher


def convert(
    path: LatticePath,
    target: Annotated[
        Path,
        typer.Argument(metavar="NEW", help="A new folder, or a new .lmdb.", show_default=False),
    ],
    as_json: AsJson = False,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """Copy a lattice into another kind of store, with its anchors.

    Digest, branches, times, pins and decays stay the same, too. NEW says by its suffix which store
    it is. Every anchor and the digest are checked. PATH is read only, also beside a writer.
    Interrupted, it goes on when it is called again, and it brings a copy up to date. The copy of an
    encrypted lattice opens with the same secret.
    """
    from pmll_async.cli import moving

    hasher = Hasher(arguments.key_in(key_file))
    secret = secret_of(path, passphrase_file, secret_key_file)
    moving.convert(path, target, hasher, secret, as_json=as_json)
