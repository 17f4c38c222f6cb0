"""Holding a log against a seal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from pmll_async.integrity import fnv
from pmll_async.integrity.keys import MacKey, SealChecker
from pmll_async.integrity.merkle import ENTRY_BYTES, GrowingTree
from pmll_async.integrity.seals import Seal
from pmll_async.integrity.trust import Trust
from pmll_async.records.findings import Report, Watch
from pmll_async.values.anchors import ROOT_ANCHOR, ROOT_DIGEST, fold_all

_AT_ONCE: Final = 1024 * ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class SealStanding:
    """How a log stands to a seal: `flaws` are what does not hold, none when all does.

    `unsealed` records came after it, which it says nothing of.
    """

    flaws: tuple[str, ...]
    unsealed: int

    @property
    def holds(self) -> bool:
        """Whether the log begins with exactly what was sealed."""
        return not self.flaws


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found: of every byte of a store, and of a seal where one was expected."""

    report: Report
    standing: SealStanding | None = None

    @property
    def holds(self) -> bool:
        """Whether every byte is what was written, and the log begins with what was sealed."""
        return self.report.status == "clean" and (self.standing is None or self.standing.holds)


def verification(
    verify: Callable[[Watch | None], Report],
    expect: Seal | None,
    trust: Trust | None,
    checker: SealChecker | None,
    own: MacKey | None,
) -> Verification:
    """What `verify` finds, and how the log stands to a seal: `expect`, else the remembered one.

    Without a checker a keyed lattice's seal must be by its `own` key, unless it is signed.
    """
    seal = trust.seal if expect is None and trust is not None else expect
    if seal is None:
        return Verification(verify(None))
    # A keyed lattice is never sealed plainly: a plain seal of one was stripped.
    check = LogCheck(seal, checker or (None if seal.mode == "ed25519" else own), trust)
    report = verify(check.add)
    return Verification(report, check.standing(report))


class Facts(NamedTuple):
    """The fields of a seal that follow from the records alone, in hex."""

    fnv: str
    digest: str
    root: str


class LogState:
    """What a seal states of a log, and grows with it; entries are L_n."""

    def __init__(self) -> None:
        self._tree = GrowingTree()
        self._fnv, self._digest = fnv.EMPTY, ROOT_DIGEST

    @property
    def records(self) -> int:
        """How many records were taken."""
        return self._tree.size

    def grow_to(self, records: int, entries: bytes) -> None:
        """So many records; `entries` are those of the whole log."""
        self.extend(entries[self.records * ENTRY_BYTES : records * ENTRY_BYTES])

    def extend(self, entries: bytes) -> None:
        """The next records."""
        self._tree.extend(entries)
        self._fnv = fnv.fnv1a(entries, self._fnv)
        self._digest = fold_all(self._digest, entries)

    @property
    def facts(self) -> Facts:
        """What follows from the entries."""
        return Facts(f"{self._fnv:016x}", self._digest.hex(), self._tree.root.hex())

    def flaws(self, seal: Seal) -> list[str]:
        """What of these a seal of as many records states otherwise."""
        facts = self.facts._asdict()
        wrong = [name for name, fact in facts.items() if fact != getattr(seal, name)]
        return [f"its {name} is not that of the log" for name in wrong]


class LogCheck:
    """Takes the records of a log in order and holds them against a seal, and what is remembered."""

    def __init__(self, seal: Seal, checker: SealChecker | None, trust: Trust | None = None) -> None:
        self._seal, self._trust = seal, trust
        self._state, self._waiting, self._records = LogState(), bytearray(), 0
        flaw = seal.proof_flaw(checker)
        self._length_flaws: list[str] = []
        self._flaws = ([flaw] if flaw else []) + (trust.flaws(seal) if trust else [])
        # Where the log is held against them, the longer first; the same seal needs it once.
        marks = [seal] if trust is None or trust.seal == seal else [seal, trust.seal]
        self._marks = sorted(marks, key=lambda mark: -mark.records)
        self._take_marks(ROOT_ANCHOR, 0)

    def add(self, leaf: bytes | None, head: str | None, end: int | None) -> None:
        """The next record's L_n, the head behind it and how long the log is there.

        None for what cannot be read, or is not known.
        """
        # A record that cannot be read makes the digest another one, which tells.
        self._waiting += leaf or bytes(ENTRY_BYTES)
        self._records += 1
        if len(self._waiting) >= _AT_ONCE:
            self._settle()
        self._take_marks(head, end)

    def _take_marks(self, head: str | None, end: int | None) -> None:
        while self._marks and self._marks[-1].records == self._records:
            seal = self._marks.pop()
            self._settle()
            flaws = self._state.flaws(seal)
            if head is not None and head != seal.head:
                flaws.append("its head is not that of the log")
            whose = "" if seal is self._seal else "the remembered seal: "
            if None not in (end, seal.log_bytes) and end != seal.log_bytes:
                self._length_flaws.append(f"{whose}its log_bytes are not those of the log")
            self._flaws += [f"{whose}{flaw}" for flaw in flaws]

    def _settle(self) -> None:
        self._state.extend(bytes(self._waiting))
        self._waiting.clear()

    def standing(self, report: Report) -> SealStanding:
        """The outcome, once the store was gone through and reported."""
        # What was erased since has made the log another length, and left every L_n.
        flaws = self._flaws + ([] if report.erased else self._length_flaws)
        if self._seal.store != report.store:
            there = report.store or "a store without a readable id"
            flaws.append(f"it is of the store {self._seal.store}, and this is {there}")
        flaws += [
            f"the log has {self._records} records where {seal.records} were sealed: it was cut off "
            "or replaced by an older one"
            for seal in self._marks
        ]
        if self._trust is not None and self._trust.keyed and not report.keyed:
            flaws.append("the store has no key where a keyed one is remembered")
        return SealStanding(tuple(dict.fromkeys(flaws)), max(0, self._records - self._seal.records))
