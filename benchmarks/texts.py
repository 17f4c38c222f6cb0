"""Sentences and questions that are the same on every machine: words as often as Zipf has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

WORDS = 40_000
SPEAKERS = 60
TURNS = 25  # of a session
_SEED = 7


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation; sessions are numbered, `seconds` is when it was said."""

    text: str
    speaker: str
    session: str
    seconds: float


def turns(count: int) -> Iterator[Turn]:
    """The first `count` turns, 5 to 40 words each; every fifth asks."""
    generator = np.random.default_rng(_SEED)
    odds = 1.0 / (np.arange(WORDS) + 10.0)
    odds /= odds.sum()
    two = np.array([0, 1])
    for number in range(count):
        if number % TURNS == 0:
            two = generator.choice(SPEAKERS, 2, replace=False)
        chosen = generator.choice(WORDS, int(generator.integers(5, 40)), p=odds)
        yield Turn(
            " ".join(f"w{word:x}" for word in chosen) + ("?" if number % 5 == 0 else "."),
            f"Name{two[number % 2]}",
            str(number // TURNS),
            1.6e9 + 600.0 * number,
        )


def questions(count: int) -> list[str]:
    """Questions of three to six words, common and rare, about somebody."""
    generator = np.random.default_rng(_SEED + 1)
    asked = []
    for _ in range(count):
        ranks = np.exp(generator.uniform(3.0, 9.0, int(generator.integers(3, 7)))).astype(int)
        words = " ".join(f"w{rank:x}" for rank in ranks)
        asked.append(f"What did Name{generator.integers(SPEAKERS)} say about the {words}?")
    return asked
