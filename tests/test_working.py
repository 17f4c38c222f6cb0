"""Working memory: items, time to live, bounds, scopes, and `once` under fire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from pmll_async import InvalidInputError, Lattice, ReentrantError, WorkingMemory
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import ManualClock


class Factory:
    """Makes numbered items, each when `go` is set; tells how often it began and ended."""

    def __init__(self, *errors: Exception) -> None:
        self.go, self.begun = asyncio.Event(), asyncio.Event()
        self.errors = list(errors)
        self.started = self.ended = 0

    async def __call__(self) -> int:
        self.started += 1
        self.begun.set()
        await self.go.wait()
        self.ended += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.ended


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# --- items ---------------------------------------------------------------------------------------


def test_the_newest_comes_first_without_a_key() -> None:
    working = WorkingMemory()
    for item in ("a", "b", "c"):
        working.push(item)
    assert working.peek() == "c"
    assert [working.pop() for _ in range(3)] == ["c", "b", "a"]
    assert working.peek() is None
    with pytest.raises(LookupError, match="empty"):
        working.pop()


def test_a_key_has_one_item_the_last() -> None:
    working = WorkingMemory()
    working.push(1, key="k")
    working.push("between")
    working.push(2, key="k")
    assert len(working) == 2
    assert (working.peek("k"), working.peek()) == (2, 2)
    assert working.pop("k") == 2
    assert (working.peek("k"), working.peek()) == (None, "between")
    with pytest.raises(LookupError, match="'k'"):
        working.pop("k")


def test_an_item_may_be_none_and_a_memory_is_true() -> None:
    working = WorkingMemory()
    assert working
    working.push(None, key="k")
    assert working.pop("k") is None


def test_items_expire_by_the_clock() -> None:
    clock = ManualClock(100.0)
    working = WorkingMemory(clock=clock)
    working.push("short", key="k", ttl=1.0)
    working.push("newer", ttl=2.0)
    working.push("long")
    clock.advance(1.0)
    assert working.peek("k") is None
    clock.advance(1.0)
    assert (working.pop(), working.peek()) == ("long", None)
    assert working.stats.expired == 2


@pytest.mark.parametrize("ttl", [0, -1.0, float("nan"), float("inf"), "1"])
async def test_a_time_to_live_that_is_none_is_refused(ttl: Any) -> None:
    working = WorkingMemory()
    with pytest.raises(InvalidInputError, match="ttl"):
        working.push(1, ttl=ttl)
    factory = Factory()
    with pytest.raises(InvalidInputError, match="ttl"):
        await working.once("k", factory, ttl=ttl)
    assert (len(working), factory.started) == (0, 0)


def test_the_oldest_is_forgotten_beyond_the_size() -> None:
    working = WorkingMemory(size=3)
    for number in range(5):
        working.push(number, key=number)
    assert [working.peek(number) for number in range(5)] == [None, None, 2, 3, 4]
    assert working.stats.evicted == 2


@pytest.mark.parametrize("bounds", [{"size": 0}, {"scopes": 0}, {"size": 1.5}])
def test_bounds_are_whole_numbers_from_one_on(bounds: Any) -> None:
    with pytest.raises(InvalidInputError):
        WorkingMemory(**bounds)


Step = tuple[str, int | None, float | None]
steps = st.lists(
    st.tuples(
        st.sampled_from(["push", "peek", "pop", "wait"]),
        st.none() | st.integers(0, 3),
        st.none() | st.sampled_from([1.0, 2.0]),
    ),
    max_size=40,
)


@settings(max_examples=examples(100), deadline=None)
@given(steps)
def test_it_does_as_a_plain_list_would(story: list[Step]) -> None:
    clock = ManualClock(0.0)
    working, model, now = WorkingMemory(size=3, clock=clock), Model(3), 0.0
    for number, (what, key, ttl) in enumerate(story):
        if what == "push":
            working.push(number, key=key, ttl=ttl)
            model.push(number, key, None if ttl is None else now + ttl)
        elif what == "wait":
            clock.advance(1.0)
            now += 1.0
        else:
            assert working.peek(key) == model.peek(key, now)
            if what == "pop" and model.peek(key, now) is not None:
                assert working.pop(key) == model.pop(key, now)


class Model:
    """(key, item, until), oldest first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.items: list[tuple[object, int, float | None]] = []

    def push(self, item: int, key: int | None, until: float | None) -> None:
        name: object = object() if key is None else key
        self.items = [each for each in self.items if each[0] != name]
        self.items.append((name, item, until))
        del self.items[: -self.size]

    def find(self, key: int | None, now: float) -> tuple[object, int, float | None] | None:
        for each in reversed(self.items):
            alive = each[2] is None or each[2] > now
            if alive and key in (None, each[0]):
                return each
        return None

    def peek(self, key: int | None, now: float) -> int | None:
        self.forget(key, now)
        found = self.find(key, now)
        return None if found is None else found[1]

    def pop(self, key: int | None, now: float) -> int:
        found = self.find(key, now)
        assert found is not None
        self.items.remove(found)
        return found[1]

    def forget(self, key: int | None, now: float) -> None:
        """What a look at it finds expired makes room at once."""
        while self.items and key is None and not self.alive(self.items[-1], now):
            self.items.pop()
        if key is not None:
            self.items = [e for e in self.items if e[0] != key or self.alive(e, now)]

    @staticmethod
    def alive(each: tuple[object, int, float | None], now: float) -> bool:
        return each[2] is None or each[2] > now


