"""Own step functions in the controller: guess a number, reflect on the answer, plan anew."""

import asyncio
import tempfile
from typing import NamedTuple

from controllers import Continue, Done, Failed, Outcome, Plan, Retry, RTMController, StepContext
from pmll_async import Candidate, Lattice


class Range(NamedTuple):
    """What PLAN hands to ACT: the numbers that are still possible."""

    low: int
    high: int


def plan(ctx: StepContext[int]) -> Plan[Range]:
    """What REFLECT learned is `ctx.previous`. A sync step runs in a worker thread."""
    known = ctx.previous.data if ctx.previous else Range(1, 100)
    return Plan(f"between {known.low} and {known.high}", known)


async def middle(_ctx: StepContext[int], plan: Plan[Range]) -> Candidate:
    """One strategy: halve the range. The key is the guess as a vector."""
    guess = sum(plan.data) // 2
    return Candidate(key=[guess, 1.0], context={"guess": guess}, confidence=0.7)


async def luck(ctx: StepContext[int], plan: Plan[Range]) -> Candidate:
    """Another one, raced against it. `ctx.rng` repeats itself when the run is repeated."""
    guess = ctx.rng.randint(*plan.data)
    return Candidate(key=[guess, 1.0], context={"guess": guess}, confidence=ctx.rng.random())


def reflect(ctx: StepContext[int], outcome: Outcome) -> Continue[Range] | Done[int] | Retry:
    """Content, or another cycle with a smaller range. `ctx.deps` is the number to find."""
    if isinstance(outcome, Failed):
        return Retry("no act had a guess")
    guess, (low, high) = int(str(outcome.winner.context["guess"])), ctx.plan.data
    if guess == ctx.deps:
        return Done(f"it is {guess}", guess)
    return Continue("no", Range(guess + 1, high) if guess < ctx.deps else Range(low, guess - 1))


async def main(folder: str) -> None:
    """Run it, then read the plans back from the chain, newest first."""
    async with Lattice.open(folder, dim=2) as lattice:
        controller = RTMController(lattice, plan=plan, act=[middle, luck], reflect=reflect)
        result = await controller.run("guess the number", 37, run_id="guessing")
        print(f"{result.status} after {result.cycles} cycles: {result.text}")
        async for entry in lattice.rewind(where={"pmll.run": "guessing", "pmll.stage": "plan"}):
            print(f"planned: {entry.context['text']}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
