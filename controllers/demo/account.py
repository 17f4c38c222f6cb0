"""What happened while a question was answered, as values to be shown or written as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from pmll_async import CommitEvent, EventStream, Lattice, RaceDecided, RaceOutcome

from .. import Acted, Event, Failed, Planned, Reflected, RunEnded, RunResult
from ..reports.documents import verdict_name
from .library import Library
from .loop import controller
from .relevance import Page, QuestionWords
from .strategies import Searches

_BIAS_LINES: Final = 5  # nearest lines that make it: the next ones have little weight
_BIAS_SHOWN: Final = 6  # numbers of it: a glimpse that fits on one line


@dataclass(frozen=True, slots=True)
class PlanMade:
    """A cycle's look-ups; `known_run` settled this question before."""

    cycle: int
    look_ups: tuple[str, ...]
    learned: tuple[str, ...]
    known_run: str


@dataclass(frozen=True, slots=True)
class Racer:
    """A strategy in a race; `fate`: `chain`, `branch`, `same` (as a better one), `failed`."""

    name: str
    fate: str
    score: float | None = None
    anchor: str = ""
    title: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Race:
    """A race of the strategies; `revised` are earlier answers that the winner replaces."""

    cycle: int
    entrants: tuple[Racer, ...]
    winner: str
    branches: tuple[str, ...]
    branch_strength: float
    revised: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerdictGiven:
    """What REFLECT said."""

    cycle: int
    verdict: str
    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer; `known_run` gave it before, if any. `bias` shows the first of all numbers."""

    question: str
    run_id: str
    status: str
    cycles: int
    verdict: str
    score: float
    anchor: str
    topic: str
    title: str
    text: str
    known_run: str
    bias: tuple[float, ...]
    bias_length: float


class Teller(Protocol):
    """Who tells the user what happens, as it happens."""

    def asked(self, question: str, run_id: str) -> None:
        """A run has begun."""

    def planned(self, plan: PlanMade) -> None:
        """PLAN is done."""

    def raced(self, race: Race) -> None:
        """ACT is done."""

    def reflected(self, verdict: VerdictGiven) -> None:
        """REFLECT is done."""

    def answered(self, answer: Answered) -> None:
        """The run is over."""


async def answer(lattice: Lattice, library: Library, question: str, teller: Teller) -> None:
    """Run the loop on one question, and tell all of it."""
    async with lattice.events() as commits, controller(lattice).stream(question, library) as run:
        teller.asked(question, run.run_id)
        known = ""
        async for event in run:
            if isinstance(event, Planned) and isinstance(event.plan.data, Searches):
                known = event.plan.data.known_run
            await _tell(event, library, commits, teller)
            if isinstance(event, RunEnded):
                teller.answered(await _answer(lattice, library, event.result, known))


async def _tell(event: Event, library: Library, commits: EventStream, teller: Teller) -> None:
    if isinstance(event, Planned):
        data: Searches = event.plan.data
        look_ups = (*data.words, *(f'"{phrase}"' for phrase in data.phrases))
        teller.planned(PlanMade(event.cycle, look_ups, data.learned, data.known_run))
    elif isinstance(event, Acted):
        teller.raced(await _race(event, library, commits))
    elif isinstance(event, Reflected):
        verdict = verdict_name(event.verdict)
        teller.reflected(VerdictGiven(event.cycle, verdict, event.verdict.text))


async def _race(event: Acted, library: Library, commits: EventStream) -> Race:
    outcome = event.outcome
    failed = [Racer(failure.name, "failed", reason=failure.message) for failure in outcome.failures]
    if isinstance(outcome, Failed):
        return Race(event.cycle, tuple(failed), "", (), 0.0, ())
    decided = await _decision(aiter(commits), outcome.winner.anchor)
    return Race(
        event.cycle,
        (*_entrants(outcome, library), *failed),
        outcome.winner.anchor,
        decided.losers,
        outcome.losers[0].strength if outcome.losers else 0.0,
        decided.revised,
    )


def _entrants(outcome: RaceOutcome, library: Library) -> list[Racer]:
    lines = {line.anchor: line for line in (outcome.winner, *outcome.losers)}
    seen: set[str] = set()
    entrants = []
    for entry in sorted(outcome.scores, key=lambda entry: -entry.score):
        fate = "chain" if entry.anchor == outcome.winner.anchor else "branch"
        # A line that was seen is that of a better candidate with the same content.
        fate = "same" if entry.anchor in seen else fate
        seen.add(entry.anchor)
        title = library.pages[str(lines[entry.anchor].context["passage"])].title
        entrants.append(Racer(entry.name, fate, entry.score, entry.anchor, title))
    return entrants


async def _decision(commits: AsyncIterator[CommitEvent], winner: str) -> RaceDecided:
    """The commit that this race led to; it has happened, so that nothing is waited for."""
    async for commit in commits:
        if isinstance(commit, RaceDecided) and commit.winner == winner:
            return commit
    raise LookupError(f"no commit of race {winner}")


async def _answer(lattice: Lattice, library: Library, result: RunResult, known: str) -> Answered:
    vector = library.embedder.embed([result.goal])[0]
    bias = await lattice.bias_vector(vector, k=_BIAS_LINES)
    page, score = Page("", "", "", ""), 0.0
    if result.winner is not None:
        page = library.pages[str(result.winner.context["passage"])]
        score = QuestionWords.of(result.goal, library.vocabulary).score(page)
    return Answered(
        question=result.goal,
        run_id=result.run_id,
        status=result.status,
        cycles=result.cycles,
        verdict=result.text or result.reason,
        score=score,
        anchor="" if result.winner is None else result.winner.anchor,
        topic=page.topic,
        title=page.title,
        text=page.text,
        known_run=known,
        bias=tuple(round(float(number), 4) for number in bias[:_BIAS_SHOWN]),
        bias_length=round(float(np.linalg.norm(bias)), 4),
    )
