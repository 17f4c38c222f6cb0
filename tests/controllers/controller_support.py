"""Short cuts of the controllers' tests: plain steps, and the journal of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from controllers import Done, Outcome, Plan, StepContext, Verdict
from pmll_async import Candidate, Lattice, MemoryLine

Steps = dict[str, Any]
PATIENCE = 10.0
"""Seconds until a test that waits in vain fails; never what decides an order."""


def plan(ctx: StepContext[Any]) -> Plan[int]:
    return Plan(f"plan {ctx.cycle}", ctx.cycle)


def proposing(*key: float, confidence: float = 1.0) -> Callable[..., Any]:
    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        return Candidate(key=key, context={"key": list(key)}, confidence=confidence)

    return act


def done(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
    return Done("fine")


def steps(**changes: Any) -> Steps:
    return {"plan": plan, "act": [proposing(1, 0)], "reflect": done, **changes}


async def journal(lattice: Lattice, run_id: str) -> list[MemoryLine]:
    """The run's entries, oldest first."""
    entries = [line async for line in lattice.rewind(where={"pmll.run": run_id})]
    return entries[::-1]


def phases(entries: list[MemoryLine]) -> list[tuple[object, ...]]:
    facts = [dict(entry.context["pmll"]) for entry in entries]
    return [(fact["cycle"], fact["attempt"], fact["stage"], fact["status"]) for fact in facts]


class Stop(BaseException):
    """Ends a run as a crash does: nothing of it is journaled, since nothing catches it."""


@contextmanager
def crashing() -> Iterator[None]:
    """The block ends with `Stop`, which the race of an act wraps in a group."""
    try:
        yield
    except Stop:
        return
    except BaseExceptionGroup as group:
        if group.split(Stop)[1] is not None:
            raise
        return
    raise AssertionError("nothing stopped the run")
