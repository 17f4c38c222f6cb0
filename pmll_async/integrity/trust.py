"""Trust: what is remembered of a store's seals outside it, so that going back is found.

Whoever can write the store can bring back an older state of it together with the seal of that time,
or take its seals off. Neither fits what a file elsewhere says: the newest seal, and how this store
is sealed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pmll_async.errors import SealError
from pmll_async.integrity.documents import Document
from pmll_async.integrity.seals import Seal


class Trust(Document):
    """The newest seal that is known of a store, and whether the store is `keyed`.

    Every later seal must be of the same mode and key.
    """

    format: Literal["pmll trust 1"] = "pmll trust 1"
    keyed: bool
    seal: Seal

    def flaws(self, seal: Seal) -> list[str]:
        """What keeps a seal from being the remembered one or a later one."""
        known, flaws = self.seal, list[str]()
        if seal.store != known.store:
            flaws.append(f"the store {known.store} is remembered, and it is of {seal.store}")
        if (seal.mode, seal.key) != (known.mode, known.key):
            wanted = f"{known.mode} {known.key}".strip()
            flaws.append(
                f"seals by {wanted} are remembered, and it is {seal.mode} {seal.key}".strip()
            )
        if seal.number < known.number or seal.records < known.records:
            flaws.append(
                f"it is older than the remembered seal: number {seal.number} of {seal.records} "
                f"records, not {known.number} of {known.records}"
            )
        if seal.number == known.number and seal != known:
            flaws.append(f"another seal with the number {known.number} is remembered")
        if seal.number == known.number + 1 and seal.previous != known.own_digest:
            flaws.append("it does not follow the remembered seal")
        return flaws


def read_trust(path: str | Path) -> Trust:
    """What a file remembers; `SealError` if there is none or it is not written as one; blocks."""
    trust = Trust.read(Path(path))
    if trust is None:
        raise SealError(str(path), "there is no such file, or nothing in it")
    return trust
