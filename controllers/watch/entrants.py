"""The candidates of one race, from waiting for them to what became of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pmll_async import CandidateFailure, RaceOutcome

from ..events import Judged, Proposed
from ..steps import Failed

Fate = Literal["running", "proposed", "judged", "winner", "branch", "same", "failed", "unfinished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A candidate. `strength` is what it was committed with, `reason` why it failed.

    `same`: its content is that of a better one, which stands for both.
    """

    name: str
    fate: Fate = "running"
    confidence: float | None = None
    score: float | None = None
    strength: float | None = None
    anchor: str = ""
    reason: str = ""


Entrants = tuple[Entrant, ...]


def proposed(entrants: Entrants, event: Proposed) -> Entrants:
    """One has returned a candidate, or failed."""
    # Who joins in the middle has not seen all of them start.
    missing = [Entrant(name=f"act {n}") for n in range(len(entrants), event.number + 1)]
    known = [*entrants, *missing]
    if event.failure is None:
        came = Entrant(name=event.name, fate="proposed", confidence=event.confidence)
    else:
        came = _failed(event.name, event.failure)
    known[event.number] = came
    return tuple(known)


def judged(entrants: Entrants, event: Judged) -> Entrants:
    """One has a score: of several with its name the first without."""
    known = list(entrants)
    for number, entrant in enumerate(known):
        if entrant.name == event.name and entrant.fate == "proposed":
            known[number] = replace(entrant, fate="judged", score=event.score)
            break
    return tuple(known)


def decided(entrants: Entrants, outcome: RaceOutcome | Failed) -> Entrants:
    """What became of them: those with a score first, the best first; then failed and unfinished."""
    failed = [_failed(failure.name, failure) for failure in outcome.failures]
    late = [Entrant(name=name, fate="unfinished") for name in outcome.unfinished]
    if isinstance(outcome, RaceOutcome):
        return (*_ranked(entrants, outcome), *failed, *late)
    names = {entrant.name for entrant in entrants}
    if entrants and not {failure.name for failure in outcome.failures} <= names:
        # It was the race as a whole that could not be committed.
        return entrants
    return (*failed, *late)


def _failed(name: str, failure: CandidateFailure) -> Entrant:
    return Entrant(name=name, fate="failed", reason=f"{failure.error}: {failure.message}")


def _ranked(entrants: Entrants, outcome: RaceOutcome) -> Iterator[Entrant]:
    strengths = {line.anchor: line.strength for line in (outcome.winner, *outcome.losers)}
    # Entrants and scores of one name are both in the order of the acts.
    confidences: dict[str, list[float | None]] = {}
    for entrant in entrants:
        confidences.setdefault(entrant.name, []).append(entrant.confidence)
    taken: set[str] = set()
    rows = []
    for place, score in enumerate(outcome.scores):
        said = confidences.get(score.name)
        rows.append((-score.score, place, score, said.pop(0) if said else None))
    for _, _, score, confidence in sorted(rows, key=lambda row: row[:2]):
        fate: Fate = "winner" if not taken else "same" if score.anchor in taken else "branch"
        taken.add(score.anchor)
        yield Entrant(
            name=score.name,
            fate=fate,
            confidence=confidence,
            score=score.score,
            strength=strengths.get(score.anchor),
            anchor=score.anchor,
        )
