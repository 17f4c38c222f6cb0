"""The seams: what a lattice needs of a store, an index, an embedder and a clock."""

from __future__ import annotations

from pmll_async.protocols.embedders import AsyncEmbedder as AsyncEmbedder
from pmll_async.protocols.embedders import Embedder as Embedder
from pmll_async.protocols.embedders import QuickEmbedder as QuickEmbedder
from pmll_async.protocols.indexes import SMALL_PRODUCT as SMALL_PRODUCT
from pmll_async.protocols.indexes import Columns as Columns
from pmll_async.protocols.indexes import Hit as Hit
from pmll_async.protocols.indexes import Index as Index
from pmll_async.protocols.indexes import KeyReader as KeyReader
from pmll_async.protocols.indexes import QuickIndex as QuickIndex
from pmll_async.protocols.indexes import RankQuery as RankQuery
from pmll_async.protocols.indexes import ReadsKeys as ReadsKeys
from pmll_async.protocols.indexes import Resident as Resident
from pmll_async.protocols.indexes import SidecarIndex as SidecarIndex
from pmll_async.protocols.indexes import SupportsCosines as SupportsCosines
from pmll_async.protocols.stores import DERIVED as DERIVED
from pmll_async.protocols.stores import Clock as Clock
from pmll_async.protocols.stores import Erasing as Erasing
from pmll_async.protocols.stores import Left as Left
from pmll_async.protocols.stores import Recovery as Recovery
from pmll_async.protocols.stores import Sidecar as Sidecar
from pmll_async.protocols.stores import Store as Store
from pmll_async.protocols.stores import StoreHeader as StoreHeader
from pmll_async.protocols.stores import SupportsErase as SupportsErase
from pmll_async.protocols.stores import SupportsFollow as SupportsFollow
from pmll_async.protocols.stores import SupportsKeyring as SupportsKeyring
from pmll_async.protocols.stores import SupportsKeys as SupportsKeys
from pmll_async.protocols.stores import SupportsLogSize as SupportsLogSize
from pmll_async.protocols.stores import SupportsSidecar as SupportsSidecar
from pmll_async.protocols.stores import SupportsSync as SupportsSync
from pmll_async.protocols.stores import SupportsUpkeep as SupportsUpkeep
from pmll_async.protocols.stores import SupportsVerify as SupportsVerify
from pmll_async.protocols.stores import erase_now as erase_now
