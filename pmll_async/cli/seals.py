"""`pmll seal` and `pmll prove`: statements of a lattice for others."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import typer

from pmll_async.cli.secrets import opened_by
from pmll_async.cli.terminal import facts, moment, say, show, show_json, write_bytes
from pmll_async.cli.verify import Expected
from pmll_async.errors import StoreLockedError
from pmll_async.integrity.documents import Document
from pmll_async.integrity.keys import KEY_BYTES, Ed25519Key, Ed25519PublicKey
from pmll_async.integrity.sealer import FILE
from pmll_async.integrity.seals import Seal, read_seal
from pmll_async.integrity.secrets import Passphrase, RawKey
from pmll_async.integrity.trust import read_trust
from pmll_async.lattice import Lattice
from pmll_async.values.anchors import Hasher


def seal(
    path: Path,
    key: bytes | None,
    output: Path | None,
    seed: bytes | None,
    trust: Path | None,
    secret: Passphrase | RawKey | None = None,
    *,
    as_json: bool,
) -> None:
    """Seal the lattice at `path`, and print the seal."""
    signer = None if seed is None else Ed25519Key(seed)

    async def sealed(*, read_only: bool) -> Seal:
        async with _opened(path, key, secret, read_only=read_only) as lattice:
            return await lattice.seal(output, signer=signer, trust=trust)

    # A folder without a store is told as such, and not made one.
    store = opened_by(path, secret, read_only=True)
    store.open(None, Hasher(key))
    store.close()
    try:
        made = asyncio.run(sealed(read_only=not os.access(path, os.W_OK)))
    except StoreLockedError:
        if output is None:
            say("only a seal that is written elsewhere can be made now: --output FILE")
            raise
        made = asyncio.run(sealed(read_only=True))
    if as_json:
        show_json(made.model_dump())
        return
    whose = f"{made.mode}, key {made.key}" if made.key else "nobody: a plain seal has no proof"
    rows = [
        ("seal", str(made.number)),
        ("records", str(made.records)),
        ("head", made.head),
        ("digest", made.digest),
        ("root", made.root),
        ("made", moment(made.time)),
        ("proven by", whose),
        ("written to", str(output or path / FILE)),
    ]
    show(facts(rows))


def prove(
    path: Path,
    key: bytes | None,
    what: str | Path | None,
    against: Path | None,
    output: Path | None,
    secret: Passphrase | RawKey | None = None,
) -> None:
    """Write the proof of a line, by its anchor, or that a lattice grew since an older seal."""
    newest = read_seal(path / FILE if against is None else against)

    async def proven() -> Document:
        async with _opened(path, key, secret, read_only=True) as lattice:
            if isinstance(what, Path):
                return await lattice.prove_growth(read_seal(what), newest)
            return await lattice.prove(str(what), newest)

    proof = asyncio.run(proven())
    if output is None:
        write_bytes(proof.to_bytes())
        return
    # What is there and no such proof is somebody's.
    type(proof).read(output)
    proof.write(output)


def expected(seal: Path | None, public_key: str | None, trust: Path | None) -> Expected:
    """What `verify` holds the log against."""
    checker = None if public_key is None else Ed25519PublicKey(_raw(public_key))
    if checker is not None and seal is None and trust is None:
        raise typer.BadParameter(
            "a public key checks a seal: give --expect or --trust", param_hint="--public-key"
        )
    return Expected(
        seal=None if seal is None else read_seal(seal),
        checker=checker,
        trust=None if trust is None else read_trust(trust),
    )


def _raw(public_key: str) -> bytes:
    try:
        raw = bytes.fromhex(public_key)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise typer.BadParameter(
            f"a public key is {2 * KEY_BYTES} hex digits", param_hint="--public-key"
        )
    return raw


def _opened(
    path: Path, key: bytes | None, secret: Passphrase | RawKey | None, *, read_only: bool
) -> Lattice:
    return Lattice.open(path, integrity_key=key, secret=secret, read_only=read_only)
