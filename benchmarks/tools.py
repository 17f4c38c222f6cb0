"""`python -m benchmarks.tools`: what tools cost and save; prints the tables of docs/tools.md.

The model is a script, so that nothing is said about how well a model uses tools. Measured is what
the framework adds: calls that are saved, effects that a killed process does not repeat, and time.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from controllers import Done, Outcome, Plan, RTMController, StepContext
from controllers.llm import Message
from controllers.tool_agent import ToolAgent
from controllers.tools import Tool, Tools
from pmll_async import Candidate, Lattice
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory

ROOT: Final = Path(__file__).resolve().parents[1]
RUNS: Final = 20
ITEMS: Final = ("tea", "rice", "salt")
TURNS: Final = 2
TIMED: Final = 300
ROUNDS: Final = 5

# --- calls saved ---------------------------------------------------------------------------------


async def saved() -> dict[str, int]:
    """How often a tool is called when `RUNS` agents at once look up `ITEMS` in two turns each."""
    looks = [{"tool": "look_up", "arguments": {"item": item}} for item in ITEMS]

    async def model(messages: Sequence[Message]) -> str:
        turn = sum(message["role"] == "assistant" for message in messages)
        return json.dumps({"answer": "known"} if turn == TURNS else {"calls": looks})

    return {
        "a loop that calls what the model says": RUNS * len(ITEMS) * TURNS,
        "ToolAgent": await _called(model, shared=False, ttl=None),
        "ToolAgent, `shared=True`": await _called(model, shared=True, ttl=None),
        "ToolAgent, `ttl=0`": await _called(model, shared=False, ttl=0),
    }


async def _called(
    model: Callable[[Sequence[Message]], Awaitable[str]], *, shared: bool, ttl: float | None
) -> int:
    calls = Counter[str]()

    async def look_up(item: str) -> int:
        calls[item] += 1
        await asyncio.sleep(0.001)
        return len(item)

    embedder = HashingEmbedder(dim=64)
    async with Lattice(MemoryStore(), dim=64) as lattice, TextMemory(lattice, embedder) as memory:
        agent = ToolAgent(memory, model, [Tool(look_up, shared=shared, ttl=ttl)], recall=0)
        async with asyncio.TaskGroup() as group:
            for number in range(RUNS):
                group.create_task(agent.run("look up", run_id=f"run {number}"))
    return calls.total()


# --- a killed process ----------------------------------------------------------------------------


def killed() -> dict[tuple[str, str], tuple[int, int]]:
    """By what runs and where it is killed: how often the mail was sent, and the model asked."""
    command = [sys.executable, "-m", "benchmarks.tools", "killed"]
    told = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=120).stdout
    return {(runner, place): (sent, asked) for runner, place, sent, asked in json.loads(told)}


def _all_killed() -> list[tuple[str, str, int, int]]:
    """In a process that has run nothing yet: those that it forks begin as if started from it."""
    return [
        (runner, place, *_killed(runner, place))
        for runner in ("loop", "agent")
        for place in ("in the same turn", "in the next turn")
    ]


def _killed(runner: str, place: str) -> tuple[int, int]:
    with tempfile.TemporaryDirectory() as name:
        # The process kills itself the first time it comes to the place, and then it is restarted.
        ends = [_life(runner, place, name) for _ in range(2)]
        if ends != [-signal.SIGKILL, 0]:
            raise RuntimeError(f"the processes ended otherwise: {ends}")
        return _lines(Path(name, "sent")), _lines(Path(name, "asked"))


def _life(runner: str, place: str, name: str) -> int | None:
    # Forked, because to import everything takes longer than the run.
    process = multiprocessing.get_context("fork").Process(target=_live, args=(runner, place, name))
    process.start()
    process.join(60)
    return process.exitcode


def _live(runner: str, place: str, name: str) -> None:
    asyncio.run(getattr(Killed(place, Path(name)), runner)())


def _lines(file: Path) -> int:
    return len(file.read_text(encoding="ascii").splitlines())


def _note(file: Path) -> None:
    with file.open("a", encoding="ascii") as opened:
        opened.write("x\n")


class Killed:
    """A model and tools in a process that dies once, after the mail went out."""

    def __init__(self, place: str, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.tools = [Tool(self.send, effect=True), Tool(self.look)]

    async def model(self, messages: Sequence[Message]) -> str:
        """Sends and looks in one turn, and answers in the next."""
        turn = sum(message["role"] == "assistant" for message in messages)
        if turn == 1:
            self.die("in the next turn")
        _note(self.folder / "asked")
        calls = [{"tool": "send", "arguments": {}}, {"tool": "look", "arguments": {}}]
        return json.dumps({"answer": "sent"} if turn else {"calls": calls})

    def send(self) -> str:
        _note(self.folder / "sent")
        return "sent"

    def look(self) -> str:
        self.die("in the same turn")
        return "nothing new"

    def die(self, place: str) -> None:
        once = self.folder / "died"
        if place == self.place and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    async def loop(self) -> None:
        """What one writes without a journal."""
        messages: list[Message] = [Message(role="user", content="send the mail")]
        while "answer" not in (said := json.loads(await self.model(messages))):
            results = [getattr(self, call["tool"])() for call in said["calls"]]
            messages.append(Message(role="assistant", content=json.dumps(said)))
            messages.append(Message(role="user", content=json.dumps(results)))

    async def agent(self) -> None:
        async with TextMemory.open(self.folder / "memory", HashingEmbedder(dim=64)) as memory:
            agent = ToolAgent[None](memory, self.model, self.tools)
            if any(run.run_id == "mail" for run in await agent.runs()):
                await agent.resume("mail")
            else:
                await agent.run("send the mail", run_id="mail")


# --- time a call ---------------------------------------------------------------------------------


async def timed(count: int = TIMED, rounds: int = ROUNDS) -> dict[str, float]:
    """Microseconds a call, the median of the rounds; effects with a durable store on this disk."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            for what, seconds in (await _round(Path(name), count)).items():
                found.setdefault(what, []).append(seconds / count * 1e6)
    return {what: statistics.median(values) for what, values in found.items()}


