"""A run to look at: real steps over a real lattice, with a clock that each event moves on.

``python tests/controllers/watch/watch_support.py`` draws docs/watch.svg again.
"""

from __future__ import annotations

import asyncio
import re
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

from controllers import (
    Continue,
    Done,
    Event,
    Failed,
    Outcome,
    Plan,
    RTMController,
    StepContext,
    Usage,
    Verdict,
)
from controllers.watch import View, drawn
from pmll_async import Candidate, Lattice
from pmll_async.stores.memory import MemoryStore

PICTURE: Final = Path(__file__).resolve().parents[3] / "docs" / "watch.svg"
SECONDS_AN_EVENT: Final = 0.4
_TITLE: Final = "The live view of a run"
_DESCRIPTION: Final = (
    "A frame with the goal as its title. Above, a line for each cycle and sub-goal that is over."
    " Below, the cycle at hand: the plan; the candidates, with the winner on the chain, a loser as"
    " a branch of half the strength, one that failed and one that was too late; the lines that the"
    " winner revises; and REFLECT, still at work."
)


def plan(ctx: StepContext[Any]) -> Plan[None]:
    ctx.spend(Usage(calls=1, input_tokens=512, output_tokens=40, cost=0.002))
    if ctx.depth:
        return Plan("look at the calendar")
    return Plan(f"look it up, {['', 'on Tuesdays'][ctx.cycle]}", goals=_goals(ctx))


def _goals(ctx: StepContext[Any]) -> list[str]:
    return ["which day is it?"] if ctx.cycle == 0 else []


class Acts:
    """Three acts that end in one order, and one that never ends."""

    def __init__(self) -> None:
        self.known: list[str] = []

    def all(self) -> list[Any]:
        return [self.memory, self.web, self.archive, self.phone]

    async def memory(self, ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        text, revises = {"text": "at nine"}, self.known
        if ctx.depth or ctx.cycle == 0:
            return Candidate(key=[1, ctx.depth], context=text, confidence=0.7)
        return Candidate(key=[2, 1], context=text, confidence=0.8, revises=revises)

    async def web(self, ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        await anyio.lowlevel.checkpoint()
        return Candidate(key=[0, 1], context={"text": "at ten"}, confidence=0.55)

    async def archive(self, ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        raise TimeoutError("the archive does not answer")

    async def phone(self, ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        await anyio.sleep_forever()
        raise AssertionError

    def reflect(self, ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        assert not isinstance(outcome, Failed)
        self.known = [outcome.winner.anchor]
        if ctx.depth:
            return Done("a Tuesday")
        return Done("at nine on Tuesdays") if ctx.cycle else Continue("is that so on Tuesdays?")


async def events() -> list[Event]:
    """Everything that the run tells, in its order."""
    acts, ticks = Acts(), count(1_000)
    lattice = Lattice(MemoryStore(), dim=2, clock=lambda: float(next(ticks)))
    async with lattice:
        controller = RTMController(
            lattice,
            plan=plan,
            act=acts.all(),
            reflect=acts.reflect,
            judge=lambda ctx, plan, candidate: candidate.confidence,
            timeout=0.2,
        )
        async with controller.stream("when does the ferry leave?", run_id="f3a90c1e") as run:
            return [event async for event in run]


def viewed(told: list[Event]) -> View:
    """The view after these events."""
    view = View(max_cycles=8)
    for number, event in enumerate(told):
        view = view.after(event, number * SECONDS_AN_EVENT)
    return view


def shown(view: View, *, now: float, width: int = 80, height: int = 23, plain: bool = False) -> str:
    """The picture as text."""
    console = Console(file=StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(drawn(view, now=now, width=width, height=height, plain=plain))
    return captured.get()


def svg(view: View, now: float) -> str:
    """The picture with its colours, and its description in words."""
    console = Console(file=StringIO(), width=80, record=True, force_terminal=True)
    console.print(drawn(view, now=now))
    text = console.export_svg(title="pmll run --watch", theme=DIMMED_MONOKAI, unique_id="watch")
    # Fonts that a reader would have to fetch from elsewhere.
    text = re.sub(r"@font-face \{.*?\}\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = text.replace("Fira Code, monospace", "ui-monospace, Consolas, monospace")
    named = f"<title>{_TITLE}</title>\n    <desc>{_DESCRIPTION}</desc>\n    <style>"
    lines = text.replace("<style>", named, 1).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines if line.strip())


def picture(told: list[Event]) -> str:
    """docs/watch.svg as it should be: the moment before the last verdict."""
    view = viewed(told[:-2])
    return svg(view, len(told) * SECONDS_AN_EVENT)


if __name__ == "__main__":
    PICTURE.write_text(picture(asyncio.run(events())), encoding="utf-8")
