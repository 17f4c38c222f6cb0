"""What an index has on a device of torch's: keys at length 1, and the terms of their weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import torch

from pmll_async.indexes.selection import Terms
from pmll_async.values.concert import Float32

BLOCK_ROWS: Final = 1 << 18
"""Keys in one piece: 192 MiB in 16 bits at 384 dimensions, much more than it takes to begin."""


class Block(NamedTuple):
    """Unit keys (rows, dim) from row `first` on."""

    first: int
    keys: torch.Tensor


class DeviceKeys:
    """Keys at length 1 on a device, in blocks that are only appended to.

    Of more than `room` bytes those that do not fit stay in the host's memory, from where they are
    copied for each question, the next block while the one before it is computed with.
    """

    def __init__(
        self, dim: int, device: torch.device, dtype: torch.dtype, room: int | None
    ) -> None:
        self._dim, self._device, self._dtype = dim, device, dtype
        size = BLOCK_ROWS * dim * dtype.itemsize
        self._held = None if room is None else room // max(size, 1)
        self._blocks: list[torch.Tensor] = []
        self.count = 0
        """How many rows it has; set last, for other threads look meanwhile."""

    def add(self, units: Float32) -> None:
        """Append rows (m, dim) of length 1."""
        rows, done, place = torch.from_numpy(units), 0, self.count
        while done < len(units):
            block, start = divmod(place, BLOCK_ROWS)
            if block == len(self._blocks):
                self._blocks.append(self._new_block(block))
            size = min(len(units) - done, BLOCK_ROWS - start)
            self._blocks[block][start : start + size].copy_(rows[done : done + size])
            done, place = done + size, place + size
        self.count = place

    def _new_block(self, number: int) -> torch.Tensor:
        held = self._held is None or number < self._held
        return torch.empty(
            (BLOCK_ROWS, self._dim),
            dtype=self._dtype,
            device=self._device if held else "cpu",
            # Only memory that the system cannot move is copied beside a computation.
            pin_memory=not held and self._device.type == "cuda",
        )

    def upto(self, count: int, start: int, step: int) -> Iterator[Block]:
        """Rows `start` … `count - 1` on the device, newest first, at most `step` at once."""
        numbers = range((count - 1) // BLOCK_ROWS, start // BLOCK_ROWS - 1, -1)
        coming = self._brought(numbers[0]) if count > start else None
        for number in numbers:
            keys = coming
            coming = self._brought(number - 1) if number > numbers[-1] else None
            if keys is None:
                return
            base = number * BLOCK_ROWS
            low, high = max(start - base, 0), min(count - base, BLOCK_ROWS)
            for stop in range(high, low, -step):
                first = max(low, stop - step)
                yield Block(base + first, keys[first:stop])

    def _brought(self, number: int) -> torch.Tensor:
        return self._blocks[number].to(self._device, non_blocking=True)


class DeviceTerms:
    """The columns of `Terms` on a device; of a state with more rows only those are copied."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._terms: Terms | None = None
        self._columns = torch.empty((3, 0), device=device)

    def of(self, terms: Terms) -> torch.Tensor:
        """Slope, faded and fixed (3, rows) as of these terms."""
        if terms is self._terms:
            return self._columns[:, : terms.count]
        before = self._terms
        first = before.count if before is not None and terms.goes_on(before) else 0
        if terms.count > self._columns.shape[1] or not first:
            room = terms.count + terms.count // 8
            columns = torch.empty((3, room), device=self._device)
            columns[:, :first] = self._columns[:, :first]
            self._columns = columns
        for column, part in zip(self._columns, terms.parts(first), strict=True):
            column[first : terms.count].copy_(torch.from_numpy(part))
        self._terms = terms
        return self._columns[:, : terms.count]


class Asked(NamedTuple):
    """Questions on a device.

    Units (q, dim) and, each (q, 1), the scale of recencies, the least cosine that surely counts and
    the least that may, and how wrong weights may be.
    """

    units: torch.Tensor
    scales: torch.Tensor
    surely: torch.Tensor
    maybe: torch.Tensor
    slack: torch.Tensor
    k: tuple[int, ...]


class Chosen(NamedTuple):
    """Rows that may be among the best of the question with the same place in `owners`."""

    owners: torch.Tensor
    rows: torch.Tensor
    weights: torch.Tensor


Scores = Callable[[Block], tuple[torch.Tensor, torch.Tensor]]
"""Of a block the cosines and weights (q, rows), float32; -inf for what is out of the question."""


def select(blocks: Iterator[Block], asked: Asked, scores: Scores) -> Chosen:
    """What may be among the `k` best by weight of each question.

    What may or may not reach the floor neither sets the threshold nor gets lost.
    """
    best, threshold = best_of(None, asked)
    found = list[Chosen]()
    for block in blocks:
        cosines, weights = scores(block)
        weights.masked_fill_(cosines < asked.maybe, -math.inf)
        sure = weights.masked_fill(cosines < asked.surely, -math.inf)
        best, threshold = best_of(sure, asked, best)
        cuts = (threshold - asked.slack).clamp(min=torch.finfo(torch.float32).min)
        owners, rows = torch.nonzero(weights >= cuts, as_tuple=True)
        found.append(Chosen(owners, rows + block.first, weights[owners, rows]))
    return joined(found, threshold, asked)


def best_of(
    weights: torch.Tensor | None, asked: Asked, best: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best weights so far (q, most), and (q, 1) what the k-th best of each question weighs."""
    most, device = max(asked.k), asked.units.device
    if best is None:
        best = torch.full((len(asked.k), most), -math.inf, device=device)
    if weights is not None:
        tops = torch.topk(weights, min(most, weights.shape[1]), dim=1).values
        best = torch.topk(torch.cat([best, tops], dim=1), most, dim=1).values
    places = torch.tensor(asked.k, device=device)[:, None] - 1
    return best, best.gather(1, places)


def joined(found: Sequence[Chosen], threshold: torch.Tensor, asked: Asked) -> Chosen:
    """All that still may be among the best."""
    if not found:
        nothing = torch.empty(0, dtype=torch.int64, device=threshold.device)
        return Chosen(nothing, nothing, nothing.float())
    owners, rows, weights = (torch.cat(each) for each in zip(*found, strict=True))
    stays = weights >= (threshold - asked.slack)[owners, 0]
    return Chosen(owners[stays], rows[stays], weights[stays])
