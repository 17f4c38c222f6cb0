"""How a lattice is sealed: where to, by whom, and who is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, TypeGuard

from pmll_async.errors import InvalidInputError

if TYPE_CHECKING:
    from pmll_async.integrity.keys import SealSigner
    from pmll_async.integrity.seals import Seal


@dataclass(frozen=True, slots=True)
class Sealing:
    """How a lattice is sealed.

    `path` is a file that the seal is written to beside the one in the store's folder. Without
    `signer` a keyed lattice seals with a key made of its own, another plainly. `trust` is a file
    elsewhere that remembers the newest seal. `witness` is called with each new seal, from a worker
    thread, such as to publish it; what it raises goes on to the caller, and the seal stays, in its
    files, without a second call.
    """

    path: str | os.PathLike[str] | None = None
    signer: SealSigner | None = None
    trust: str | os.PathLike[str] | None = None
    witness: Callable[[Seal], object] | None = None

    def __post_init__(self) -> None:
        """Refuse what can be no such thing, before anything is opened or written."""
        for what in ("path", "trust"):
            given = getattr(self, what)
            if given is not None and not _is_path(given):
                raise InvalidInputError(f"{what} is the path of a file, not {given!r}")
        if self.signer is not None and not hasattr(self.signer, "sign"):
            kind = type(self.signer).__name__
            raise InvalidInputError(f"signer is a key, such as Ed25519Key(seed), not a {kind}")
        witness: object = self.witness
        if witness is not None and (not callable(witness) or iscoroutinefunction(witness)):
            raise InvalidInputError("witness is a plain function of one seal: a thread calls it")


def at_close(given: object) -> Sealing | None:
    """How to seal at the end, of what `seal_on_close` was given."""
    if given is None or isinstance(given, Sealing):
        return given
    if not _is_path(given):
        raise InvalidInputError(f"seal_on_close is the path of a file, or a Sealing, not {given!r}")
    return Sealing(given)


def _is_path(given: object) -> TypeGuard[str | os.PathLike[str]]:
    path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    return isinstance(path, str) and bool(path) and "\0" not in path
