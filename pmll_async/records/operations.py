"""The operations: one table of all that a log may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pmll_async.records.changes import DecayRecord, EraseRecord, ForgetRecord, RollbackRecord
from pmll_async.records.cipher import CipherRecord
from pmll_async.records.record import PutRecord, RaceRecord, Record

_KINDS: Final = (
    *(PutRecord, RaceRecord, DecayRecord, ForgetRecord, EraseRecord, RollbackRecord),
    CipherRecord,
)
OPERATIONS: Final[Mapping[str, type[Record]]] = {kind.op: kind for kind in _KINDS}
"""Every operation by its name in the log. A new one is a class and its row here."""
