"""Presets: scorers weighed together, each tried on conversations or notes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from pmll_async.errors import InvalidInputError
from pmll_async.protocols import AsyncEmbedder, Embedder
from pmll_async.text import scorers
from pmll_async.text.embedders.hashing import HashingEmbedder
from pmll_async.text.evidence import chance
from pmll_async.text.scorers import Scorer
from pmll_async.text.search import Search
from pmll_async.values.concert import Float64

FACTORS: Final = ("strength", "best")
"""What a score depends on beside totals, as explanations name it.

It is multiplied by the strength of its line; `best` is the probability that the best line answers.
"""
# How much faster scores fall below the best line's than its own rises with its total.
_FALL: Final = 3.0


@dataclass(frozen=True, slots=True)
class Part:
    """A scorer, how much it weighs, and its name in explanations.

    `meaning` says that the scorer looks at the cosines of vectors.
    """

    name: str
    scorer: Scorer
    weight: float = 1.0
    meaning: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise InvalidInputError(f"the weight of {self.name!r} is not finite: {self.weight!r}")


@dataclass(frozen=True, slots=True, repr=False)
class Preset:
    """Parts that are added in order, each seeing the total of those before it.

    `middle` is the total of a line that answers as often as not, when it has half of the question's
    words; how fast that changes with the total is `steepness`, in logits. `spelling` has dense
    parts count the hashing embedder's vectors, too, which know only how words are written.
    """

    name: str
    parts: tuple[Part, ...]
    middle: float = 2.0
    steepness: float = 2.1
    spelling: bool = False

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        for name in names:
            if names.count(name) > 1 or name in FACTORS:
                raise InvalidInputError(f"preset {self.name!r}: the name {name!r} is taken")
        if not (math.isfinite(self.middle) and 0 < self.steepness < math.inf):
            raise InvalidInputError(f"preset {self.name!r}: its curve must be finite and rise")

    def __repr__(self) -> str:
        # Signatures show it as a default, where no one wants to read of fifteen functions.
        return f"<Preset {self.name!r}, {len(self.parts)} parts>"

    @property
    def is_built_in(self) -> bool:
        """Whether none of its scorers is the user's, which may wait for anything."""
        modules = [str(getattr(part.scorer, "__module__", "")) for part in self.parts]
        return all(module.startswith(__package__) for module in modules)

    def weigh(self, search: Search) -> None:
        """Add what each part gives the candidates to `search.total`, and note it by name."""
        for part in self.parts:
            search.given[part.name] = points = part.weight * _checked(part, search)
            search.total = search.total + points

    def best(self, search: Search) -> float:
        """The probability that the line with the highest total answers; 0 without any line."""
        if not len(search.rows):
            return 0.0
        return chance(search, self.steepness * (float(search.total.max()) - self.middle))

    def scores(self, totals: Float64, best: float) -> Float64:
        """Scores in [0, 1] of totals, of which the highest has the score `best`."""
        if not len(totals):
            return np.zeros(0)
        below = _FALL * self.steepness * (totals.max() - totals)
        # Beyond 60 the curve is flat to the last bit, and exp would overflow one day.
        exponents = np.clip(math.log(best / (1.0 - best)) - below, -60.0, 60.0)
        return np.asarray(1.0 / (1.0 + np.exp(-exponents)))

    def uses(self, embedder: Embedder | AsyncEmbedder) -> bool:
        """Whether recall needs the question's vector."""
        # The hashing embedder knows only spelling, which the lexical parts count better.
        knows = self.spelling or not isinstance(embedder, HashingEmbedder)
        return knows and any(part.meaning for part in self.parts)


def _checked(part: Part, search: Search) -> Float64:
    points = np.asarray(part.scorer(search))
    if points.shape != search.rows.shape or not np.isfinite(points).all():
        raise InvalidInputError(
            f"the scorer {part.name!r} must give {len(search.rows)} finite numbers, one for each "
            f"of search.rows; it gave shape {points.shape}"
        )
    return points


DIALOGUE: Final = Preset(
    "dialogue",
    (
        Part("lexical", scorers.lexical()),
        Part("window", scorers.window(), 0.75),
        Part("session", scorers.session(), 0.3),
        Part("phrases", scorers.phrases(), 1.2),
        Part("entities", scorers.entities(), 0.3),
        Part("speaker", scorers.speaker(), 0.1),
        Part("dated", scorers.dated(), 0.05),
        Part("length", scorers.length(), 0.2),
        Part("echo", scorers.echo("lexical"), -0.4),
        Part("dense", scorers.dense(), 0.1, meaning=True),
        Part("dense_window", scorers.dense_window(), 0.05, meaning=True),
        Part("feedback", scorers.feedback(), 0.4),
        Part("answering", scorers.answering("lexical", "phrases"), 0.8),
        Part("neighbour", scorers.neighbour(), 0.2),
        Part("newest", scorers.newest(), 0.02),
    ),
    middle=2.4,
    steepness=2.1,
)
"""Turns of conversations: what is said around a line, in its session, tells what it is about."""

NOTES: Final = Preset(
    "notes",
    (
        Part("lexical", scorers.lexical()),
        Part("phrases", scorers.phrases(), 0.5),
        Part("entities", scorers.entities(), 0.3),
        Part("speaker", scorers.speaker(), 0.05),
        Part("echo", scorers.echo("lexical"), -0.4),
        Part("dated", scorers.dated(), 0.05),
        Part("dense", scorers.dense(), 0.05, meaning=True),
        Part("feedback", scorers.feedback(), 0.4),
        Part("newest", scorers.newest(), 0.05),
    ),
    middle=0.65,
    steepness=9.0,
)
"""Facts of a sentence or two, each of which stands for itself; of two alike the newer counts."""

ASSISTANT: Final = Preset(
    "assistant",
    (
        Part("lexical", scorers.lexical()),
        Part("phrases", scorers.phrases(), 0.5),
        Part("entities", scorers.entities(), 0.3),
        Part("length", scorers.length(), -0.2),
        Part("dense", scorers.dense(), 0.05, meaning=True),
        Part("feedback", scorers.feedback(), 0.1),
        Part("newest", scorers.newest(), 0.02),
    ),
    middle=0.52,
    steepness=9.0,
)
"""Paragraphs, such as the answers of assistants: a long one has many words by its length alone."""
