"""Options: what opening a text memory hands on to its lattice."""

from __future__ import annotations

import os
from typing import Literal, TypedDict

from pmll_async.integrity.sealing import Sealing
from pmll_async.integrity.secrets import Secret, SuiteName
from pmll_async.protocols import Clock, Index
from pmll_async.values.concert import Concert
from pmll_async.values.lines import Limits


class LatticeOptions(TypedDict, total=False):
    """What `TextMemory.open` passes on; see `Lattice.open`."""

    sync: Literal["group", "os"]
    read_only: bool
    lock_timeout: float
    dim: int
    value_dim: int | None
    index: Index | None
    concert: Concert | None
    clock: Clock
    integrity_key: bytes | None
    limits: Limits | None
    novelty_window: int | None
    seal_on_close: str | os.PathLike[str] | Sealing | None
    compact_on_close: bool
    secret: Secret | None
    suite: SuiteName | None
