"""The exact index with its products on a graphics card."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import InvalidInputError
from pmll_async.indexes.exact import ExactIndex, row_mask
from pmll_async.indexes.keys import NO_ROWS, first_largest, unit_rows
from pmll_async.indexes.rows import Rows
from pmll_async.indexes.selection import Terms
from pmll_async.protocols import SMALL_PRODUCT, Columns, RankQuery
from pmll_async.values.concert import Concert, Float32, Float64

try:
    import torch
except ImportError as exc:
    raise ImportError("torch missing: pip install 'pmll-async[cuda]'", name="torch") from exc

from pmll_async.indexes.device import Asked, Block, DeviceKeys, DeviceTerms, select

_CARD_SCORES: Final = 1 << 26
_HOST_SCORES: Final = 1 << 22
"""Scores (questions times rows) in one step: on a card, with what is made of them, about a GiB."""
_SENT_ROWS: Final = 1 << 15
"""Rows that are brought to length 1 and sent at once."""
_FUSED: Final = "pmll_async.indexes.fused"
_HALF: Final = 2.0**-11
"""What rounding to 16 bits leaves of a number, and so of a vector at length 1."""

DType = Literal["float16", "float32"]


class CudaIndex(ExactIndex):
    """Ranks as `ExactIndex` does, with all keys looked at on a device of torch's.

    The device has the keys at length 1 beside those in memory, in 16 bits or, with
    `dtype="float32"`, 32. Of more than `memory` bytes the rest is sent for each question. What it
    computes only selects: float64 decides, so that the answers are those of every exact index.
    Small lattices, and filters that leave few lines, are looked at on the host. With `fused` one
    Triton kernel does what otherwise are a product and five passes over its scores.
    """

    def __init__(
        self,
        device: str = "cuda",
        *,
        dtype: DType = "float16",
        memory: int | None = None,
        fused: bool = False,
    ) -> None:
        if dtype not in ("float16", "float32"):
            raise InvalidInputError(f'dtype is "float16" or "float32", not {dtype!r}')
        self._device = torch.device(device)
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise InvalidInputError('torch finds no CUDA card here; device="cpu" is for tests')
        self._dtype, self._memory = getattr(torch, dtype), memory
        self._sending = threading.Lock()
        self.fused = fused
        """Whether the kernel is used, from the next question on."""
        if fused:
            import_module(_FUSED)
        super().__init__()

    def open(self, dim: int) -> None:
        """See `Index.open`."""
        super().open(dim)
        with self._sending:
            self._sent = DeviceKeys(dim, self._device, self._dtype, self._memory)
            self._sent_terms = DeviceTerms(self._device)

    @property
    def sent(self) -> int:
        """How many rows the device has: those that were looked at so far."""
        return self._sent.count

    def nearest(
        self, columns: Columns, keys: Float32, norms: Float64, start: int = 0
    ) -> list[tuple[float, int] | None]:
        """See `Index.nearest`."""
        count = columns.count
        if self._is_small(len(keys) * (count - start)):
            return super().nearest(columns, keys, norms, start)
        units = self._on_device(unit_rows(keys, norms))
        eligible = self._on_device(columns.live & columns.chain)

        def scores(block: Block) -> tuple[torch.Tensor, torch.Tensor]:
            cosines = self._cosines(units, block)
            stop = block.first + cosines.shape[1]
            cosines.masked_fill_(~eligible[block.first : stop], -torch.inf)
            return cosines, cosines

        every = torch.full((len(keys), 1), -torch.inf, device=self._device)
        slack = torch.full_like(every, 2 * self._wrong)
        asked = Asked(units, every, every, every, slack, (1,) * len(keys))
        chosen = select(self.blocks(count, len(keys), start), asked, scores)
        owners, rows = chosen.owners.cpu().numpy(), chosen.rows.cpu().numpy()
        return first_largest(
            len(keys), owners, rows, self._exact_cosines(rows, keys, norms, owners)
        )

    def _scan(
        self, columns: Columns, queries: Sequence[RankQuery], *, in_codes: bool = True
    ) -> list[Rows]:
        if not in_codes or self._is_small(len(queries) * columns.count):
            return super()._scan(columns, queries, in_codes=in_codes)
        chosen = [NO_ROWS] * len(queries)
        kinds: dict[tuple[Concert, bool], list[int]] = {}
        for i, query in enumerate(queries):
            if query.k > 0:
                kinds.setdefault((query.concert, query.branches), []).append(i)
        for places in kinds.values():
            found = self._scan_alike(columns, [queries[i] for i in places])
            for i, rows in zip(places, found, strict=True):
                chosen[i] = self._narrowed(columns, queries[i], rows)
        return chosen

    def _scan_alike(self, columns: Columns, queries: Sequence[RankQuery]) -> list[Rows]:
        """`_scan` for queries of one concert, all with branches or all without."""
        terms = self._terms_of(columns, queries[0])
        with self._sending:
            sent = self._sent_terms.of(terms)
        slope, faded, fixed = sent
        asked = self._asked(queries, columns.count, terms)
        late = {i: query for i, query in enumerate(queries) if query.now < terms.latest}
        masks = {
            i: self._on_device(row_mask(query.rows, columns.count))
            for i, query in enumerate(queries)
            if query.rows is not None
        }

        def scores(block: Block) -> tuple[torch.Tensor, torch.Tensor]:
            cosines = self._cosines(asked.units, block)
            span = slice(block.first, block.first + cosines.shape[1])
            weights = cosines * slope[span] + (asked.scales * faded[span] + fixed[span])
            # Lines of the future have a recency of 1, which no scale gives.
            for i, query in late.items():
                base = self._on_device(terms.base(query, span))
                weights[i] = cosines[i] * slope[span] + base
            for i, mask in masks.items():
                weights[i].masked_fill_(~mask[span], -torch.inf)
            return cosines, weights

        blocks = self.blocks(columns.count, len(queries))
        if self.fused and not late and not masks:
            found = import_module(_FUSED).select_by_tiles(blocks, asked, sent)
        else:
            found = select(blocks, asked, scores)
        rows = found.rows[torch.argsort(found.owners, stable=True)].cpu().numpy()
        counts = torch.bincount(found.owners, minlength=len(queries)).cpu().numpy()
        return np.split(rows, np.cumsum(counts)[:-1])

    def _asked(self, queries: Sequence[RankQuery], count: int, terms: Terms) -> Asked:
        best = [self._best(query, count, self._wrong) for query in queries]
        numbers = [
            (
                terms.scale(max(query.now, terms.latest)),
                -2.0 if own.floor is None else own.floor + own.margin,
                -2.0 if own.floor is None else own.floor - own.margin,
                own.slack,
            )
            for query, own in zip(queries, best, strict=True)
        ]
        scales, surely, maybe, slack = torch.tensor(numbers, device=self._device).T[:, :, None]
        units = unit_rows(
            np.array([query.vector for query in queries]),
            np.array([query.norm for query in queries]),
        )
        return Asked(
            self._on_device(units), scales, surely, maybe, slack, tuple(own.k for own in best)
        )

    @property
    def _wrong(self) -> float:
        """How wrong a cosine of the device may be."""
        exact = self._dtype is torch.float32 and torch.get_float32_matmul_precision() == "highest"
        return self._margin if exact else self._margin + 2.0 * _HALF + _HALF**2

    def _cosines(self, units: torch.Tensor, block: Block) -> torch.Tensor:
        """Nearly the cosines (q, rows), float32."""
        units, keys = units.to(self._dtype), block.keys
        if keys.dtype is torch.float32:
            return units @ keys.T
        if self._device.type == "cuda":
            return torch.mm(units, keys.T, out_dtype=torch.float32)
        return units.float() @ keys.T.float()

    def blocks(self, count: int, questions: int = 1, start: int = 0) -> Iterator[Block]:
        """Keys at length 1 on the device, after those that it lacks were sent; newest first."""
        with self._sending:
            while self._sent.count < count:
                first = self._sent.count
                self._sent.add(self.units(np.arange(first, min(first + _SENT_ROWS, count))))
        scores = _CARD_SCORES if self._device.type == "cuda" else _HOST_SCORES
        return self._sent.upto(count, start, max(1, scores // questions))

    def _is_small(self, products: int) -> bool:
        return products * self._dim <= SMALL_PRODUCT

    def _look(self, units: Float32, count: int, start: int = 0) -> None:
        """No codes are made: what is large is looked at on the device."""

    def _on_device(self, values: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)
