"""The shape of a lattice: what may be checked of it before its store is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmll_async.errors import DimensionMismatchError, InvalidInputError

if TYPE_CHECKING:
    from pmll_async.protocols import StoreHeader


@dataclass(frozen=True, slots=True)
class Shape:
    """What a caller asked for of that which is fixed for ever; None where the store decides."""

    dim: int | None
    value_dim: int | None
    novelty_window: int | None = None

    def __post_init__(self) -> None:
        for what, least in (("dim", 1), ("value_dim", 0), ("novelty_window", 1)):
            value = getattr(self, what)
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (is_whole and value >= least):
                raise InvalidInputError(f"{what} must be a whole number from {least} on: {value!r}")

    def check(self, header: StoreHeader) -> None:
        """Refuse a store of other dimensions, or of another window."""
        if self.dim is not None and self.dim != header.dim:
            raise DimensionMismatchError("dim=", header.dim, self.dim)
        if self.value_dim is not None and self.value_dim != header.value_dim:
            raise DimensionMismatchError("value_dim=", header.value_dim, self.value_dim)
        if self.novelty_window is not None:
            header.check_window(self.novelty_window)
