"""The agent in pydantic-graph 1.x, with its file persistence, which version 2 removed.

`run RUN_ID FOLDER` or `resume RUN_ID FOLDER`. Install "pydantic-graph<2".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from command import main
from effects import decide, effect
from pydantic_graph import BaseNode, End, GraphRunContext
from pydantic_graph.graph import Graph
from pydantic_graph.persistence.file import FileStatePersistence

PACKAGES = ("pydantic-graph",)


# --- agent
@dataclass
class Order:
    run: str
    goal: str
    amount: int = 0


@dataclass
class Plan(BaseNode[Order, None, int]):
    async def run(self, ctx: GraphRunContext[Order]) -> Charge:
        ctx.state.amount = decide(ctx.state.goal)
        return Charge()


@dataclass
class Charge(BaseNode[Order, None, int]):
    async def run(self, ctx: GraphRunContext[Order]) -> Mail:
        await effect("charge", ctx.state.run)
        return Mail()


@dataclass
class Mail(BaseNode[Order, None, int]):
    async def run(self, ctx: GraphRunContext[Order]) -> End[int]:
        await effect("mail", ctx.state.run)
        return End(ctx.state.amount)


graph = Graph(nodes=[Plan, Charge, Mail])


async def start(folder: Path, run: str, goal: str) -> int:
    persistence = FileStatePersistence[Order, int](folder / f"{run}.json")
    result = await graph.run(Plan(), state=Order(run, goal), persistence=persistence)
    return result.output


async def resume(folder: Path, run: str) -> int:
    persistence = FileStatePersistence[Order, int](folder / f"{run}.json")
    async with graph.iter_from_persistence(persistence) as graph_run:
        async for _ in graph_run:
            pass
    assert graph_run.result is not None
    return graph_run.result.output


# --- end


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Path]:
    """There is nothing to open: every run has its file."""
    yield folder


if __name__ == "__main__":
    main(opened, start, resume)
