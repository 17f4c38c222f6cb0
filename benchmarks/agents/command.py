"""What every agent's file offers, and its command line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

GOAL = "charge the customer and say so"
STARTED = "started"


class Agent(Protocol):
    """A module with an agent: what is opened once a process serves any number of runs.

    `start` drives a new run to its end. `resume` drives on, as the library documents it, a run
    that another process began, and raises if it cannot. Both return the amount.
    """

    PACKAGES: tuple[str, ...]

    @staticmethod
    def opened(folder: Path) -> AbstractAsyncContextManager[Any]: ...

    @staticmethod
    async def start(session: Any, run: str, goal: str) -> int: ...

    @staticmethod
    async def resume(session: Any, run: str) -> int: ...


def main(
    opened: Callable[[Path], AbstractAsyncContextManager[Any]],
    start: Callable[[Any, str, str], Awaitable[int]],
    resume: Callable[[Any, str], Awaitable[int]],
) -> None:
    """`run RUN_ID FOLDER` or `resume RUN_ID FOLDER`: prints when it starts, and the amount."""

    async def drive(verb: str, run: str, folder: Path) -> None:
        async with opened(folder) as session:
            print(STARTED, flush=True)
            amount = await (start(session, run, GOAL) if verb == "run" else resume(session, run))
            print(amount, flush=True)

    match sys.argv[1:]:
        case ["run" | "resume" as verb, run, folder]:
            asyncio.run(drive(verb, run, Path(folder)))
        case _:
            sys.exit("usage: run RUN_ID FOLDER | resume RUN_ID FOLDER")
