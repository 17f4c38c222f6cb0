"""A run whose process is killed between two side effects goes on in another one, at the second."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from controllers import Done, Outcome, Plan, RTMController, StepContext
from pmll_async import Candidate, Lattice


def happens(world: Path, what: str) -> None:
    """A side effect: a line in a file, which stands for the world."""
    with world.open("a") as file:
        file.write(f"{what}\n")


def plan(_: StepContext[Path]) -> Plan[int]:
    """Decide what it costs, in cents."""
    return Plan("charge, then mail", 4200)


def act(_: StepContext[Path], plan: Plan[int]) -> Candidate:
    """Acts may lose a race, so they have no side effects: this is the order's line on the chain."""
    return Candidate(key=[1.0, 0.0], context={"cents": plan.data})


async def reflect(ctx: StepContext[Path], _: Outcome) -> Done[int]:
    """Each effect is done once: its intent and its result are on the chain."""
    await ctx.once("charge", partial(happens, ctx.deps, "charged"))
    if not ctx.resumed:
        os.kill(os.getpid(), signal.SIGKILL)  # the power goes, the process dies, …
    await ctx.once("mail", partial(happens, ctx.deps, "mailed"))
    return Done("sold", ctx.plan.data)


async def main(folder: Path, verb: str) -> None:
    """Begin the order, or go on with it."""
    async with Lattice.open(folder / "memory", dim=2) as lattice:
        controller = RTMController(lattice, plan=plan, act=[act], reflect=reflect)
        if verb == "run":
            await controller.run("sell the cello", folder / "world", run_id="order-17")
        for run in await controller.runs():
            print(f"{run.run_id} was {run.status}")
        result = await controller.resume("order-17", folder / "world")
        print(f"{result.status}: {result.data} cents; {(folder / 'world').read_text().split()}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(main(Path(sys.argv[1]), "run"))
    with tempfile.TemporaryDirectory() as directory:
        killed = subprocess.run([sys.executable, __file__, directory], check=False)  # noqa: S603  # itself
        print(f"the first process ended with {killed.returncode}")
        asyncio.run(main(Path(directory), "resume"))
