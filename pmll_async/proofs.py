"""What a lattice states of itself to others: seals, proofs, and whether every byte is its own."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pmll_async.engine.assembly import Opened
    from pmll_async.engine.ledger.snapshot import Snapshot
    from pmll_async.integrity.checking import Verification
    from pmll_async.integrity.keys import SealChecker, SealSigner
    from pmll_async.integrity.proofs import ConsistencyProof, InclusionProof
    from pmll_async.integrity.sealing import Sealing
    from pmll_async.integrity.seals import Seal
    from pmll_async.integrity.trust import Trust
    from pmll_async.protocols import Recovery


class Provable(ABC):
    """A lattice's seals and proofs; everything runs in worker threads, and never on the loop."""

    @abstractmethod
    def _usable(self) -> Opened: ...

    @abstractmethod
    def _snapshot(self) -> Snapshot: ...

    @abstractmethod
    async def _ready(self) -> Snapshot: ...

    @abstractmethod
    def _now(self) -> float: ...

    @property
    def digest(self) -> str:
        """The digest of the whole log, 64 hex digits: h of design section 4."""
        return self._snapshot().digest.hex()

    @property
    def recovery(self) -> Recovery:
        """What opening found."""
        return self._usable().store.recovery

    async def seal(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        signer: SealSigner | None = None,
        trust: str | os.PathLike[str] | None = None,
        witness: Callable[[Seal], object] | None = None,
    ) -> Seal:
        """State what is committed now, in `seal.json` in the store's folder and in `path`.

        Seals are numbered without gaps and each names the one before it; without new records the
        last one is returned. `signer` proves who says so, in a keyed lattice the key itself unless
        given. The file `trust`, kept where nobody who can write the store can write, remembers the
        newest seal. `witness` is called with a new seal, in a worker thread. `SealError` where the
        log does not begin with what the last seal or `trust` states: nothing is written then. A
        reader beside a writer seals in `path` alone; the writer's next seal knows of that one if it
        is given the same `path` or `trust`.
        """
        # Loaded by who seals; the rest of it by the worker thread.
        from pmll_async.integrity.sealing import Sealing

        how = Sealing(path, signer, trust, witness)
        # A reader of a live store seals what is there now.
        await self._ready()
        opened = self._usable()
        return await opened.services.jobs.call(opened.seals.seal, how, self._now())

    async def prove(self, anchor: str, seal: Seal) -> InclusionProof:
        """The proof that a line was committed before a seal: for who has the seal and no store."""
        opened = self._usable()
        return await opened.services.jobs.call(opened.seals.include, seal, anchor)

    async def prove_growth(self, older: Seal, newer: Seal) -> ConsistencyProof:
        """The proof that between two seals records were only added."""
        opened = self._usable()
        return await opened.services.jobs.call(opened.seals.connect, older, newer)

    async def verify(
        self,
        *,
        expect: Seal | None = None,
        checker: SealChecker | None = None,
        trust: Trust | None = None,
    ) -> Verification:
        """Check every byte of the store, and that it begins with what a seal states.

        `expect` is that seal, with `trust` the remembered one when left out; `checker` is whose it
        must be, in a keyed lattice the key itself unless given. Nothing is changed or raised for
        what is found. Reads and writes go on meanwhile.
        """
        opened = self._usable()
        return await opened.services.jobs.call(opened.seals.verify, expect, checker, trust)


def sealing_at_close(given: str | os.PathLike[str] | Sealing | None) -> Sealing | None:
    """How to seal at the end; `InvalidInputError` for what says nothing of it."""
    if given is None:
        return None
    from pmll_async.integrity.sealing import at_close

    return at_close(given)
