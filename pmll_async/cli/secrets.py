"""Secrets on the command line, which is never told one itself; `pmll encrypt` and `pmll rekey`."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pmll_async.cli.terminal import progress, show_json
from pmll_async.errors import InvalidInputError, WrongSecretError
from pmll_async.integrity.secrets import Passphrase, RawKey, SuiteName
from pmll_async.stores.choice import store_at
from pmll_async.values.anchors import Hasher
from pmll_async.values.extras import require

if TYPE_CHECKING:
    from pmll_async.protocols import Store


def secret_of(
    path: Path, passphrase_file: Path | None, key_file: Path | None
) -> Passphrase | RawKey | None:
    """What opens the lattice at `path`, asked for on a terminal; None for one in clear."""
    given = _in_files(passphrase_file, key_file, "--passphrase-file", "--secret-key-file")
    if given is not None:
        return given
    from pmll_async.protocols import SupportsKeyring

    store = store_at(path, read_only=True)
    if not isinstance(store, SupportsKeyring) or store.read_keyring() is None:
        return None
    if not sys.stdin.isatty():
        raise WrongSecretError(str(path), "missing")
    return _asked(f"Passphrase of {path}: ")


def new_secret(
    passphrase_file: Path | None, key_file: Path | None, what: str
) -> Passphrase | RawKey:
    """The secret to be, asked for twice where no file has it."""
    given = _in_files(passphrase_file, key_file, "--new-passphrase-file", "--new-secret-key-file")
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            "without a terminal to ask at: give --new-passphrase-file or --new-secret-key-file"
        )
    first, second = _asked(f"New passphrase of {what}: "), _asked("The same again: ")
    if first != second:
        raise typer.BadParameter("these were two passphrases; nothing was done")
    return first


def opened_by(path: Path, secret: Passphrase | RawKey | None, *, read_only: bool = False) -> Store:
    """The unopened store at a path, within what decrypts it where there is a secret."""
    store = store_at(path, read_only=read_only)
    return store if secret is None else _encrypted(store, secret)


def encrypt(
    path: Path,
    target: Path,
    hasher: Hasher,
    secret: Passphrase | RawKey | None,
    new: Passphrase | RawKey,
    suite: SuiteName | None,
    *,
    as_json: bool,
) -> None:
    """Copy the lattice at `path` into an encrypted one: the same records, anchors and digest."""
    from pmll_async.moving.transfer import export_records, import_records

    if path.resolve() == target.resolve():
        raise InvalidInputError(f"{target} is what is to be encrypted: name another, new folder")
    source = opened_by(path, secret, read_only=True)
    made = _encrypted(store_at(target), new, suite)
    with progress("encrypting") as tell:
        added = import_records(export_records(source, hasher), made, hasher, progress=tell)
    if as_json:
        show_json({"path": str(path), "target": str(target), "encrypted": added})
    else:
        sys.stdout.write(f"encrypted {added} records of {path} into {target}\n")


def rekey(
    path: Path,
    secret: Passphrase | RawKey | None,
    new: Passphrase | RawKey | None,
    *,
    as_json: bool,
) -> None:
    """Rotate the key of the lattice at `path`, or with a new secret wrap its keys under that."""
    from pmll_async.integrity.rekeying import rekey as rotate

    if secret is None:
        raise WrongSecretError(str(path), "needless")
    epoch = rotate(store_at(path), secret, new)
    if as_json:
        show_json({"path": str(path), "epoch": epoch, "rotated": new is None})
    elif new is None:
        sys.stdout.write(f"records of {path} from now on have the key of epoch {epoch}\n")
    else:
        sys.stdout.write(f"{path} opens with the new secret, and with the old one no more\n")


def _encrypted(store: Store, secret: Passphrase | RawKey, suite: SuiteName | None = None) -> Store:
    require("secure", "cryptography")
    from pmll_async.integrity.encrypted import EncryptedStore

    return EncryptedStore(store, secret, suite=suite)


def _in_files(
    passphrase: Path | None, key: Path | None, passphrase_option: str, key_option: str
) -> Passphrase | RawKey | None:
    if passphrase is not None and key is not None:
        raise typer.BadParameter(f"give {passphrase_option} or {key_option}, not both")
    option = key_option if passphrase is None else passphrase_option
    try:
        if passphrase is not None:
            return Passphrase.read(passphrase)
        return None if key is None else RawKey.read(key)
    except InvalidInputError as exc:
        raise typer.BadParameter(str(exc), param_hint=option) from None


def _asked(prompt: str) -> Passphrase:
    try:
        return Passphrase(getpass.getpass(prompt))
    except EOFError:
        raise KeyboardInterrupt("interrupted: no passphrase was given") from None
