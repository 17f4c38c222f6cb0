"""The agent in LangGraph's functional API, with its SQLite checkpointer.

`run RUN_ID FOLDER` or `resume RUN_ID FOLDER`. DURABILITY in the environment is LangGraph's mode:
"sync" unless said; LangGraph's own default is "async".
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict, cast

from command import main
from effects import decide, effect
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task
from langgraph.pregel import Pregel
from langgraph.types import Durability

PACKAGES = ("langgraph", "langgraph-checkpoint-sqlite")
DURABILITY = cast(Durability, os.environ.get("DURABILITY", "sync"))
Graph = Pregel[Any, Any, Any, Any]


# --- agent
class Order(TypedDict):
    run: str
    goal: str


@task
async def plan(goal: str) -> int:
    return decide(goal)


@task
async def charge(run: str, amount: int) -> None:
    await effect("charge", run)


@task
async def mail(run: str, amount: int) -> None:
    await effect("mail", run)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Graph]:
    async with AsyncSqliteSaver.from_conn_string(str(folder / "agent.db")) as saver:

        @entrypoint(checkpointer=saver)
        async def agent(order: Order) -> int:
            amount = await plan(order["goal"])
            await charge(order["run"], amount)
            await mail(order["run"], amount)
            return amount

        yield agent


async def start(agent: Graph, run: str, goal: str) -> int:
    config: RunnableConfig = {"configurable": {"thread_id": run}}
    return await agent.ainvoke({"run": run, "goal": goal}, config, durability=DURABILITY)


async def resume(agent: Graph, run: str) -> int:
    config: RunnableConfig = {"configurable": {"thread_id": run}}
    return await agent.ainvoke(None, config, durability=DURABILITY)


# --- end


if __name__ == "__main__":
    main(opened, start, resume)
