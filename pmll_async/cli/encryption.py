"""`pmll encrypt` and `pmll rekey`: what they are called, take and say about themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pmll_async.cli import arguments
from pmll_async.cli.arguments import AsJson, KeyFile, LatticePath, PassphraseFile, SecretKeyFile
from pmll_async.integrity.secrets import SuiteName
from pmll_async.values.anchors import Hasher

NewPassphraseFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The new passphrase: the first line of this file. Else it is asked for.",
    ),
]
NewSecretKeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="The new raw key: 32 random bytes, head -c 32 /dev/urandom > FILE"
    ),
]


def encrypt(
    path: LatticePath,
    target: Annotated[
        Path, typer.Argument(metavar="NEW", help="An empty or new folder.", show_default=False)
    ],
    new_passphrase_file: NewPassphraseFile = None,
    new_secret_key_file: NewSecretKeyFile = None,
    suite: Annotated[SuiteName | None, typer.Option(help="The cipher, AES unless given.")] = None,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """Copy a lattice into an encrypted one; its anchors stay the same.

    Whoever loses the secret loses the memory: nobody can bring it back. A new passphrase is asked
    for twice; programs give a file. PATH stays as it is, in clear unless it is encrypted itself:
    then its own secret opens it, and the copy has keys of its own. Delete PATH, and its backups,
    when the copy is verified. Interrupted, it goes on when it is called again.
    """
    from pmll_async.cli import secrets as command

    secret = command.secret_of(path, passphrase_file, secret_key_file)
    new = command.new_secret(new_passphrase_file, new_secret_key_file, str(target))
    hasher = Hasher(arguments.key_in(key_file))
    command.encrypt(path, target, hasher, secret, new, suite, as_json=as_json)


def rekey(
    path: LatticePath,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Ask for a new passphrase, and rotate nothing.")
    ] = False,
    new_passphrase_file: NewPassphraseFile = None,
    new_secret_key_file: NewSecretKeyFile = None,
    as_json: AsJson = False,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """Give an encrypted lattice another key, or another secret.

    As it is, it rotates: records that are written from now on have a new key, those of before stay
    readable. With a new passphrase or raw key it only wraps the same keys anew, at once however
    large the lattice is: copies of keyring.json still open with the old one. For new keys
    throughout, make an encrypted copy: `pmll encrypt`.
    """
    from pmll_async.cli import secrets as command

    secret = command.secret_of(path, passphrase_file, secret_key_file)
    wraps = passphrase or new_passphrase_file is not None or new_secret_key_file is not None
    new = command.new_secret(new_passphrase_file, new_secret_key_file, str(path)) if wraps else None
    command.rekey(path, secret, new, as_json=as_json)
