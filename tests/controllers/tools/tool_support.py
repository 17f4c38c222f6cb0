"""A step that calls tools, run by a real controller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from controller_support import done

from controllers import Failed, Outcome, Plan, RTMController, StepContext, Verdict
from pmll_async import Candidate, Lattice
from pmll_async.text import TextMemory

T = TypeVar("T")


def calling(
    memory: Lattice | TextMemory, use: Callable[[StepContext[Any]], Awaitable[T]], made: list[T]
) -> RTMController[Any, Any]:
    """A controller with a single act, which puts what `use` returned into `made`."""
    dim = (memory if isinstance(memory, Lattice) else memory.lattice).dim

    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        made.append(await use(ctx))
        return Candidate(key=[1.0] * dim)

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        if isinstance(outcome, Failed):
            raise outcome.error or AssertionError(str(outcome))
        return done(ctx, outcome)

    return RTMController(memory, plan=lambda ctx: Plan(), act=[act], reflect=reflect)


async def in_act(
    memory: Lattice | TextMemory,
    use: Callable[[StepContext[Any]], Awaitable[T]],
    *,
    deps: Any = None,
    run_id: str = "r",
) -> T:
    """What `use` returns in the act of a run."""
    made: list[T] = []
    await calling(memory, use, made).run("use tools", deps, run_id=run_id)
    return made[0]