# --- scopes --------------------------------------------------------------------------------------


def test_a_scope_is_a_memory_of_its_own() -> None:
    working = WorkingMemory(size=2)
    working.push("outside", key="k")
    run = working.scope("run 1")
    assert run is working.scope("run 1")
    assert run.peek("k") is None
    run.push("inside", key="k")
    assert (working.peek("k"), working.scope("run 2").peek("k")) == ("outside", None)
    working.clear()
    assert (working.peek("k"), working.scope("run 1").peek("k")) == (None, None)


def test_a_scope_can_be_dropped() -> None:
    memory = WorkingMemory()
    memory.scope("a").push(1)
    memory.scope("b").push(2)
    memory.drop("a")
    memory.drop("nobody")
    assert memory.scope("a").peek() is None
    assert memory.scope("b").peek() == 2


async def test_the_scope_not_asked_for_longest_goes_unless_it_makes_something() -> None:
    working = WorkingMemory(scopes=2)
    busy, factory = working.scope("busy"), Factory()
    making = asyncio.create_task(busy.once("k", factory))
    await factory.begun.wait()
    working.scope("idle").push(1, key="k")
    working.scope("new").push(2, key="k")
    assert working.scope("busy") is busy
    assert working.scope("new").peek("k") == 2
    factory.go.set()
    assert await making == 1
    assert working.scope("idle").peek("k") is None


# --- once ----------------------------------------------------------------------------------------


async def test_thousands_of_tasks_share_one_making() -> None:
    working, factory = WorkingMemory(), Factory()
    tasks = [asyncio.create_task(working.once("k", factory)) for _ in range(3000)]
    await factory.begun.wait()
    await turns()
    assert working.peek("k") is None
    factory.go.set()
    assert set(await asyncio.gather(*tasks)) == {1}
    assert await working.once("k", factory) == 1
    assert working.peek("k") == 1
    stats = working.stats
    assert (factory.started, stats.made, stats.joined, stats.hits) == (1, 1, 2999, 1)


async def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    working, factory = WorkingMemory(), Factory(ValueError("no", 7))
    tasks = [asyncio.create_task(working.once("k", factory)) for _ in range(5)]
    await factory.begun.wait()
    await turns()
    factory.go.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [repr(error) for error in errors] == ["ValueError('no', 7)"] * 5
    assert len({id(error) for error in errors}) == 5
    assert working.stats.pending == 0
    assert await working.once("k", factory) == 2


Cancel = Callable[[asyncio.Task[int]], Awaitable[None]]


@pytest.mark.parametrize("gone", [(0,), (0, 1), (0, 2), (1,), (4,), (0, 1, 2, 3, 4)])
async def test_who_is_cancelled_hands_the_work_on(gone: tuple[int, ...]) -> None:
    working, factory = WorkingMemory(), Factory()
    tasks = [asyncio.create_task(working.once("k", factory)) for _ in range(5)]
    await factory.begun.wait()
    await turns()
    for number in gone:
        tasks[number].cancel()
    await turns(10)
    factory.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for number, result in enumerate(results):
        assert isinstance(result, asyncio.CancelledError) if number in gone else result == 1
    assert factory.ended == (0 if len(gone) == 5 else 1)
    assert working.stats.pending == 0
    assert await working.once("k", factory) == 1


