"""A lattice in an application whose own threads wait for it: nothing of it runs in them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lattice_support import DIM, PATIENCE, Gate, SpyStore, axis, near
from thread_support import our_threads, threads_gone

from controllers import Done, Outcome, Plan, RTMController, StepContext, Verdict
from pmll_async import Candidate, Lattice
from pmll_async.protocols import Clock
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import TextMemory
from pmll_async.values.concert import Float32

ROOT = Path(__file__).resolve().parents[2]
APPLICATION_THREADS = 6


@pytest.fixture
async def few_threads() -> ThreadPoolExecutor:
    """The loop's default executor has so many threads, as many as on two cores."""
    executor = ThreadPoolExecutor(APPLICATION_THREADS)
    asyncio.get_running_loop().set_default_executor(executor)
    return executor


async def test_threads_of_the_application_may_all_wait_for_a_recall(
    tmp_path: Path, few_threads: ThreadPoolExecutor
) -> None:
    loop = asyncio.get_running_loop()
    async with TextMemory.open(tmp_path) as memory:
        for number in range(20):
            await memory.remember(f"the cat of Ann has {number} kittens")
        together = threading.Barrier(APPLICATION_THREADS)

        def ask() -> list[Any]:
            together.wait(PATIENCE)
            asked = memory.recall("the cat of Ann", where={"pmll.speaker": {"$exists": False}})
            return asyncio.run_coroutine_threadsafe(asked, loop).result(PATIENCE)

        answers = await asyncio.gather(
            *(asyncio.to_thread(ask) for _ in range(APPLICATION_THREADS))
        )
    assert all(len(found) == 10 for found in answers)


