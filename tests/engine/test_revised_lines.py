"""Which lines a snapshot shows as revised, whatever came before and after."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pmll_async import Candidate, Lattice, LatticeView, StaleAnchorError
from pmll_async.protocols import Store


def revised(view: Lattice | LatticeView) -> list[int]:
    """The numbers of the revised lines, after a look at the column's shape."""
    snapshot = view._snapshot()
    assert snapshot.revised.dtype == np.bool_
    assert len(snapshot.revised) == len(snapshot.kinds)
    return np.flatnonzero(snapshot.revised).tolist()


async def test_at_every_point_and_after_rollbacks(new_store: Callable[[], Store]) -> None:
    first_store = new_store()
    async with Lattice(first_store, dim=2) as lattice:
        first = await lattice.put([1, 0])
        second = await lattice.put([0, 1])
        held = lattice._snapshot()
        await lattice.put([1, 1], revises=[first])  # revision 3
        await lattice.put([1, 2])
        await lattice.rollback(2)
        await lattice.put([2, 1], revises=[second])  # line 4, revision 6
        await lattice.note({"n": 1})
        expected = [[], [], [], [0], [0], [], [1], [1]]
        assert [revised(lattice.at(revision)) for revision in range(8)] == expected
        await lattice.rollback(4)
        assert revised(lattice) == [0]
        with pytest.raises(StaleAnchorError, match="already revised"):
            await lattice.put([3, 1], revises=[first])
        await lattice.put([3, 1], revises=[second])
        assert revised(lattice) == [0, 1]
        assert not held.revised.any(), "a snapshot never changes"
        assert [revised(lattice.at(revision)) for revision in range(8)] == expected
    reopened = new_store() if first_store.path != "memory" else first_store
    async with Lattice(reopened) as lattice:
        assert [revised(lattice.at(revision)) for revision in range(8)] == expected
        assert [revised(lattice.at(revision)) for revision in (8, 9)] == [[0], [0, 1]]
        assert revised(lattice) == [0, 1]


async def test_decaying_and_forgetting_revise_nothing(new_store: Callable[[], Store]) -> None:
    async with Lattice(new_store(), dim=2) as lattice:
        first = await lattice.put([1, 0])
        await lattice.decay(first, 0.5)
        await lattice.put([0, 1])
        await lattice.forget(first)
        assert revised(lattice) == []


async def test_a_winner_and_the_lines_of_one_batch_revise(new_store: Callable[[], Store]) -> None:
    async with Lattice(new_store(), dim=2) as lattice:
        anchors = [await lattice.put([1, n]) for n in range(4)]

        async def winner(_: LatticeView) -> Candidate:
            return Candidate(key=[0, 1], revises=(anchors[0],))

        async def loser(_: LatticeView) -> Candidate:
            return Candidate(key=[0, 2], revises=(anchors[1],), confidence=0.5)

        await lattice.race([loser, winner])
        assert revised(lattice) == [0]
        await lattice.put_many(
            Candidate(key=[5, n], revises=(anchor,)) for n, anchor in enumerate(anchors[2:])
        )
        assert revised(lattice) == [0, 2, 3]
        assert revised(lattice.at(4)) == []
