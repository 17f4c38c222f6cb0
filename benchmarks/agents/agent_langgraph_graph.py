"""The agent as a LangGraph StateGraph, with the same checkpointer: a checkpoint after every node.

`run RUN_ID FOLDER` or `resume RUN_ID FOLDER`. DURABILITY in the environment is LangGraph's mode:
"sync" unless said; LangGraph's own default is "async".
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from command import main
from effects import decide, effect
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Durability

PACKAGES = ("langgraph", "langgraph-checkpoint-sqlite")
DURABILITY = cast(Durability, os.environ.get("DURABILITY", "sync"))
Graph = Pregel[Any, Any, Any, Any]


# --- agent
class Order(TypedDict):
    run: str
    goal: str
    amount: NotRequired[int]


class Planned(TypedDict):
    amount: int


async def plan(order: Order) -> Planned:
    return {"amount": decide(order["goal"])}


async def charge(order: Order) -> None:
    await effect("charge", order["run"])


async def mail(order: Order) -> None:
    await effect("mail", order["run"])


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Graph]:
    async with AsyncSqliteSaver.from_conn_string(str(folder / "agent.db")) as saver:
        builder = StateGraph(Order).add_sequence([plan, charge, mail])
        builder.add_edge(START, "plan")
        yield builder.compile(checkpointer=saver)


async def start(agent: Graph, run: str, goal: str) -> int:
    config: RunnableConfig = {"configurable": {"thread_id": run}}
    order = await agent.ainvoke({"run": run, "goal": goal}, config, durability=DURABILITY)
    return order["amount"]


async def resume(agent: Graph, run: str) -> int:
    config: RunnableConfig = {"configurable": {"thread_id": run}}
    order = await agent.ainvoke(None, config, durability=DURABILITY)
    return order["amount"]


# --- end


if __name__ == "__main__":
    main(opened, start, resume)
