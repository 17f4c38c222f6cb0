"""The operations: one table of all that a log may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pmll_async.records.changes import DecayRecord, ForgetRecord, RollbackRecord
from pmll_async.records.cipher import CipherRecord
from pmll_async.records.record import PutRecord, RaceRecord, Record

OPERATIONS: Final[Mapping[str, type[Record]]] = {
    kind.op: kind
    for kind in (PutRecord, RaceRecord, DecayRecord, ForgetRecord, RollbackRecord, CipherRecord)
}
"""Every operation by its name in the log. A new one is a class and its row here."""
