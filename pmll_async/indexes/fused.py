"""Cosine, recency, novelty and the best of each tile of rows in one kernel, written in Triton.

The keys are read once and no score is written but the largest of each tile, from which follows
what the k-th best weighs at least; the few tiles that reach it are computed once more. Where there
is no card, Triton's interpreter runs it (`TRITON_INTERPRET=1` before this is imported).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import torch

from pmll_async.indexes.device import Asked, Block, Chosen, best_of, joined

try:
    import triton
    import triton.language as tl
except ImportError as exc:
    raise ImportError("triton missing: pip install 'pmll-async[cuda]'", name="triton") from exc

TILE_ROWS: Final = 64
_QUESTIONS: Final = 16
"""The least that a card's matrix units take at once."""
_DIMENSIONS: Final = 64
_TILES: Final = 512
"""Tiles that are computed once more together: 50 MB of keys at 384 dimensions."""


@triton.jit  # type: ignore[untyped-decorator]  # triton is not typed
def _tops(  # a kernel takes its pointers one by one
    units: Any,
    keys: Any,
    columns: Any,
    bounds: Any,
    sure_tops: Any,
    maybe_tops: Any,
    questions: Any,
    rows: Any,
    column_step: Any,
    tiles: Any,
    dim: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_questions: tl.constexpr,
    tile_dims: tl.constexpr,
) -> None:
    """Of `questions` units and `rows` keys the largest weights of each tile, (questions, tiles).

    `columns` are slope, faded and fixed, `column_step` apart; `bounds` (3, questions) the scale of
    recencies, the least cosine that surely counts and the least that may.
    """
    tile = tl.program_id(0)
    row = tile * tile_rows + tl.arange(0, tile_rows)
    question = tl.program_id(1) * tile_questions + tl.arange(0, tile_questions)
    has_row, has_question = row < rows, question < questions
    cosines = tl.zeros((tile_questions, tile_rows), dtype=tl.float32)
    for first in range(0, dim, tile_dims):
        place = first + tl.arange(0, tile_dims)
        has_place = place < dim
        unit = tl.load(
            units + question[:, None] * dim + place[None, :],
            mask=has_question[:, None] & has_place[None, :],
            other=0.0,
        )
        # A large index counts beyond 32 bits.
        key = tl.load(
            keys + row[None, :].to(tl.int64) * dim + place[:, None],
            mask=has_row[None, :] & has_place[:, None],
            other=0.0,
        )
        cosines += tl.dot(unit, key, input_precision="ieee")
    slope = tl.load(columns + row, mask=has_row, other=0.0)
    faded = tl.load(columns + column_step + row, mask=has_row, other=0.0)
    fixed = tl.load(columns + 2 * column_step + row, mask=has_row, other=float("-inf"))
    scale = tl.load(bounds + question, mask=has_question, other=0.0)
    surely = tl.load(bounds + questions + question, mask=has_question, other=0.0)
    maybe = tl.load(bounds + 2 * questions + question, mask=has_question, other=0.0)
    weights = cosines * slope[None, :] + (scale[:, None] * faded[None, :] + fixed[None, :])
    sure = tl.where(cosines >= surely[:, None], weights, float("-inf"))
    perhaps = tl.where(cosines >= maybe[:, None], weights, float("-inf"))
    out = question * tiles + tile
    tl.store(sure_tops + out, tl.max(sure, axis=1), mask=has_question)
    tl.store(maybe_tops + out, tl.max(perhaps, axis=1), mask=has_question)


def select_by_tiles(blocks: Iterator[Block], asked: Asked, columns: torch.Tensor) -> Chosen:
    """See `device.select`; `columns` are slope, faded and fixed (3, rows)."""
    bounds = torch.cat([asked.scales, asked.surely, asked.maybe], dim=1).T.contiguous()
    best, threshold = best_of(None, asked)
    found = list[Chosen]()
    for block in blocks:
        own = columns[:, block.first : block.first + len(block.keys)].contiguous()
        sure, maybe = _launched(asked.units.to(block.keys.dtype), block.keys, own, bounds)
        # Each tile's best is a row of its own, so that k of them bound the k-th best from below.
        best, threshold = best_of(sure, asked, best)
        cuts = (threshold - asked.slack).clamp(min=torch.finfo(torch.float32).min)
        owners, tiles = torch.nonzero(maybe >= cuts, as_tuple=True)
        for start in range(0, len(owners), _TILES):
            some = slice(start, start + _TILES)
            found.append(_again(block, asked, own, cuts, owners[some], tiles[some]))
    return joined(found, threshold, asked)


def _launched(
    units: torch.Tensor, keys: torch.Tensor, columns: torch.Tensor, bounds: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    questions, rows = len(units), len(keys)
    tiles = -(-rows // TILE_ROWS)
    sure = torch.empty((questions, tiles), dtype=torch.float32, device=keys.device)
    maybe = torch.empty_like(sure)
    _tops[(tiles, -(-questions // _QUESTIONS))](
        units,
        keys,
        columns,
        bounds,
        sure,
        maybe,
        questions,
        rows,
        columns.shape[1],
        tiles,
        dim=keys.shape[1],
        tile_rows=TILE_ROWS,
        tile_questions=_QUESTIONS,
        tile_dims=_DIMENSIONS,
    )
    return sure, maybe


def _again(
    block: Block,
    asked: Asked,
    columns: torch.Tensor,
    cuts: torch.Tensor,
    owners: torch.Tensor,
    tiles: torch.Tensor,
) -> Chosen:
    """Those rows of tiles that reach their owner's cut."""
    rows = tiles[:, None] * TILE_ROWS + torch.arange(TILE_ROWS, device=tiles.device)
    there = rows < len(block.keys)
    rows = rows.clamp(max=len(block.keys) - 1)
    units = asked.units[owners].to(block.keys.dtype).float()
    cosines = torch.bmm(block.keys[rows].float(), units[:, :, None])[:, :, 0]
    slope, faded, fixed = columns[:, rows]
    weights = cosines * slope + (asked.scales[owners] * faded + fixed)
    weights.masked_fill_(~there | (cosines < asked.maybe[owners]), -math.inf)
    pairs, places = torch.nonzero(weights >= cuts[owners], as_tuple=True)
    return Chosen(owners[pairs], rows[pairs, places] + block.first, weights[pairs, places])
