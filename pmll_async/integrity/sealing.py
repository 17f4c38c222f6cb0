"""How a lattice is sealed: where to, by whom, and who is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pmll_async.integrity.keys import SealSigner
    from pmll_async.integrity.seals import Seal


@dataclass(frozen=True, slots=True)
class Sealing:
    """How a lattice is sealed.

    `path` is a file that the seal is written to beside the one in the store's folder. Without
    `signer` a keyed lattice seals with a key made of its own, another plainly. `trust` is a file
    elsewhere that remembers the newest seal. `witness` is called with each new seal, from a worker
    thread, such as to publish it; what it raises goes on to the caller, and the seal stays.
    """

    path: str | os.PathLike[str] | None = None
    signer: SealSigner | None = None
    trust: str | os.PathLike[str] | None = None
    witness: Callable[[Seal], object] | None = None
