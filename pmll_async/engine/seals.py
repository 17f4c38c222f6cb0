"""The seals of one open lattice. What they are made with is loaded by the first of them."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pmll_async.engine.ledger.ledger import Ledger
from pmll_async.errors import InvalidInputError, StoreError
from pmll_async.loop.logs import logger
from pmll_async.protocols import Clock, Store, StoreHeader, SupportsVerify
from pmll_async.records.findings import status_of
from pmll_async.values.anchors import Hasher
from pmll_async.values.checks import time_by

if TYPE_CHECKING:
    from pmll_async.integrity.checking import Verification
    from pmll_async.integrity.keys import SealChecker
    from pmll_async.integrity.proofs import ConsistencyProof, InclusionProof
    from pmll_async.integrity.sealer import Moment, Sealer
    from pmll_async.integrity.sealing import Sealing
    from pmll_async.integrity.seals import Seal
    from pmll_async.integrity.trust import Trust
    from pmll_async.records.findings import Report, Watch


class Seals:
    """Everything here blocks, and may be called in any thread."""

    def __init__(
        self,
        store: Store,
        header: StoreHeader,
        hasher: Hasher,
        ledger: Ledger,
        clock: Clock,
        at_close: Sealing | None,
    ) -> None:
        self._store, self._store_id, self._hasher = store, header.store_id, hasher
        self._ledger, self._clock, self._at_close = ledger, clock, at_close
        self._lock = threading.Lock()
        self._made: Sealer | None = None
        self.failure: Exception | None = None
        """Why no seal was made at the end."""

    def seal(self, how: Sealing, now: float) -> Seal:
        """The seal of what is committed now."""
        return self._sealer().seal(partial(self._moment, now), how)

    def include(self, seal: Seal, anchor: str) -> InclusionProof:
        """The proof that the newest line of that anchor was committed before the seal."""
        _check_seals(seal)
        snapshot = self._ledger.snapshot
        n = snapshot.record_of(snapshot.find(anchor))
        return self._sealer().include(self._moment(0.0), seal, n)

    def connect(self, older: Seal, newer: Seal) -> ConsistencyProof:
        """The proof that nothing has changed between two seals."""
        _check_seals(older, newer)
        return self._sealer().connect(self._moment(0.0), older, newer)

    def verify(
        self, expect: Seal | None, checker: SealChecker | None, trust: Trust | None
    ) -> Verification:
        """What the store finds of itself, and how it stands to a seal."""
        from pmll_async.integrity.checking import verification
        from pmll_async.integrity.keys import MacKey

        _check_verifying(expect, checker, trust)
        own = MacKey.of(self._hasher)
        return verification(self._report, expect, trust, checker, own)

    def _report(self, watch: Watch | None) -> Report:
        if not isinstance(self._store, SupportsVerify):
            raise StoreError(
                f"{type(self._store).__name__} cannot check itself: it has no `verify` "
                "(SupportsVerify)"
            )
        before = self._ledger.unpurged
        report = self._store.verify(self._hasher, watch)
        return self._without_due(report, before | self._ledger.unpurged)

    def _without_due(self, report: Report, lines: frozenset[int]) -> Report:
        """Without what is to be removed yet: that is under way, and nobody has left it so."""
        if not lines or report.status == "clean":
            return report
        due = {self._ledger.snapshot.record_of(line) for line in lines}
        findings = tuple(
            [each for each in report.findings if each.severity != "torn" or each.n not in due]
        )
        return replace(report, findings=findings, status=status_of(findings))

    def end(self) -> None:
        """What is due before the store closes; a failure is logged and kept."""
        try:
            self._ledger.leaves.keep(self._store)
            if self._at_close is not None:
                self.seal(self._at_close, time_by(self._clock))
        except Exception as exc:  # noqa: BLE001  # the store is to be closed, whatever a witness does
            self.failure = exc
            logger("pmll.seals").error("seal.failed", path=self._store.path, error=repr(exc))

    def _sealer(self) -> Sealer:
        from pmll_async.integrity.sealer import Sealer

        with self._lock:
            if self._made is None:
                self._made = Sealer(self._store, self._store_id, self._hasher, self._ledger.leaves)
            return self._made

    def _moment(self, now: float) -> Moment:
        from pmll_async.integrity.sealer import Moment

        snapshot = self._ledger.snapshot
        return Moment(snapshot.revision, snapshot.digest, snapshot.head, now)


def _check_seals(*given: object) -> None:
    from pmll_async.integrity.seals import Seal

    for each in given:
        if not isinstance(each, Seal):
            kind = type(each).__name__
            raise InvalidInputError(f"a Seal is wanted, as read_seal(path) gives one, not a {kind}")


def _check_verifying(expect: object, checker: object, trust: object) -> None:
    from pmll_async.integrity.trust import Trust

    if expect is not None:
        _check_seals(expect)
    if trust is not None and not isinstance(trust, Trust):
        kind = type(trust).__name__
        raise InvalidInputError(f"trust is a Trust, as read_trust(path) gives one, not a {kind}")
    if checker is not None and not hasattr(checker, "holds"):
        kind = type(checker).__name__
        raise InvalidInputError(f"checker is a key, such as signer.checker, not a {kind}")
    if checker is not None and expect is None and trust is None:
        raise InvalidInputError("a checker checks a seal: give one with expect= or trust=")
