"""The agent in pydantic-graph 2.x, which records nothing and has nothing to resume from.

`run RUN_ID FOLDER` or `resume RUN_ID FOLDER`. Version 2 removed persistence and names no
replacement in this package (pydantic/pydantic-ai#5470); a resume therefore refuses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from command import main
from effects import decide, effect
from pydantic_graph import GraphBuilder, StepContext

PACKAGES = ("pydantic-graph",)


# --- agent
@dataclass
class Order:
    run: str
    goal: str


builder = GraphBuilder(state_type=Order, output_type=int)


@builder.step
async def plan(ctx: StepContext[Order, None, None]) -> int:
    return decide(ctx.state.goal)


@builder.step
async def charge(ctx: StepContext[Order, None, int]) -> int:
    await effect("charge", ctx.state.run)
    return ctx.inputs


@builder.step
async def mail(ctx: StepContext[Order, None, int]) -> int:
    await effect("mail", ctx.state.run)
    return ctx.inputs


builder.add(
    builder.edge_from(builder.start_node).to(plan),
    builder.edge_from(plan).to(charge),
    builder.edge_from(charge).to(mail),
    builder.edge_from(mail).to(builder.end_node),
)
graph = builder.build()


async def start(folder: Path, run: str, goal: str) -> int:
    return await graph.run(state=Order(run, goal))


# --- end


async def resume(folder: Path, run: str) -> int:
    """What the library offers: nothing."""
    raise NotImplementedError("pydantic-graph 2 has no persistence")


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Path]:
    """There is nothing to open."""
    yield folder


if __name__ == "__main__":
    main(opened, start, resume)
