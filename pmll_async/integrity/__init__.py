"""Integrity: who wrote a line, what it was derived from, and what of it may be shown.

Values and pure functions. Imports errors, loop, values, records and protocols alone; a lattice does
what is decided here, and nothing here knows a lattice.
"""

from pmll_async.integrity.fence import fence as fence
from pmll_async.integrity.source import Origin as Origin
from pmll_async.integrity.source import Source as Source
from pmll_async.integrity.source import source_of as source_of
from pmll_async.integrity.source import trust_of as trust_of

__all__ = ["Origin", "Source", "fence", "source_of", "trust_of"]
