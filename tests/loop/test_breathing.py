"""What may be computed in one turn of the loop."""

from __future__ import annotations

import asyncio

from pmll_async.loop.breathing import TURN, turn_budget


async def test_a_turn_has_room_for_so_much_and_the_next_one_again() -> None:
    budget = turn_budget(asyncio.get_running_loop())
    assert budget.take(TURN // 2)
    assert not budget.take(TURN)
    assert budget.take(TURN // 2)
    assert not budget.take(1)
    await asyncio.sleep(0)
    assert budget.take(TURN)
    assert not budget.take(1)


def test_a_loop_has_one_budget_and_another_loop_its_own() -> None:
    async def budget() -> object:
        own = turn_budget(asyncio.get_running_loop())
        assert own is turn_budget(asyncio.get_running_loop())
        assert own.take(TURN)
        return own

    assert asyncio.run(budget()) is not asyncio.run(budget())
