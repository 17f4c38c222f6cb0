"""The ways in which a call gets cancelled, each at a moment that the test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

Call = Callable[[], Awaitable[Any]]
Way = Callable[[Call, asyncio.Event], Awaitable[Any]]

CUT = "cut"
"""What a way returns when its call did not come to its end."""


class SiblingError(Exception):
    """What the failing sibling raises."""


async def by_task(call: Call, now: asyncio.Event) -> Any:
    """`task.cancel()`."""
    task = asyncio.ensure_future(call())
    await now.wait()
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return CUT


async def by_wait_for(call: Call, now: asyncio.Event) -> Any:
    """The task that waits in `asyncio.wait_for` is cancelled."""

    async def limited() -> Any:
        return await asyncio.wait_for(call(), 60)

    return await by_task(limited, now)


async def by_scope(call: Call, now: asyncio.Event) -> Any:
    """An `anyio.CancelScope` around the call."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_scope, scope, now)
            return await call()
    return CUT


async def _cancel_scope(scope: anyio.CancelScope, now: asyncio.Event) -> None:
    await now.wait()
    scope.cancel()


async def by_asyncio_sibling(call: Call, now: asyncio.Event) -> Any:
    """A sibling in an `asyncio.TaskGroup` fails."""
    result = CUT

    async def keep() -> None:
        nonlocal result
        result = await call()

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep())
            tasks.create_task(_fail(now))
    except* SiblingError:
        pass
    return result


async def by_anyio_sibling(call: Call, now: asyncio.Event) -> Any:
    """A sibling in an anyio task group fails."""
    result = CUT

    async def keep() -> None:
        nonlocal result
        result = await call()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep)
            tasks.start_soon(_fail, now)
    except* SiblingError:
        pass
    return result


async def _fail(now: asyncio.Event) -> None:
    await now.wait()
    raise SiblingError


WAYS: dict[str, Way] = {
    "task.cancel": by_task,
    "wait_for": by_wait_for,
    "CancelScope": by_scope,
    "TaskGroup sibling": by_asyncio_sibling,
    "anyio sibling": by_anyio_sibling,
}
