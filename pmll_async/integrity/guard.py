"""Guards: what a question wants to know about its answers' sources before it believes them.

Generic over what is asked for, lines or texts: a guard is given a way to ask and the source of each
answer, and it asks again where one principal takes too much room.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pmll_async.integrity.source import OWNER_TRUST, PARENTS, PRINCIPAL, TRUST, Source
from pmll_async.values import checks
from pmll_async.values.filters import And, Filter, Not, Test

_OVERFETCH: Final = 4
"""Of so many times the wanted lines it is asked who agrees."""

FoundT = TypeVar("FoundT")


class Ask(Protocol[FoundT]):
    """Asks once more: the best k, best first, among what the filter matches."""

    def __call__(self, k: int, matching: Filter | None) -> Awaitable[list[FoundT]]:
        """See above."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What must hold of an answer's source. `min_sources` 0 asks for nobody else to agree.

    With `min_sources` a line of less than `min_trust` (1, unless given) is wanted if so many
    principals agree; without it, no line under `min_trust` is.
    """

    min_trust: float | None = None
    min_sources: int = 0
    agreement: float = 0.0
    diversity: bool = False

    @classmethod
    def of(
        cls,
        min_trust: float | None,
        min_sources: int | None = None,
        agreement: float = 0.0,
        diversity: bool = False,
    ) -> Guard:
        """A guard of a caller's arguments."""
        return cls(
            None if min_trust is None else checks.fraction(min_trust, "min_trust"),
            0 if min_sources is None else checks.count(min_sources, "min_sources", 1),
            checks.fraction(agreement, "agreement", -1.0),
            checks.flag(diversity, "diversity"),
        )

    @property
    def chooses(self) -> bool:
        """Whether one question is not enough."""
        return self.diversity or bool(self.min_sources)

    def narrowed(self, matching: Filter | None) -> Filter | None:
        """The filter, and that lines are trusted where that alone decides."""
        if self.min_trust is None or self.min_sources:
            return matching
        return both(matching, trusted(self.min_trust))

    def stands_alone(self, source: Source | None) -> bool:
        """Whether a line needs nobody to agree with it."""
        least = OWNER_TRUST if self.min_trust is None else self.min_trust
        return source is None or source.trust >= least


def both(one: Filter | None, other: Filter) -> Filter:
    """Both hold."""
    return other if one is None else And((one, other))


def trusted(least: float) -> Filter:
    """Lines of so much trust; what has no source passes."""
    return Not(Test(TRUST, "$lt", least))


def not_by(principals: Collection[str]) -> Filter:
    """Lines of others; what has no source passes."""
    return Test(PRINCIPAL, "$nin", tuple(sorted(principals)))


def first_hand(seen: Collection[str], *, with_owner: bool) -> Filter:
    """Lines that were derived from no other, by others than those seen."""
    parts: list[Filter] = [Test(PARENTS, "$exists", False), not_by(seen)]
    if not with_owner:
        parts.append(Test(PRINCIPAL, "$exists", True))
    return And(tuple(parts))


@dataclass(frozen=True, slots=True)
class Guarded(Generic[FoundT]):
    """A guarded question: how it is asked, of whom an answer is, and how much it weighs.

    `agreeing` tells of each answer whether enough principals say the same.
    """

    guard: Guard
    ask: Ask[FoundT]
    source: Callable[[FoundT], Source | None]
    weight: Callable[[FoundT], float]
    agreeing: Callable[[Sequence[FoundT]], Awaitable[list[bool]]]

    async def best(self, k: int, matching: Filter | None) -> list[FoundT]:
        """The best k that the guard lets pass."""
        narrowed = self.guard.narrowed(matching)
        if not self.guard.min_sources:
            return await self._asked(k, narrowed)
        found = await self._asked(k * _OVERFETCH, narrowed)
        agreed = await self.agreeing(found)
        passed = [each for each, agrees in zip(found, agreed, strict=True) if agrees]
        return (self._capped(passed, k) if self.guard.diversity else passed)[:k]

    async def _asked(self, k: int, matching: Filter | None) -> list[FoundT]:
        if not self.guard.diversity:
            return await self.ask(k, matching)
        return await self._diverse(k, matching)

    async def _diverse(self, k: int, matching: Filter | None) -> list[FoundT]:
        """The best k of which no principal has more than half; the owner may have all.

        Whoever has more keeps the best half, and the rest is asked for among all others. Two have
        all but one of the places, so that three questions answer it, however many lines they have.
        """
        most, kept, full = half_of(k), list[FoundT](), set[str]()
        while True:
            without = both(matching, not_by(full)) if full else matching
            found = await self.ask(k - len(kept), without)
            held = Counter(self._principal(each) for each in found)
            over = {name for name, lines in held.items() if name is not None and lines > most}
            if not over:
                return sorted([*kept, *found], key=self.weight, reverse=True)
            for name in sorted(over):
                kept += [each for each in found if self._principal(each) == name][:most]
            full |= over

    def _capped(self, found: Sequence[FoundT], k: int) -> list[FoundT]:
        held: Counter[str | None] = Counter()
        kept = []
        for each in found:
            name = self._principal(each)
            if name is None or held[name] < half_of(k):
                kept.append(each)
            held[name] += 1
        return kept

    def _principal(self, found: FoundT) -> str | None:
        source = self.source(found)
        return None if source is None else source.principal


class Voice(NamedTuple):
    """Somebody who says the same: their source, None for the owner."""

    source: Source | None


async def corroborated(
    guard: Guard, source: Source | None, another: Callable[[Filter], Awaitable[Voice | None]]
) -> bool:
    """Whether a line is trusted by itself, or said by enough principals at first hand.

    `another` finds somebody who says the same among the lines that a filter matches. The line's own
    principal is found as anybody else, so that what was only repeated has no voice of its own.
    """
    if guard.stands_alone(source):
        return True
    seen, with_owner = set[str](), True
    for _ in range(guard.min_sources):
        voice = await another(first_hand(seen, with_owner=with_owner))
        if voice is None:
            return False
        if voice.source is None:
            with_owner = False
        else:
            seen.add(voice.source.principal)
    return True


class KnownRows:
    """The rows that filters match, found once each: all lines are first asked about the same."""

    def __init__(self, rows: Callable[[Filter], Awaitable[NDArray[np.int64]]]) -> None:
        self._rows = rows
        self._known: dict[Filter, NDArray[np.int64]] = {}
        self._finding = asyncio.Lock()

    async def __call__(self, matching: Filter) -> NDArray[np.int64]:
        """The rows, ascending."""
        async with self._finding:
            if matching not in self._known:
                self._known[matching] = await self._rows(matching)
            return self._known[matching]


def half_of(k: int) -> int:
    """How many of k lines one principal may have: at least one."""
    return max(1, k // 2)
