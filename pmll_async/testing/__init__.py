"""For those who write a store or an index of their own, or test an agent that embeds a lattice.

Conformance suites are classes to inherit from in a pytest module; each test in them is one sentence
of the contract in `pmll_async.protocols`::

    from pmll_async.testing import StoreSuite

    class TestMyStore(StoreSuite):
        def make_store(self, path):
            return MyStore(path)

`IndexSuite` does the same for an index. What they are made of is public as well: `ChainBuilder`
makes chained records of every operation, `oracle` ranks by brute force, `ManualClock` is a clock
that stands still, and `GatedStore` is a store whose appends wait or fail when a test says so.

Needs pytest; nothing else in `pmll_async` imports this package.
"""

import pytest

# Without this a failing assertion of a suite would not show the values that it compared.
pytest.register_assert_rewrite(
    "pmll_async.testing.stores", "pmll_async.testing.reading", "pmll_async.testing.indexes"
)

from pmll_async.testing import oracle as oracle  # noqa: E402  # after the registration above
from pmll_async.testing.chains import ChainBuilder as ChainBuilder  # noqa: E402  # as above
from pmll_async.testing.clocks import ManualClock as ManualClock  # noqa: E402  # as above
from pmll_async.testing.faults import GatedStore as GatedStore  # noqa: E402  # as above
from pmll_async.testing.indexes import IndexSuite as IndexSuite  # noqa: E402  # as above
from pmll_async.testing.stores import StoreSuite as StoreSuite  # noqa: E402  # as above

__all__ = ["ChainBuilder", "GatedStore", "IndexSuite", "ManualClock", "StoreSuite", "oracle"]
