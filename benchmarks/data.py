"""The lines and queries that every subject is measured with: seeded and clustered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
JsonScalar = str | int

DIM = 384
CLUSTERS = 200
TOPICS = 100
# Noise of this length beside a unit centre gives cosines near 0.73 inside a cluster and near 0
# between clusters: what sentence embedders give for passages on one subject.
SPREAD = 0.6
BLOCK = 1_000
SEED = 20_250


@dataclass(frozen=True)
class Line:
    """One memory, in the forms that the subjects take it in."""

    number: int
    text: str
    key: Vector
    value: Vector | None
    context: dict[str, JsonScalar]

    @cached_property
    def floats(self) -> list[float]:
        """The key as the list that the peers ask for; made before the clock starts."""
        return [float(number) for number in self.key]

    @property
    def tags(self) -> dict[str, JsonScalar]:
        """The context without the text, for peers that take the text as an argument of its own."""
        return {name: entry for name, entry in self.context.items() if name != "text"}


@dataclass(frozen=True)
class Where:
    """A filter on one context field, which each subject says in its own words."""

    field: str
    operator: str
    operand: JsonScalar


OPERATORS = {"eq": "=", "gte": ">="}
"""The operators of a `Where` as SQL writes them."""


def unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows scaled to length 1."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / lengths, dtype=np.float32)


@lru_cache(maxsize=1)
def centres() -> npt.NDArray[np.float32]:
    """The cluster centres, (CLUSTERS, DIM)."""
    random = np.random.default_rng(SEED)
    return unit(random.standard_normal((CLUSTERS, DIM), dtype=np.float32))


def around(clusters: npt.NDArray[np.intp], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """One unit vector near each of the named centres."""
    noise = unit(random.standard_normal((len(clusters), DIM), dtype=np.float32))
    return unit(centres()[clusters] + np.float32(SPREAD) * noise)


@lru_cache(maxsize=2)
def block_of_vectors(number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Keys and values of one block, which is seeded alone: any range can be made alone."""
    random = np.random.default_rng([SEED, number])
    clusters = random.integers(0, CLUSTERS, BLOCK)
    return around(clusters, random), around(clusters, random)


def line(number: int, *, valued: bool = True) -> Line:
    """The line with this number, with a value that is not its key unless told otherwise."""
    keys, values = block_of_vectors(number // BLOCK)
    place = number % BLOCK
    text = f"memory {number}: what the agent learned about topic {number % TOPICS} in step {number}"
    context: dict[str, JsonScalar] = {
        "topic": f"topic-{number % TOPICS}",
        "step": number,
        "text": text,
    }
    return Line(number, text, keys[place], values[place] if valued else None, context)


def lines(start: int, stop: int, *, valued: bool = True) -> list[Line]:
    """Lines `start` to `stop`, exclusive."""
    return [line(number, valued=valued) for number in range(start, stop)]


def blocks(total: int) -> Iterator[list[Line]]:
    """The first `total` lines in blocks, so that a large load needs little memory."""
    for start in range(0, total, BLOCK):
        yield lines(start, min(start + BLOCK, total))


@lru_cache(maxsize=8)
def queries(count: int, series: int = 0) -> tuple[Vector, ...]:
    """Query vectors, each near another centre while there are centres; every series is new."""
    random = np.random.default_rng([SEED, 7, series])
    clusters = np.resize(random.permutation(CLUSTERS), count)
    return tuple(around(clusters, random))
