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

The suites need pytest, and nothing else does; nothing else in `pmll_async` imports this package.
"""

from typing import TYPE_CHECKING, Any

from pmll_async.testing import oracle as oracle
from pmll_async.testing.chains import ChainBuilder as ChainBuilder
from pmll_async.testing.clocks import ManualClock as ManualClock
from pmll_async.testing.faults import FailingStore as FailingStore
from pmll_async.testing.faults import GatedStore as GatedStore

if TYPE_CHECKING:
    from pmll_async.testing.indexes import IndexSuite as IndexSuite
    from pmll_async.testing.stores import StoreSuite as StoreSuite

__all__ = [
    "ChainBuilder",
    "FailingStore",
    "GatedStore",
    "IndexSuite",
    "ManualClock",
    "StoreSuite",
    "oracle",
]


def __getattr__(name: str) -> Any:
    """The suites, once somebody asks for them: who tests without pytest does not."""
    if name not in ("IndexSuite", "StoreSuite"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest  # noqa: PLC0415  # who has no pytest may not

    # Without this a failing assertion of a suite would not show the values that it compared.
    pytest.register_assert_rewrite(
        "pmll_async.testing.stores", "pmll_async.testing.reads", "pmll_async.testing.indexes"
    )
    from pmll_async.testing.indexes import IndexSuite  # noqa: PLC0415  # after the registration
    from pmll_async.testing.stores import StoreSuite  # noqa: PLC0415  # after the registration

    return {"IndexSuite": IndexSuite, "StoreSuite": StoreSuite}[name]