async def test_threads_of_the_application_that_sleep_delay_no_query(
    lattice: Lattice, few_threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pmll_async.engine.queries.batcher.SMALL_PRODUCT", -1)
    monkeypatch.setattr("pmll_async.indexes.exact.SMALL_PRODUCT", -1)
    enough = threading.Event()
    sleeping = [asyncio.to_thread(enough.wait, PATIENCE) for _ in range(APPLICATION_THREADS)]
    asleep = asyncio.gather(*sleeping)
    async with asyncio.timeout(PATIENCE / 2):
        async with lattice:
            anchor = await lattice.put(axis(0), None, {"topic": "a"})
            assert len(await lattice.query(axis(0), where={"topic": "a"})) == 1
            assert (await lattice.get(anchor)).anchor == anchor
            await lattice.pin("a", "b")
    assert not asleep.done()
    enough.set()
    await asleep


class Asking:
    """An embedder that waits for what its lattice says, in whichever thread it is called."""

    id, dim = "asking", 4

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.memory, self.seen = loop, None, list[int]()

    def embed(self, texts: Sequence[str]) -> Float32:
        if self.memory is not None:
            asked = self.memory.lattice.query(np.ones(4), k=40)
            self.seen.append(len(asyncio.run_coroutine_threadsafe(asked, self.loop).result()))
        return np.ones((len(texts), 4), dtype=np.float32)


async def test_an_embedder_may_wait_for_its_own_lattice(tmp_path: Path) -> None:
    embedder = Asking(asyncio.get_running_loop())
    async with asyncio.timeout(PATIENCE):
        async with TextMemory.open(tmp_path, embedder) as memory:
            embedder.memory = memory
            await asyncio.gather(*(memory.remember(f"text {number}") for number in range(40)))
            await memory.recall("text")
    assert embedder.seen


async def test_more_sync_steps_than_threads_may_wait_for_the_memory(
    few_threads: ThreadPoolExecutor,
) -> None:
    loop = asyncio.get_running_loop()

    def plan(ctx: StepContext[Any]) -> Plan[Any]:
        note = asyncio.run_coroutine_threadsafe(ctx.memory.note({"of": ctx.goal}), loop)
        return Plan(note.result(PATIENCE))

    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        return Candidate(key=axis(0))

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Done()

    async with Lattice(MemoryStore(), dim=DIM) as lattice:
        controller = RTMController(lattice, plan=plan, act=[act], reflect=reflect)
        runs = await asyncio.gather(*(controller.run(f"goal {n}") for n in range(12)))
    assert {run.status for run in runs} == {"done"}


@pytest.mark.parametrize("count", [1, 3])
async def test_the_last_to_close_leaves_no_thread(clock: Clock, count: int) -> None:
    before = threading.active_count()
    lattices = [await Lattice(MemoryStore(), dim=DIM, clock=clock) for _ in range(count)]
    for lattice in lattices:
        await asyncio.gather(*(lattice.put(axis(0)) for _ in range(10)))
        await lattice.get(lattice.head)
        await lattice.query(axis(0), where={"topic": "a"})
    assert our_threads()
    for lattice in lattices:
        await lattice.aclose()
    # On a machine that is busy their last steps may take longer than closing waits.
    await threads_gone()
    assert threading.active_count() == before


async def test_a_store_that_hangs_stops_no_other_lattice(clock: Clock) -> None:
    gates = [Gate() for _ in range(6)]
    hanging = []
    for gate in gates:
        store = SpyStore(MemoryStore())
        store.before["append"] = gate
        hanging.append(await Lattice(store, dim=DIM, clock=clock))
    puts = [asyncio.create_task(lattice.put(axis(0))) for lattice in hanging]
    async with Lattice(MemoryStore(), dim=DIM, clock=clock) as other:
        async with asyncio.timeout(PATIENCE):
            await other.put(axis(0))
    for gate in gates:
        gate.open()
    await asyncio.gather(*puts)
    for lattice in hanging:
        await lattice.aclose()


async def test_lattices_have_their_turns_one_after_the_other(clock: Clock) -> None:
    """One that is never without work does not keep the shared threads from the others."""
    order: list[str] = []
    lattices = {}
    for name in "abcdefgh":
        store = SpyStore(MemoryStore())
        store.before["append"] = lambda name=name: order.append(name)
        lattices[name] = await Lattice(store, dim=DIM, clock=clock)

    async def write(lattice: Lattice) -> None:
        for number in range(10):
            await lattice.put(near(0, number / 20))

    await asyncio.gather(*(write(lattice) for lattice in lattices.values()))
    assert len(our_threads()) <= 8
    for lattice in lattices.values():
        await lattice.aclose()
    assert sorted(order) == sorted("abcdefgh" * 10)
    assert set(order[:40]) == set("abcdefgh")


MANY = """
    import asyncio, os, resource, sys, threading, time
    from pathlib import Path
    from pmll_async import Lattice
    from pmll_async.text import TextMemory

    folder, kind, count, files = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    async def use_lattice(number):
        lattice = await Lattice.open(folder / str(number), dim=2)
        await lattice.put([1.0, 0.0])
        await lattice.get(lattice.head)
        return lattice

    async def use_text(number):
        memory = await TextMemory.open(folder / str(number))
        await memory.remember("one")
        await memory.recall("one")
        return memory

    async def main():
        use = use_lattice if kind == "lattice" else use_text
        opened, most = [], 0
        for first in range(0, count, 50):
            numbers = range(first, min(count, first + 50))
            opened += await asyncio.gather(*map(use, numbers))
            most = max(most, threading.active_count())
        used = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
        for one in opened:
            await one.aclose()
        # The last to close waits for the threads, but not for ever: a busy machine may take longer.
        late = time.monotonic() + 30
        while threading.active_count() > 1 and time.monotonic() < late:
            await asyncio.sleep(0)
        print(most, used, threading.active_count())

    asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("lattice", 250), ("text", 75)])
def test_a_process_opens_many_with_few_threads_and_descriptors(
    tmp_path: Path, kind: str, count: int
) -> None:
    """A quarter of what 4096 descriptors must do for: 1000 lattices, 300 text memories."""
    pytest.importorskip("resource", reason="this system has no limits of descriptors to set")
    script = textwrap.dedent(MANY)
    command = [sys.executable, "-c", script, str(tmp_path), kind, str(count), "1024"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    most, used, left = map(int, done.stdout.split())
    assert most <= 1 + 4 + 4 + 32 + 2, "threads of reads, commits and calls, and who watches them"
    assert used <= 4 * count + 20
    assert left == 1
