"""A persistent, provable memory for async Python agents.

`Lattice` is the front door; the README says where to begin. Stores and indexes are imported from
their own modules; importing this package opens nothing, and loads what is named of it.
"""

from typing import TYPE_CHECKING

from pmll_async.errors import ConflictError as ConflictError
from pmll_async.errors import CorruptionError as CorruptionError
from pmll_async.errors import DimensionMismatchError as DimensionMismatchError
from pmll_async.errors import DurabilityUnknownError as DurabilityUnknownError
from pmll_async.errors import ErasureUnfinishedError as ErasureUnfinishedError
from pmll_async.errors import FormatError as FormatError
from pmll_async.errors import InvalidContextError as InvalidContextError
from pmll_async.errors import InvalidFilterError as InvalidFilterError
from pmll_async.errors import InvalidInputError as InvalidInputError
from pmll_async.errors import InvalidVectorError as InvalidVectorError
from pmll_async.errors import KeyringError as KeyringError
from pmll_async.errors import LatticeClosedError as LatticeClosedError
from pmll_async.errors import LineErasedError as LineErasedError
from pmll_async.errors import LineNotFoundError as LineNotFoundError
from pmll_async.errors import MalformedExportError as MalformedExportError
from pmll_async.errors import NotNovelError as NotNovelError
from pmll_async.errors import NotStoredError as NotStoredError
from pmll_async.errors import NoWinnerError as NoWinnerError
from pmll_async.errors import PinnedError as PinnedError
from pmll_async.errors import PmllError as PmllError
from pmll_async.errors import ReadOnlyStoreError as ReadOnlyStoreError
from pmll_async.errors import ReentrantError as ReentrantError
from pmll_async.errors import SealError as SealError
from pmll_async.errors import StaleAnchorError as StaleAnchorError
from pmll_async.errors import StoreError as StoreError
from pmll_async.errors import StoreFullError as StoreFullError
from pmll_async.errors import StoreLockedError as StoreLockedError
from pmll_async.errors import StoreMovedError as StoreMovedError
from pmll_async.errors import TextTooLongError as TextTooLongError
from pmll_async.errors import UnknownFieldError as UnknownFieldError
from pmll_async.errors import WrongEventLoopError as WrongEventLoopError
from pmll_async.errors import WrongKeyError as WrongKeyError
from pmll_async.errors import WrongSecretError as WrongSecretError
from pmll_async.lazy import lazily

if TYPE_CHECKING:
    from pmll_async.engine.events.events import BatchObserver as BatchObserver
    from pmll_async.engine.events.events import CommitEvent as CommitEvent
    from pmll_async.engine.events.events import EventStream as EventStream
    from pmll_async.engine.events.stats import Batch as Batch
    from pmll_async.engine.events.stats import CommitBatch as CommitBatch
    from pmll_async.engine.events.stats import LatticeStats as LatticeStats
    from pmll_async.engine.events.stats import QueryBatch as QueryBatch
    from pmll_async.engine.ledger.snapshot import Point as Point
    from pmll_async.engine.race.race import CandidateFunction as CandidateFunction
    from pmll_async.engine.race.race import Judge as Judge
    from pmll_async.integrity.fencing import fence as fence
    from pmll_async.integrity.source import Origin as Origin
    from pmll_async.integrity.source import Source as Source
    from pmll_async.integrity.source import source_of as source_of
    from pmll_async.lattice import Lattice as Lattice
    from pmll_async.loop.fanout import EventsMissed as EventsMissed
    from pmll_async.pool import LatticePool as LatticePool
    from pmll_async.protocols import Recovery as Recovery
    from pmll_async.provenance import Writer as Writer
    from pmll_async.records.events import LineDecayed as LineDecayed
    from pmll_async.records.events import LineForgotten as LineForgotten
    from pmll_async.records.events import LinePut as LinePut
    from pmll_async.records.events import LinesErased as LinesErased
    from pmll_async.records.events import RaceDecided as RaceDecided
    from pmll_async.records.events import RolledBack as RolledBack
    from pmll_async.values.checks import journal_key as journal_key
    from pmll_async.values.concert import Concert as Concert
    from pmll_async.values.contexts import FrozenDict as FrozenDict
    from pmll_async.values.contexts import FrozenList as FrozenList
    from pmll_async.values.contexts import StampedContext as StampedContext
    from pmll_async.values.contexts import stamp as stamp
    from pmll_async.values.contexts import thaw as thaw
    from pmll_async.values.lines import Candidate as Candidate
    from pmll_async.values.lines import CandidateFailure as CandidateFailure
    from pmll_async.values.lines import CandidateScore as CandidateScore
    from pmll_async.values.lines import Limits as Limits
    from pmll_async.values.lines import MemoryLine as MemoryLine
    from pmll_async.values.lines import RaceOutcome as RaceOutcome
    from pmll_async.values.visible import visible as visible
    from pmll_async.views import LatticeView as LatticeView
    from pmll_async.views import Where as Where
    from pmll_async.working import WorkingMemory as WorkingMemory
    from pmll_async.working import WorkingStats as WorkingStats
