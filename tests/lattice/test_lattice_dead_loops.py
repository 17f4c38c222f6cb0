"""A loop that ended, or a lattice that was forgotten, before anyone closed: nothing stays held."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from lattice_support import DIM, PATIENCE, Gate, SpyStore, axis
from test_lattice_lifecycle import CALLS, call
from thread_support import our_threads

from pmll_async import Lattice, LatticeClosedError, StoreLockedError, WrongEventLoopError
from pmll_async.engine import holdings as holding_module
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import TextMemory

ROOT = Path(__file__).resolve().parents[2]

Open = Callable[[Path], Awaitable[Any]]
Write = Callable[[Any], Awaitable[Any]]


async def open_lattice(folder: Path) -> Lattice:
    return await Lattice.open(folder, dim=DIM)


async def open_text(folder: Path) -> TextMemory:
    return await TextMemory.open(folder)


async def put(lattice: Lattice) -> None:
    await lattice.put(axis(0))


async def remember(memory: TextMemory) -> None:
    await memory.remember("something")


KINDS: dict[str, tuple[Open, Write]] = {
    "lattice": (open_lattice, put),
    "text": (open_text, remember),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[Open, Write]:
    return KINDS[request.param]


@pytest.fixture(autouse=True)
def nothing_is_held() -> Iterator[None]:
    # The collector comes when a test calls it, and not before.
    gc.disable()
    yield
    gc.enable()
    gc.collect()
    late = time.monotonic() + PATIENCE
    while holding_module._HELD or our_threads():
        assert time.monotonic() < late, (holding_module._HELD, our_threads())
        time.sleep(0.001)


def left_open(folder: Path, kind: tuple[Open, Write]) -> Any:
    """One that is open, in a loop that has ended."""
    opening, write = kind

    async def main() -> Any:
        one = await opening(folder)
        await write(one)
        return one

    return asyncio.run(main())


def count(one: Any) -> int:
    return len(one if isinstance(one, Lattice) else one.lattice)


def test_what_a_loop_left_open_can_be_closed_in_another(
    tmp_path: Path, kind: tuple[Open, Write]
) -> None:
    one = left_open(tmp_path, kind)
    opening, write = kind

    async def main() -> None:
        with pytest.raises(WrongEventLoopError, match="aclose"):
            await write(one)
        await asyncio.gather(one.aclose(), one.aclose())
        await one.aclose()
        with pytest.raises(LatticeClosedError):
            await write(one)
        again = await opening(tmp_path)
        await write(again)
        assert count(again) == 2
        await again.aclose()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())


def test_in_another_loop_every_other_call_says_what_to_do(tmp_path: Path) -> None:
    lattice = left_open(tmp_path, KINDS["lattice"])
    with asyncio.Runner() as abroad:
        for name in CALLS:
            with pytest.raises(WrongEventLoopError, match="aclose"):
                abroad.run(call(name, lattice))
        with pytest.raises(WrongEventLoopError, match="aclose"):
            abroad.run(lattice.__aenter__())
        abroad.run(lattice.aclose())
        for name in CALLS:
            with pytest.raises(LatticeClosedError):
                abroad.run(call(name, lattice))


def test_its_folder_opens_anew_with_a_warning(tmp_path: Path, kind: tuple[Open, Write]) -> None:
    one = left_open(tmp_path / "one", kind)
    opening, write = kind
    (tmp_path / "link").symlink_to(tmp_path / "one")

    async def main() -> None:
        with pytest.warns(ResourceWarning, match="one was never closed"):
            again = await opening(tmp_path / "link")
        await write(again)
        assert count(again) == 2
        # What is left of the first is harmless.
        with pytest.raises((WrongEventLoopError, LatticeClosedError)):
            await write(one)
        await one.aclose()
        await write(again)
        await again.aclose()

    asyncio.run(main())
    assert ": 1 lines, " in repr(one)
    assert repr(one).endswith(", closed>")


def test_that_of_a_loop_which_runs_stays_locked(tmp_path: Path) -> None:
    with asyncio.Runner() as home, asyncio.Runner() as abroad:
        lattice = home.run(open_lattice(tmp_path))
        with pytest.raises(StoreLockedError, match="this process"):
            abroad.run(open_lattice(tmp_path))
        with pytest.raises(WrongEventLoopError):
            abroad.run(lattice.aclose())
        home.run(lattice.put(axis(0)))
        home.run(lattice.aclose())


def test_a_lattice_that_nobody_knows_any_more_gives_its_store_back(
    tmp_path: Path, kind: tuple[Open, Write]
) -> None:
    opening, write = kind

    async def forget() -> None:
        one = await opening(tmp_path)
        await write(one)
        # As instruments do that keep what they look at.
        lattice = one if isinstance(one, Lattice) else one.lattice
        lattice.observe(lambda batch: seen.append(len(lattice)))
        await write(one)

    async def main() -> None:
        await forget()
        with pytest.warns(ResourceWarning, match="was never closed"):
            gc.collect()
        again = await opening(tmp_path)
        assert count(again) == 2
        await again.aclose()

    seen: list[int] = []
    asyncio.run(main())
    assert seen == [2] or seen == [1, 2]


async def collected(known: ref[Any]) -> None:
    """The thread that committed may have its hands on the clock for a moment after the answer."""
    async with asyncio.timeout(PATIENCE):
        while known() is not None:
            gc.collect()
            await asyncio.sleep(0.001)


def test_a_clock_that_knows_its_lattice_does_not_keep_it(tmp_path: Path) -> None:
    class Agent:
        def __init__(self) -> None:
            self.lattice = Lattice.open(tmp_path, dim=DIM, clock=self.now)

        def now(self) -> float:
            return 1_700_000_000.0

    async def main() -> None:
        agent = Agent()
        await agent.lattice
        await agent.lattice.put(axis(0))
        known = ref(agent)
        del agent
        with pytest.warns(ResourceWarning, match="was never closed"):
            await collected(known)
        async with Lattice.open(tmp_path) as again:
            assert len(again) == 1

    asyncio.run(main())


def count_left_open(folder: Path, kind: tuple[Open, Write]) -> int:
    one = left_open(folder, kind)
    # Part of a circle, so that only the collector comes across it.
    one.itself = one
    return 0 if one is None else 1


def test_one_collected_in_a_loop_that_ended_gives_its_store_back(
    tmp_path: Path, kind: tuple[Open, Write]
) -> None:
    assert count_left_open(tmp_path, kind) == 1
    with pytest.warns(ResourceWarning, match="was never closed"):
        gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(closed_again(tmp_path, kind))


async def closed_again(folder: Path, kind: tuple[Open, Write]) -> None:
    opening, write = kind
    again = await opening(folder)
    await write(again)
    await again.aclose()


def test_what_was_accepted_is_finished_before_the_store_is_closed() -> None:
    """Also by who comes after the loop has ended."""
    store, gate = SpyStore(MemoryStore()), Gate()

    async def main() -> Lattice:
        lattice = await Lattice(store, dim=DIM)
        await lattice.put(axis(0))
        store.before["append"] = gate
        shielded = asyncio.shield(asyncio.ensure_future(lattice.put(axis(1))))
        await gate.arrival()
        shielded.cancel()
        return lattice

    async def close() -> None:
        closing = asyncio.ensure_future(lattice.aclose())
        await asyncio.sleep(0)
        gate.open()
        await closing

    lattice = asyncio.run(main())
    asyncio.run(close())
    assert store.calls[-2:] == ["append", "close"]
    assert len(store.inner._records) == 2


def test_a_closing_that_its_loop_cut_off_can_be_finished_elsewhere(tmp_path: Path) -> None:
    store, gate = SpyStore(MemoryStore()), Gate()

    async def main() -> Lattice:
        lattice = await Lattice(store, dim=DIM)
        await lattice.put(axis(0))
        store.before["append"] = gate
        put = asyncio.ensure_future(lattice.put(axis(1)))
        await gate.arrival()
        closing = asyncio.ensure_future(lattice.aclose())
        await asyncio.sleep(0)
        put.cancel()
        closing.cancel()
        return lattice

    lattice = asyncio.run(main())
    gate.open()
    asyncio.run(lattice.aclose())
    assert store.calls[-1] == "close"


def test_an_opening_that_its_loop_dropped_gives_the_store_back(tmp_path: Path) -> None:
    """A loop that is closed without a word to its tasks, as some hosts do."""
    store, gate = SpyStore(MemoryStore()), Gate()
    store.before["load"] = gate
    loop = asyncio.new_event_loop()

    async def dropped() -> None:
        await Lattice(store, dim=DIM)

    task = loop.create_task(dropped())
    loop.run_until_complete(gate.arrival())
    loop.close()
    task._log_destroy_pending = False
    del task
    gate.open()
    late = time.monotonic() + PATIENCE
    while "close" not in store.calls:
        assert time.monotonic() < late
        time.sleep(0.001)
    gc.collect()

    async def main() -> None:
        async with Lattice(store, dim=DIM) as lattice:
            await lattice.put(axis(0))

    del store.before["load"]
    asyncio.run(main())


LOCKED = """
    import asyncio, gc, sys, threading, warnings
    from pmll_async import Lattice
    from pmll_async.loop.workers import CALLS, COMMITS, READS

    warnings.simplefilter("ignore", ResourceWarning)

    async def main():
        lattice = await Lattice.open(sys.argv[1], dim=1)
        await lattice.put([1.0])
        await lattice.get(lattice.head)
        lattice.itself = lattice
        held = [pool._lock for pool in (READS, COMMITS, CALLS)]
        held += [lattice._open.trace._gate, lattice._open.holding._lock]
        held += [threading._active_limbo_lock]
        for lock in held:
            lock.acquire()
        del lattice
        gc.collect()
        for lock in held:
            lock.release()
        async with Lattice.open(sys.argv[1]) as again:
            assert len(again) == 1

    asyncio.run(main())
