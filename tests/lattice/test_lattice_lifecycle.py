"""Opened here, closed there, closed twice, used too late or elsewhere: the documented result."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from lattice_support import DIM, PATIENCE, GuardedIndex, SpyStore, axis, proposing, steps, topics

from pmll_async import (
    Candidate,
    Lattice,
    LatticeClosedError,
    PmllError,
    StoreError,
    WrongEventLoopError,
)
from pmll_async.protocols import Clock
from pmll_async.stores.memory import MemoryStore

ROOT = Path(__file__).resolve().parents[2]

# Everything a user can call; those that wait for nothing are wrapped.
CALLS: dict[str, Callable[[Lattice], Any]] = {
    "put": lambda lattice: lattice.put(axis(0)),
    "note": lambda lattice: lattice.note({}),
    "put_many": lambda lattice: lattice.put_many([]),
    "query": lambda lattice: lattice.query(axis(0)),
    "bias_vector": lambda lattice: lattice.bias_vector(axis(0)),
    "get": lambda lattice: lattice.get("0" * 16),
    "find": lambda lattice: lattice.find("k"),
    "branches": lambda lattice: lattice.branches("0" * 16),
    "race": lambda lattice: lattice.race([proposing(Candidate(key=axis(0)))]),
    "decay": lambda lattice: lattice.decay("0" * 16, 0.5),
    "forget": lambda lattice: lattice.forget("0" * 16),
    "rollback": lambda lattice: lattice.rollback(0),
    "rewind": lambda lattice: anext(lattice.rewind()),
    "head": lambda lattice: lattice.head,
    "digest": lambda lattice: lattice.digest,
    "revision": lambda lattice: lattice.revision,
    "len": len,
    "in": lambda lattice: "0" * 16 in lattice,
    "at": lambda lattice: lattice.at(0),
    "lock": lambda lattice: lattice.lock("x"),
    "events": lambda lattice: lattice.events(),
    "recovery": lambda lattice: lattice.recovery,
    "pin": lambda lattice: lattice.pin("embedder", "e1"),
    "pins": lambda lattice: lattice.pins,
    "dim": lambda lattice: lattice.dim,
    "value_dim": lambda lattice: lattice.value_dim,
}


async def call(name: str, lattice: Lattice) -> Any:
    result = CALLS[name](lattice)
    return await result if isinstance(result, Awaitable) else result


@pytest.mark.parametrize("name", CALLS)
async def test_before_opening_and_after_closing_everything_is_refused(
    lattice: Lattice, name: str
) -> None:
    with pytest.raises(LatticeClosedError, match="not open yet"):
        await call(name, lattice)
    await lattice
    await lattice.aclose()
    with pytest.raises(LatticeClosedError) as caught:
        await call(name, lattice)
    assert isinstance(caught.value, RuntimeError)


async def test_nothing_happens_before_opening(lattice: Lattice, store: SpyStore) -> None:
    assert store.calls == []
    assert bool(lattice)
    await lattice
    assert store.calls == ["open", "load"]
    await lattice
    assert await lattice is lattice
    assert store.calls == ["open", "load"]
    await lattice.aclose()


async def test_a_closed_lattice_opens_no_more(lattice: Lattice) -> None:
    await lattice
    await lattice.aclose()
    with pytest.raises(LatticeClosedError):
        await lattice
    with pytest.raises(LatticeClosedError):
        await lattice.__aenter__()


async def test_closing_what_was_never_opened_is_nothing(lattice: Lattice, store: SpyStore) -> None:
    await lattice.aclose()
    assert store.calls == []


async def test_two_waiters_open_it_once(lattice: Lattice, store: SpyStore) -> None:
    both = await asyncio.gather(lattice.__aenter__(), lattice.__aenter__())
    assert both == [lattice, lattice]
    assert store.calls == ["open", "load"]
    await lattice.aclose()


async def test_opened_in_one_task_and_closed_in_another(lattice: Lattice, store: SpyStore) -> None:
    await asyncio.create_task(lattice.__aenter__())
    await asyncio.create_task(lattice.put(axis(0)))
    await asyncio.create_task(lattice.aclose())
    assert store.calls[-1] == "close"


@pytest.mark.parametrize("first", [0, 1])
async def test_two_lattices_close_in_either_order(clock: Clock, first: int) -> None:
    two = [await Lattice(MemoryStore(), dim=DIM, clock=clock) for _ in range(2)]
    for lattice in two:
        await lattice.put(axis(0))
    await two[first].aclose()
    await two[1 - first].put(axis(1))
    await two[1 - first].aclose()


async def test_closed_twice_and_together_closes_the_store_once(
    lattice: Lattice, store: SpyStore
) -> None:
    async with lattice:
        await lattice.put(axis(0))
        await asyncio.gather(*(lattice.aclose() for _ in range(5)))
        await lattice.aclose()
    assert store.calls.count("close") == 1


async def test_an_error_in_the_body_goes_through_and_closes(
    lattice: Lattice, store: SpyStore
) -> None:
    async def body() -> None:
        async with lattice:
            await lattice.put(axis(0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    assert store.calls[-1] == "close"


async def test_a_cancelled_body_closes_too(lattice: Lattice, store: SpyStore) -> None:
    inside = asyncio.Event()

    async def body() -> None:
        async with lattice:
            await lattice.put(axis(0))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.calls[-1] == "close"


async def test_leaving_iterators_early_is_safe(lattice: Lattice) -> None:
    async with lattice:
        for number in range(100):
            await lattice.note({"topic": number})
        async for line in lattice.rewind():
            assert line.context["topic"] == 99
            break
        async with lattice.events() as events:
            await lattice.note({})
            async for _ in events:
                break
        async with asyncio.timeout(10):
            await lattice.put(axis(0))
    assert asyncio.current_task().cancelling() == 0


async def test_an_iterator_outlives_no_lattice(lattice: Lattice) -> None:
    async with lattice:
        for number in range(100):
            await lattice.note({"topic": number})
        lines, view = lattice.rewind(), lattice.at(1)
        await anext(lines)
    with pytest.raises(LatticeClosedError):
        await anext(lines)
    for late in (
        lambda: view.query(axis(0)),
        lambda: view.get("0" * 16),
        lambda: anext(view.rewind()),
    ):
        with pytest.raises(LatticeClosedError):
            await late()


async def test_a_failing_opening_leaves_it_closed_and_can_be_tried_again(
    lattice: Lattice, store: SpyStore
) -> None:
    def fail() -> None:
        raise StoreError("not today")

    store.before["load"] = fail
    with pytest.raises(StoreError, match="not today"):
        await lattice
    assert store.calls[-1] == "close"
    del store.before["load"]
    async with lattice:
        await lattice.put(axis(0))


async def test_a_store_that_fails_to_close_is_told_of_and_ends_its_listeners(
    lattice: Lattice, store: SpyStore
) -> None:
    def fail() -> None:
        raise StoreError("will not")

    await lattice
    async with lattice.events() as events:
        listening = asyncio.create_task(_all(events))
        await steps(2)
        store.after["close"] = fail
        with pytest.raises(StoreError, match="will not"):
            await lattice.aclose()
        await steps(3)
        assert listening.done(), "a listener waits for ever"
        listening.cancel()
    await asyncio.wait([listening])


async def _all(events: Any) -> list[Any]:
    return [event async for event in events]


async def test_a_thread_that_cannot_start_fails_its_put_and_no_later_one(
    lattice: Lattice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    await lattice
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="start new thread"):
            await lattice.put(axis(0), None, {"topic": "a"})
    async with asyncio.timeout(PATIENCE):
        await lattice.put(axis(1), None, {"topic": "b"})
        assert await topics(lattice) in (["b"], ["a", "b"])
        await lattice.aclose()


def descriptors() -> list[str]:
    folder = Path("/proc/self/fd")
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


async def test_opening_and_closing_often_leaves_nothing(store: SpyStore, clock: Clock) -> None:
    async with Lattice(store, dim=DIM, clock=clock) as lattice:
        await lattice.put(axis(0))
        await lattice.get(lattice.head)
    files, threads = descriptors(), threading.active_count()
    for number in range(5):
        async with Lattice(store, clock=clock, index=GuardedIndex()) as lattice:
            await lattice.put(axis(number))
            await lattice.query(axis(0), where={"topic": 1})
    assert descriptors() == files
    assert threading.active_count() <= threads + 5, "more than the loop's own workers"


def test_another_event_loop_is_refused(store: SpyStore, clock: Clock) -> None:
    lattice = Lattice(store, dim=DIM, clock=clock)
    with asyncio.Runner() as home, asyncio.Runner() as abroad:
        home.run(lattice.__aenter__())
        for name in CALLS:
            with pytest.raises(WrongEventLoopError) as caught:
                abroad.run(call(name, lattice))
            assert isinstance(caught.value, RuntimeError)
        for entry in (lattice.__aenter__, lattice.aclose):
            with pytest.raises(WrongEventLoopError):
                abroad.run(entry())
        home.run(lattice.put(axis(0)))
        home.run(lattice.aclose())


@pytest.mark.parametrize("name", ["head", "digest", "revision", "len", "in", "at"])
async def test_without_a_loop_a_property_answers_or_refuses_as_documented(
    lattice: Lattice, name: str
) -> None:
    async with lattice:
        await lattice.put(axis(0))
        with suppress(PmllError):
            await asyncio.to_thread(CALLS[name], lattice)


FORKED = """
    import asyncio, os, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from pmll_async import Lattice, LatticeClosedError
    from pmll_async.stores.memory import MemoryStore

    async def refused(lattice):
        for call in (lambda: lattice.put([1.0]), lambda: lattice.query([1.0]), lattice.aclose):
            try:
                await call()
            except LatticeClosedError as exc:
                assert "parent" in str(exc), exc
            else:
                return 1
        try:
            lattice.head
        except LatticeClosedError:
            return 0
        return 2

    async def main():
        lattice = await make()
        await lattice.put([1.0])
        child = os.fork()
        if not child:
            os._exit(await refused(lattice))
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        await lattice.put([1.0])
        assert len(lattice) == 2
        await lattice.aclose()

    asyncio.run(main())
"""


@pytest.mark.parametrize(
    "make",
    [
        "make = lambda: Lattice(MemoryStore(), dim=1)",
        "make = lambda: Lattice.open(sys.argv[1], dim=1)",
    ],
    ids=["memory", "jsonl"],
)
def test_a_forked_child_is_refused_and_the_parent_goes_on(make: str, tmp_path: Path) -> None:
    script = textwrap.dedent(FORKED).replace("asyncio.run(main())", f"{make}\nasyncio.run(main())")
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "memory")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