async def test_cancelling_who_was_just_handed_the_work_hands_it_on_again() -> None:
    working, factory = WorkingMemory(), Factory()
    tasks = [asyncio.create_task(working.once("k", factory)) for _ in range(3)]
    await factory.begun.wait()
    await turns()
    tasks[0].cancel()
    await asyncio.sleep(0)  # the first one ends, and hands on
    tasks[1].cancel()  # which the second has not seen yet
    await turns(5)
    factory.go.set()
    assert await tasks[2] == 1
    assert tasks[0].cancelled()
    assert tasks[1].cancelled()


async def test_time_limits_hand_the_work_on() -> None:
    working, factory = WorkingMemory(), Factory()

    async def impatient() -> None:
        with anyio.move_on_after(0):
            await working.once("k", factory)

    async with asyncio.TaskGroup() as group:
        group.create_task(impatient())
        patient = group.create_task(working.once("k", factory))
        await turns(10)
        factory.go.set()
    assert patient.result() == 1


async def test_what_is_in_the_making_is_never_forgotten() -> None:
    working, factory = WorkingMemory(size=1), Factory()
    making = asyncio.create_task(working.once("k", factory))
    await factory.begun.wait()
    for number in range(10):
        working.push(number)
    working.clear()
    joined = asyncio.create_task(working.once("k", factory))
    await turns()
    factory.go.set()
    assert (await making, await joined, factory.started) == (1, 1, 1)


async def test_what_was_made_expires_from_when_it_was_made() -> None:
    clock = ManualClock(0.0)
    working, factory = WorkingMemory(clock=clock), Factory()
    making = asyncio.create_task(working.once("k", factory, ttl=1.0))
    await factory.begun.wait()
    clock.advance(10.0)
    factory.go.set()
    assert (await making, await working.once("k", factory)) == (1, 1)
    clock.advance(1.0)
    assert await working.once("k", factory) == 2


async def test_a_factory_that_asks_for_its_own_key_is_told_so() -> None:
    working = WorkingMemory()

    async def own() -> int:
        return await working.once("k", own)

    async def by_another() -> int:
        return await working.once("l", own_by_another)

    async def own_by_another() -> int:
        return await working.once("k", by_another)

    async def in_a_task() -> int:
        async with asyncio.TaskGroup() as group:
            return await group.create_task(working.once("k", in_a_task))

    for factory in (own, by_another):
        with pytest.raises(ReentrantError, match="'k'") as caught:
            await asyncio.wait_for(working.once("k", factory), 5)
        assert caught.value.key == "k"
    with pytest.raises(ExceptionGroup) as group:
        await asyncio.wait_for(working.once("k", in_a_task), 5)
    assert group.group_contains(ReentrantError)
    assert working.stats.pending == 0


async def test_two_factories_that_wait_for_each_other_are_told_so() -> None:
    working = WorkingMemory()

    async def first() -> int:
        await turns()
        return await working.once("second", second)

    async def second() -> int:
        await turns()
        return await working.once("first", first)

    both = asyncio.gather(
        working.once("first", first), working.once("second", second), return_exceptions=True
    )
    results = await asyncio.wait_for(both, 5)
    assert all(isinstance(result, ReentrantError) for result in results)
    assert working.stats.pending == 0


async def test_factories_may_need_each_other_without_a_circle() -> None:
    working = WorkingMemory()

    async def base() -> int:
        await turns()
        return 1

    async def double() -> int:
        one, other = await asyncio.gather(working.once("base", base), working.once("base", base))
        return one + other

    results = await asyncio.gather(*(working.once(key, double) for key in "abcab"))
    assert results == [2] * 5
    assert working.stats.made == 4


async def test_a_lattice_has_one() -> None:
    async with Lattice(MemoryStore(), dim=2) as lattice:
        lattice.working.push("at hand", key="k")
        assert lattice.working.peek("k") == "at hand"
        assert len(lattice) == 0
