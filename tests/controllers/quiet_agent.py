"""Runs in which every goal, step, memory, effect and exception says a secret: the first argument.

With structlog as nobody configured it, the standard library's logging at its most talkative, and
spans kept; prints those as JSON. The second argument is a folder, a third one asks for content.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from functools import partial
from typing import Any

from telemetry_support import Recorder

from controllers import (
    Continue,
    Event,
    Failed,
    Outcome,
    Pause,
    Plan,
    Retry,
    RTMController,
    StepContext,
    Verdict,
    log_events,
)
from controllers.otel import Telemetry
from controllers.tools import Tool, Tools
from pmll_async import Candidate, Lattice
from pmll_async.text import HashingEmbedder, TextMemory

SECRET, FOLDER, CONTENT = sys.argv[1], sys.argv[2], len(sys.argv) > 3


def search(text: str) -> str:
    raise LookupError(f"{text} is not found")


def send(text: str) -> str:
    return f"{text} is sent"


TOOLS = Tools([search, Tool(send, effect=True)])


def plan(ctx: StepContext[Any]) -> Plan[Any]:
    if ctx.cycle == 0 and ctx.attempt == 0 and ctx.depth == 0:
        raise ValueError(SECRET)
    return Plan(SECRET, {SECRET: SECRET}, goals=[f"inner {SECRET}"] if ctx.depth == 0 else [])


async def telling(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate | Pause:
    if ctx.depth == 0 and ctx.cycle == 1 and ctx.answer is None:
        return Pause(f"{SECRET}?", SECRET)
    await TOOLS.call(ctx, "search", {"text": SECRET})
    return await ctx.texts.candidate(SECRET, speaker=SECRET, context={SECRET: SECRET})


async def failing(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
    raise ValueError(SECRET)


async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
    await TOOLS.call(ctx, "send", {"text": SECRET})
    if isinstance(outcome, Failed):
        return Retry(SECRET, SECRET)
    if ctx.depth:
        return Continue(SECRET, SECRET)
    if ctx.cycle == 2:
        raise RuntimeError(SECRET)
    return Continue(SECRET, SECRET)


def unhappy(event: Event) -> None:
    raise KeyError(f"{SECRET}: {event}")


async def main(spans: Recorder) -> None:
    async with TextMemory.open(FOLDER, HashingEmbedder(dim=16)) as memory:
        telemetry = Telemetry(
            memory.lattice,
            content=CONTENT,
            tracer_provider=spans.provider,
            meter_provider=spans.meters,
        )
        observers = [partial(log_events, content=CONTENT), telemetry, unhappy]
        controller: RTMController[Any, Any] = RTMController(
            memory,
            plan=plan,
            act=[telling, failing],
            reflect=reflect,
            observers=observers,
            max_cycles=3,
            rules=[lambda budget: SECRET if budget.depth and budget.cycle else None],
        )
        await controller.run(SECRET, SECRET, run_id="r")
        with contextlib.suppress(RuntimeError):
            await controller.resume("r", SECRET, answer=SECRET)
        await unwritten(observers)


async def unwritten(observers: list[Any]) -> None:
    """The end of a run that no line can hold."""
    async with Lattice.open(f"{FOLDER}/other", dim=2) as lattice:

        async def cut(ctx: StepContext[Any]) -> Plan[Any]:
            await lattice.aclose()
            raise ValueError(SECRET)

        controller = RTMController(
            lattice, plan=cut, act=[failing], reflect=reflect, observers=observers
        )
        with contextlib.suppress(Exception):
            await controller.run(SECRET)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    recorder = Recorder()
    asyncio.run(main(recorder))
    print("spans:", *(span.to_json() for span in recorder.ended))
    print("points:", recorder.points("pmll.run.duration"))
