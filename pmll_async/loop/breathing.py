"""Breathing: how work that comes in batches lets the event loop have its turns."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from weakref import WeakKeyDictionary

_WORK_SECONDS: Final = 0.001
_BREATH_SECONDS: Final = 0.00001
"""The shortest sleep that lets a waiting thread have the interpreter lock: it must really begin."""

TURN: Final = 1 << 22
"""What may be computed on the loop's thread in one of its turns, in multiplications of a matrix
product: 0.3 ms."""

WAKE_AT_ONCE: Final = 8
"""How many waiting callers are answered in one turn of the loop: all of a batch at once would be
late for everything else."""


class Breather:
    """Called between steps of work, it stops for a moment once every millisecond.

    A thread that wants the interpreter lock gets it by force only after 5 ms. Giving it away for no
    time does not help: the one that gives it is the first to take it back.
    """

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = time.monotonic()

    def __call__(self) -> None:
        """Breathe, if it is time."""
        if time.monotonic() - self._since > _WORK_SECONDS:
            time.sleep(_BREATH_SECONDS)
            self._since = time.monotonic()


class TurnBudget:
    """What may still be computed on a loop's thread in its turn at hand."""

    __slots__ = ("_spent",)

    def __init__(self) -> None:
        self._spent = 0

    def take(self, cost: int) -> bool:
        """Whether this turn has room for so many multiplications; if so, they are spent."""
        if not self.has(cost):
            return False
        # Once is enough: the callback is run in the loop's next turn.
        if not self._spent:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._spent += cost
        return True

    def has(self, cost: int) -> bool:
        """Whether this turn has room for so many."""
        return self._spent + cost <= TURN

    def _next_turn(self) -> None:
        self._spent = 0


# A budget does not know its loop, so that it keeps none alive that has ended.
_BUDGETS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, TurnBudget]] = WeakKeyDictionary()


def turn_budget(loop: asyncio.AbstractEventLoop) -> TurnBudget:
    """The loop's own, for all lattices and memories on it: together they hold no turn for long."""
    found = _BUDGETS.get(loop)
    if found is None:
        found = _BUDGETS[loop] = TurnBudget()
    return found
