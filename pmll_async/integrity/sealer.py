"""Sealing: the next seal of an open lattice, so that none is skipped, repeated or forked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pmll_async.errors import InvalidInputError, SealError
from pmll_async.integrity.checking import LogState
from pmll_async.integrity.documents import check_place
from pmll_async.integrity.keys import MacKey, SealSigner
from pmll_async.integrity.leaves import Leaves
from pmll_async.integrity.merkle import ENTRY_BYTES
from pmll_async.integrity.proofs import ConsistencyProof, InclusionProof
from pmll_async.integrity.sealing import Sealing
from pmll_async.integrity.seals import NO_SEAL, Seal
from pmll_async.integrity.trust import Trust
from pmll_async.protocols import Store, SupportsLogSize, SupportsSidecar
from pmll_async.values.anchors import Hasher

FILE: Final = "seal.json"


@dataclass(frozen=True, slots=True)
class Moment:
    """The state that is sealed: how many records, h and the head after them, and the time now."""

    records: int
    digest: bytes
    head: str
    time: float


class Sealer:
    """Makes the seals and proofs of one open lattice, one at a time; everything here blocks."""

    def __init__(self, store: Store, store_id: str, hasher: Hasher, leaves: Leaves) -> None:
        self._store, self._store_id, self._leaves = store, store_id, leaves
        self._own, self._keyed = MacKey.of(hasher), hasher.keyed
        self._lock = threading.Lock()
        self._state = LogState()

    def seal(self, now: Callable[[], Moment], how: Sealing) -> Seal:
        """The seal of the log as it is now: the last one, where nothing came after it."""
        signer = how.signer or self._own
        with self._lock:
            # Not before: whoever had the lock until now may have sealed more.
            moment = now()
            places = self._places(how)
            self._check_places(how, places)
            trust = None if how.trust is None else Trust.read(Path(how.trust))
            if trust is not None and trust.keyed and not self._keyed:
                raise SealError(str(how.trust), "it remembers a keyed lattice, and this has no key")
            files = {place: Seal.read(Path(place)) for place in places}
            if trust is not None:
                files[str(how.trust)] = trust.seal
            known = {name: seal for name, seal in files.items() if seal is not None}
            for name, found in known.items():
                self._check(name, found, moment, signer)
            state = self._state_at(moment, known)
            last = _last(known, signer)
            seal = self._next(moment, state, last, signer)
            if how.trust is not None and Trust.read(Path(how.trust)) != trust:
                raise SealError(str(how.trust), "somebody else sealed meanwhile; seal again")
            for place, writable in places.items():
                if writable and files[place] != seal:
                    seal.write(Path(place))
            if how.trust is not None and (trust is None or trust.seal != seal):
                Trust(keyed=self._keyed, seal=seal).write(Path(how.trust))
        if how.witness is not None and seal != last:
            how.witness(seal)
        return seal

    def include(self, moment: Moment, seal: Seal, n: int) -> InclusionProof:
        """The proof that record `n` is one of those which the seal is of."""
        leaves = self._sealed(moment, {"the seal": seal})
        return InclusionProof.made(
            seal, n, self._store.read(n), leaves[: seal.records * ENTRY_BYTES]
        )

    def connect(self, moment: Moment, older: Seal, newer: Seal) -> ConsistencyProof:
        """The proof that what `older` states is the beginning of what `newer` does."""
        leaves = self._sealed(moment, {"the older seal": older, "the newer seal": newer})
        return ConsistencyProof.made(older, newer, leaves[: newer.records * ENTRY_BYTES])

    # --- the parts of sealing ------------------------------------------------------------------

    def _places(self, how: Sealing) -> dict[str, bool]:
        """The files of the seal, the store's own first, and whether they are written."""
        own = self._store.sidecar(FILE) if isinstance(self._store, SupportsSidecar) else None
        places = {} if own is None else {str(own.path): not own.read_only}
        if how.path is not None:
            places[str(Path(how.path).absolute())] = True
        if not any(places.values()):
            raise SealError(
                self._store.path,
                "the seal has no place in this store, which has none or may only be read: pass "
                "seal(path=...)",
            )
        return places

    def _check_places(self, how: Sealing, places: Mapping[str, bool]) -> None:
        trust = None if how.trust is None else str(Path(how.trust).absolute())
        if trust in places:
            raise InvalidInputError(f"a seal and what is remembered of it are two files: {trust}")
        for place in [*(place for place in places if places[place]), *([trust] if trust else [])]:
            check_place(Path(place))

    def _check(self, name: str, seal: Seal, moment: Moment, signer: SealSigner | None) -> None:
        """Refuse to seal behind a seal that is not of this lattice, or with less than its key."""
        self._check_own(name, seal, moment)
        if seal.mode != "plain" and (seal.mode, seal.key) != _named(signer):
            raise SealError(
                name,
                f"it is sealed by {seal.mode} {seal.key}: seal with that key, or begin anew by "
                "moving the seals of that key away",
            )
        flaw = seal.proof_flaw(signer.checker if signer and seal.mode != "plain" else None)
        if flaw:
            raise SealError(name, f"{flaw}; nothing was sealed")

    def _state_at(self, moment: Moment, known: Mapping[str, Seal]) -> LogState:
        """The state of the log then, once every known seal was found to be of its beginning."""
        entries = self._leaves.upto(self._store, moment.records, moment.digest)
        if min([moment.records, *(s.records for s in known.values())]) < self._state.records:
            self._state = LogState()
        _hold(self._state, entries, known)
        self._state.grow_to(moment.records, entries)
        if self._state.facts.digest != moment.digest.hex():
            raise SealError(
                self._store.path,
                "its records are not those that the lattice was opened with; verify the store",
            )
        return self._state

    def _next(
        self, moment: Moment, state: LogState, last: Seal | None, signer: SealSigner | None
    ) -> Seal:
        """The last seal where it says it all already, else the one behind it."""
        is_whole = last is not None and last.records == moment.records
        if last is not None and is_whole and (last.mode, last.key) == _named(signer):
            return last
        facts = state.facts
        made = Seal(
            store=self._store_id,
            number=last.number + 1 if last else 1,
            previous=last.own_digest if last else NO_SEAL,
            records=moment.records,
            log_bytes=self._log_bytes(moment.records),
            head=moment.head,
            time=moment.time,
            mode="plain",
            key="",
            fnv=facts.fnv,
            digest=facts.digest,
            root=facts.root,
        )
        return made.signed(signer)

    def _log_bytes(self, records: int) -> int | None:
        store = self._store
        return store.log_size(records) if isinstance(store, SupportsLogSize) else None

    def _sealed(self, moment: Moment, seals: Mapping[str, Seal]) -> bytes:
        """All leaves, once each seal was found to be of their beginning; else `SealError`."""
        for name, seal in seals.items():
            self._check_own(name, seal, moment)
        leaves = self._leaves.upto(self._store, moment.records, moment.digest)
        _hold(LogState(), leaves, seals)
        return leaves

    def _check_own(self, name: str, seal: Seal, moment: Moment) -> None:
        if seal.store != self._store_id:
            raise SealError(name, f"it is a seal of another store, {seal.store}; move it away")
        if seal.records > moment.records:
            raise _not_ours(name, f"{seal.records} records were sealed of {moment.records}")


def _hold(state: LogState, entries: bytes, known: Mapping[str, Seal]) -> None:
    """Let the state grow past each seal, and refuse one that states something else of it."""
    for name, seal in sorted(known.items(), key=lambda entry: entry[1].records):
        state.grow_to(seal.records, entries)
        flaws = state.flaws(seal)
        if flaws:
            raise _not_ours(name, ", ".join(flaws))


def _named(signer: SealSigner | None) -> tuple[str, str]:
    """The mode and key that its seals have."""
    return ("plain", "") if signer is None else (signer.mode, signer.key_id)


def _last(known: Mapping[str, Seal], signer: SealSigner | None) -> Seal | None:
    """The newest, of those that were checked by their key if there are such."""
    seals = list(known.values())
    signed = [seal for seal in seals if (seal.mode, seal.key) == _named(signer)]
    return max(signed or seals, key=lambda seal: seal.number, default=None)


def _not_ours(name: str, what: str) -> SealError:
    return SealError(
        name,
        f"the log does not begin with what this seal states ({what}): it was cut off, replaced or "
        "changed; nothing was sealed: keep that seal, and verify the store against it",
    )
