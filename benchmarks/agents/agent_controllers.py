"""The agent in pmll-async's controllers, journaled in a JSONL lattice.

`run RUN_ID FOLDER` or `resume RUN_ID FOLDER`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from command import main
from effects import decide, effect

from controllers import Done, Outcome, Plan, RTMController, StepContext
from pmll_async import Candidate, Lattice

PACKAGES = ("pmll-async",)
Controller = RTMController[Any, Any]


# --- agent
async def plan(ctx: StepContext) -> Plan[int]:
    return Plan("charge and mail", decide(ctx.goal))


async def act(ctx: StepContext, plan: Plan[int]) -> Candidate:
    return Candidate(key=[1.0], context={"amount": plan.data})


async def reflect(ctx: StepContext, outcome: Outcome) -> Done[int]:
    await ctx.once("charge", partial(effect, "charge", ctx.run_id))
    await ctx.once("mail", partial(effect, "mail", ctx.run_id))
    return Done("charged", ctx.plan.data)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Controller]:
    async with Lattice.open(folder, dim=1) as lattice:
        yield RTMController(lattice, plan=plan, act=[act], reflect=reflect)


async def start(agent: Controller, run: str, goal: str) -> int:
    return (await agent.run(goal, run_id=run)).data


async def resume(agent: Controller, run: str) -> int:
    return (await agent.resume(run)).data


# --- end


if __name__ == "__main__":
    main(opened, start, resume)