async def _round(folder: Path, count: int) -> dict[str, float]:
    async def add(a: int, b: int = 1) -> int:
        return a + b

    def add_in_thread(a: int, b: int = 1) -> int:
        return a + b

    effects = [Tool(add, name="effect", effect=True)]
    tools = Tools([add, add_in_thread, *effects], remember=False)
    told = Tools(effects)
    taken: dict[str, float] = {}

    async def act(ctx: StepContext[None], _plan: Plan[Any]) -> Candidate:
        async def time_it(what: str, call: Callable[[int], Awaitable[object]]) -> None:
            start = time.perf_counter()
            for number in range(count):
                await call(number)
            taken[what] = time.perf_counter() - start

        await time_it("the function itself", add)
        await time_it("async tool", lambda n: tools.call(ctx, "add", {"a": n}))
        await time_it("the same, cached", lambda n: tools.call(ctx, "add", {"a": n}))
        await time_it("sync tool", lambda n: tools.call(ctx, "add_in_thread", {"a": n}))
        await time_it("`ctx.memory.note`, durable", lambda n: ctx.memory.note({"n": n}))
        await time_it("effect", lambda n: tools.call(ctx, "effect", {"a": n}))
        await time_it("effect, remembered", lambda n: told.call(ctx, "effect", {"a": n, "b": 2}))
        return await ctx.texts.candidate("measured")

    def reflect(_ctx: StepContext[None], outcome: Outcome) -> Done[None]:
        return Done(str(outcome))

    async with AsyncExitStack() as stack:
        memory = await stack.enter_async_context(TextMemory.open(folder, HashingEmbedder(dim=64)))
        await RTMController(memory, plan=lambda ctx: Plan(), act=[act], reflect=reflect).run("time")
    return taken


# --- the tables ----------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    if arguments == ["killed"]:
        print(json.dumps(_all_killed()))
        return
    print(f"| {RUNS} runs at once, {len(ITEMS)} look-ups in each of two turns | calls |\n|---|---|")
    for what, calls in asyncio.run(saved()).items():
        print(f"| {what} | {calls} |")
    print("\n| killed and started again | mails sent | replies paid for |\n|---|---|---|")
    for (runner, place), (sent, asked) in killed().items():
        print(f"| {runner}, killed {place} | {sent} | {asked} |")
    print("\n| a call | µs |\n|---|---|")
    for what, micros in asyncio.run(timed()).items():
        print(f"| {what} | {micros:.0f} |" if micros >= 1 else f"| {what} | {micros:.1f} |")


if __name__ == "__main__":
    main(sys.argv[1:])
