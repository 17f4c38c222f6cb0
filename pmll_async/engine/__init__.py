"""The engine: the inside of a lattice, private, and free to move.

The face and `moving` import it, nobody else. What an open lattice is made of and asked with, here
and on the floors below, the face looks up in this module: importing the package needs none of it,
and who opens the first lattice loads it in the worker thread that opens the store.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from pmll_async.lazy import lazily

if TYPE_CHECKING:
    from pmll_async.engine.assembly import assemble as assemble
    from pmll_async.engine.assembly import follow as follow
    from pmll_async.engine.assembly import load as load
    from pmll_async.engine.events.events import EventStream as EventStream
    from pmll_async.engine.events.stats import LatticeStats as LatticeStats
    from pmll_async.engine.ledger.snapshot import dead_lines as dead_lines
    from pmll_async.engine.queries.hiding import LIFETIMES as LIFETIMES
    from pmll_async.engine.queries.hiding import PIN as PIN
    from pmll_async.engine.queries.hiding import PIN_VALUE as PIN_VALUE
    from pmll_async.engine.queries.reader import Query as Query
    from pmll_async.engine.queries.survey import Survey as Survey
    from pmll_async.engine.race.scores import RaceScoring as RaceScoring
    from pmll_async.engine.trace.batches import put_many as put_many
    from pmll_async.indexes.exact import ExactIndex as ExactIndex
    from pmll_async.integrity.guard import Guard as Guard
    from pmll_async.integrity.guard import Guarded as Guarded
    from pmll_async.integrity.guard import KnownRows as KnownRows
    from pmll_async.integrity.guard import Voice as Voice
    from pmll_async.integrity.guard import corroborated as corroborated
    from pmll_async.integrity.lifetime import lasting as lasting
    from pmll_async.integrity.source import Origin as Origin
    from pmll_async.integrity.source import Source as Source
    from pmll_async.integrity.source import low_water as low_water
    from pmll_async.integrity.source import named as named
    from pmll_async.integrity.source import source_of as source_of
    from pmll_async.integrity.source import sourced as sourced
    from pmll_async.integrity.source import trust_of as trust_of
    from pmll_async.integrity.standing import Act as Act
    from pmll_async.integrity.standing import act_note as act_note
    from pmll_async.protocols import SupportsErase as SupportsErase
    from pmll_async.protocols import SupportsFollow as SupportsFollow
    from pmll_async.records.changes import DecayRecord as DecayRecord
    from pmll_async.records.changes import EraseRecord as EraseRecord
    from pmll_async.records.changes import ForgetRecord as ForgetRecord
    from pmll_async.records.changes import RollbackRecord as RollbackRecord
    from pmll_async.records.proposals import ChangeProposal as ChangeProposal
    from pmll_async.records.proposals import PutProposal as PutProposal
    from pmll_async.records.record import PENDING as PENDING
    from pmll_async.values.concert import Concert as Concert
    from pmll_async.values.lines import MOST_IN_A_BATCH as MOST_IN_A_BATCH
    from pmll_async.values.lines import Candidate as Candidate
    from pmll_async.values.lines import Limits as Limits
    from pmll_async.values.where import narrowed as narrowed
    from pmll_async.values.where import parse as parse

_HOMES: Final = {
    "Act": "pmll_async.integrity.standing",
    "Candidate": "pmll_async.values.lines",
    "ChangeProposal": "pmll_async.records.proposals",
    "Concert": "pmll_async.values.concert",
    "DecayRecord": "pmll_async.records.changes",
    "EraseRecord": "pmll_async.records.changes",
    "EventStream": "pmll_async.engine.events.events",
    "ExactIndex": "pmll_async.indexes.exact",
    "ForgetRecord": "pmll_async.records.changes",
    "Guard": "pmll_async.integrity.guard",
    "Guarded": "pmll_async.integrity.guard",
    "KnownRows": "pmll_async.integrity.guard",
    "LatticeStats": "pmll_async.engine.events.stats",
    "LIFETIMES": "pmll_async.engine.queries.hiding",
    "Limits": "pmll_async.values.lines",
    "MOST_IN_A_BATCH": "pmll_async.values.lines",
    "Origin": "pmll_async.integrity.source",
    "PENDING": "pmll_async.records.record",
    "PIN": "pmll_async.engine.queries.hiding",
    "PIN_VALUE": "pmll_async.engine.queries.hiding",
    "PutProposal": "pmll_async.records.proposals",
    "Query": "pmll_async.engine.queries.reader",
    "RaceScoring": "pmll_async.engine.race.scores",
    "RollbackRecord": "pmll_async.records.changes",
    "Source": "pmll_async.integrity.source",
    "SupportsErase": "pmll_async.protocols",
    "SupportsFollow": "pmll_async.protocols",
    "Survey": "pmll_async.engine.queries.survey",
    "Voice": "pmll_async.integrity.guard",
    "act_note": "pmll_async.integrity.standing",
    "assemble": "pmll_async.engine.assembly",
    "corroborated": "pmll_async.integrity.guard",
    "dead_lines": "pmll_async.engine.ledger.snapshot",
    "follow": "pmll_async.engine.assembly",
    "lasting": "pmll_async.integrity.lifetime",
    "load": "pmll_async.engine.assembly",
    "low_water": "pmll_async.integrity.source",
    "named": "pmll_async.integrity.source",
    "narrowed": "pmll_async.values.where",
    "parse": "pmll_async.values.where",
    "put_many": "pmll_async.engine.trace.batches",
    "source_of": "pmll_async.integrity.source",
    "sourced": "pmll_async.integrity.source",
    "trust_of": "pmll_async.integrity.source",
}

if not TYPE_CHECKING:
    __getattr__ = lazily(__name__, _HOMES)


def load_parts() -> None:
    """Load all of them: the first time that takes some 50 ms, which no event loop should."""
    for name in _HOMES:
        getattr(sys.modules[__name__], name)