else:
    __getattr__ = lazily(
        __name__,
        {
            "Batch": "pmll_async.engine.events.stats",
            "BatchObserver": "pmll_async.engine.events.events",
            "Candidate": "pmll_async.values.lines",
            "CandidateFailure": "pmll_async.values.lines",
            "CandidateFunction": "pmll_async.engine.race.race",
            "CandidateScore": "pmll_async.values.lines",
            "CommitBatch": "pmll_async.engine.events.stats",
            "CommitEvent": "pmll_async.engine.events.events",
            "Concert": "pmll_async.values.concert",
            "EventStream": "pmll_async.engine.events.events",
            "EventsMissed": "pmll_async.loop.fanout",
            "FrozenDict": "pmll_async.values.contexts",
            "FrozenList": "pmll_async.values.contexts",
            "Judge": "pmll_async.engine.race.race",
            "Lattice": "pmll_async.lattice",
            "LatticePool": "pmll_async.pool",
            "LatticeStats": "pmll_async.engine.events.stats",
            "LatticeView": "pmll_async.views",
            "Limits": "pmll_async.values.lines",
            "LineDecayed": "pmll_async.records.events",
            "LineForgotten": "pmll_async.records.events",
            "LinePut": "pmll_async.records.events",
            "LinesErased": "pmll_async.records.events",
            "MemoryLine": "pmll_async.values.lines",
            "Origin": "pmll_async.integrity.source",
            "Point": "pmll_async.engine.ledger.snapshot",
            "QueryBatch": "pmll_async.engine.events.stats",
            "RaceDecided": "pmll_async.records.events",
            "RaceOutcome": "pmll_async.values.lines",
            "Recovery": "pmll_async.protocols",
            "RolledBack": "pmll_async.records.events",
            "Source": "pmll_async.integrity.source",
            "StampedContext": "pmll_async.values.contexts",
            "Where": "pmll_async.views",
            "WorkingMemory": "pmll_async.working",
            "WorkingStats": "pmll_async.working",
            "Writer": "pmll_async.provenance",
            "fence": "pmll_async.integrity.fencing",
            "visible": "pmll_async.values.visible",
            "journal_key": "pmll_async.values.checks",
            "source_of": "pmll_async.integrity.source",
            "stamp": "pmll_async.values.contexts",
            "thaw": "pmll_async.values.contexts",
        },
    )

__all__ = [
    "Batch",
    "BatchObserver",
    "Candidate",
    "CandidateFailure",
    "CandidateFunction",
    "CandidateScore",
    "CommitBatch",
    "CommitEvent",
    "Concert",
    "ConflictError",
    "CorruptionError",
    "DimensionMismatchError",
    "DurabilityUnknownError",
    "ErasureUnfinishedError",
    "EventStream",
    "EventsMissed",
    "FormatError",
    "FrozenDict",
    "FrozenList",
    "InvalidContextError",
    "InvalidFilterError",
    "InvalidInputError",
    "InvalidVectorError",
    "Judge",
    "KeyringError",
    "Lattice",
    "LatticeClosedError",
    "LatticePool",
    "LatticeStats",
    "LatticeView",
    "Limits",
    "LineDecayed",
    "LineErasedError",
    "LineForgotten",
    "LineNotFoundError",
    "LinePut",
    "LinesErased",
    "MalformedExportError",
    "MemoryLine",
    "NoWinnerError",
    "NotNovelError",
    "NotStoredError",
    "Origin",
    "PinnedError",
    "PmllError",
    "Point",
    "QueryBatch",
    "RaceDecided",
    "RaceOutcome",
    "ReadOnlyStoreError",
    "Recovery",
    "ReentrantError",
    "RolledBack",
    "SealError",
    "Source",
    "StaleAnchorError",
    "StampedContext",
    "StoreError",
    "StoreFullError",
    "StoreLockedError",
    "StoreMovedError",
    "TextTooLongError",
    "UnknownFieldError",
    "Where",
    "WorkingMemory",
    "WorkingStats",
    "Writer",
    "WrongEventLoopError",
    "WrongKeyError",
    "WrongSecretError",
    "fence",
    "journal_key",
    "source_of",
    "stamp",
    "thaw",
    "visible",
]


def __dir__() -> list[str]:
    return __all__
