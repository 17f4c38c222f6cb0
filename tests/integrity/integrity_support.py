"""What the tests of integrity share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from pmll_async import Lattice
from pmll_async.integrity import Ed25519Key, MacKey, SealSigner

DIM: Final = 4
KEY: Final = b"an integrity key of a lattice"
SEED: Final = bytes(range(32))
SIGNERS: Final[dict[str, Callable[[], SealSigner | None]]] = {
    "plain": lambda: None,
    "mac": lambda: MacKey(b"a key of its own for seals"),
    "ed25519": lambda: Ed25519Key(SEED),
}


def lattice_at(path: Path, **options: Any) -> Lattice:
    return Lattice.open(path, dim=DIM, **options)


async def fill(lattice: Lattice, count: int, start: int = 0) -> list[str]:
    """Lines, each with a context of its own; their anchors."""
    random = np.random.default_rng(start)
    return [
        await lattice.put(random.normal(size=DIM), None, {"n": n})
        for n in range(start, start + count)
    ]
