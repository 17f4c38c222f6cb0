from __future__ import annotations

from pmll_async.indexes.exact import ExactIndex
from pmll_async.protocols import Index
from pmll_async.testing import IndexSuite


class TestExactIndex(IndexSuite):
    def make_index(self) -> Index:
        return ExactIndex()