"""


def test_the_collector_may_come_within_any_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(LOCKED), str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- what it says of itself ----------------------------------------------------------------------


async def test_it_says_where_it_is_and_what_it_holds(tmp_path: Path) -> None:
    lattice = Lattice.open(tmp_path / "x", dim=DIM)
    assert repr(lattice) == f"<Lattice {tmp_path / 'x'}, not open>"
    async with lattice:
        anchor = await lattice.put(axis(0))
        assert repr(lattice) == f"<Lattice {tmp_path / 'x'}: 1 lines, head {anchor}>"
    assert repr(lattice) == f"<Lattice {tmp_path / 'x'}: 1 lines, head {anchor}, closed>"
    unused = Lattice.open(tmp_path / "y", dim=DIM)
    await unused.aclose()
    assert repr(unused) == f"<Lattice {tmp_path / 'y'}, closed>"
    async with TextMemory.open(tmp_path / "z") as memory:
        assert repr(memory) == f"<TextMemory {tmp_path / 'z'}: 0 lines, head {'0' * 16}>"


@pytest.mark.parametrize("wrong", ["folder", Path("folder"), None, MemoryStore()])
def test_a_text_memory_of_a_folder_says_how_it_is_opened(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"TextMemory\.open"):
        TextMemory(wrong)
