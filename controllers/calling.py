"""Calling what users plugged in: plain callables, sync or async."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

from anyio import CancelScope, CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from pmll_async import CandidateFailure

T = TypeVar("T")

Limiter = RunVar[CapacityLimiter]

_STEPS: Final[Limiter] = RunVar("controllers.steps")
_MOST_STEPS: Final = 40  # as many threads as anyio's own limit
_OWN: Final[Limiter] = RunVar("controllers.own")
_MOST_OWN: Final = 4  # it computes: more threads would fight over the interpreter
_LONGEST_MESSAGE: Final = 500  # characters: a failure is journaled, and shown to models


def threads(limiter: Limiter, most: int) -> CapacityLimiter:
    """Threads of this loop for one purpose alone: who waits for others must not keep them out.

    Those that an application has in common may all wait for what is to be done here.
    """
    try:
        return limiter.get()
    except LookupError:
        made = CapacityLimiter(most)
        limiter.set(made)
        return made


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """What a function of ours returns that takes its time, and waits for nobody."""
    return await to_thread.run_sync(function, *arguments, limiter=threads(_OWN, _MOST_OWN))


async def call(
    function: Callable[..., T | Awaitable[T]],
    *arguments: Any,
    limiter: CapacityLimiter | None = None,
) -> T:
    """Await an async function here; run a sync one in a worker thread, which is waited for.

    A cancelled call of a sync function ends when the function does: no thread outlives it.
    """
    if is_async(function):
        return await cast(Awaitable[T], function(*arguments))
    # A task that is cancelled from without leaves its thread behind, unless another waits for it.
    # The turn is awaited here: who is cancelled before it comes has nothing to wait for.
    async with limiter or threads(_STEPS, _MOST_STEPS):
        work = to_thread.run_sync(function, *arguments, limiter=CapacityLimiter(1))
        returned = await finish_first(work)
    # A lambda around a coroutine function, say, is sync and returns an awaitable.
    return await returned if inspect.isawaitable(returned) else returned


async def finish_first(work: Awaitable[T]) -> T:
    """Wait until the work is done, whoever cancels the caller; then the caller is cancelled."""
    task = asyncio.ensure_future(work)
    cut: asyncio.CancelledError | None = None
    # The scope keeps out what would be told again and again, the loop what is told once.
    with CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as exc:
                cut = exc
    if cut is not None:
        raise cut from task.exception()
    return task.result()


def name_of(function: Callable[..., object]) -> str:
    """What to call it in outcomes and errors: a partial goes by its function."""
    # A callable object may say anything of itself, or nothing.
    name = getattr(function, "__name__", None)
    if isinstance(name, str):
        return name
    inner = getattr(function, "func", None)
    return name_of(inner) if callable(inner) else type(function).__name__


def message_of(error: BaseException) -> str:
    """What an exception says."""
    try:
        return str(error)
    # One of the user's may not even be able to say what it is.
    except Exception as exc:  # noqa: BLE001
        return f"its message raised {type(exc).__name__}"


def failure_of(name: str, error: Exception) -> CandidateFailure:
    """What a step raised, as a value that can be journaled."""
    # Half a surrogate pair, as in an undecodable file name, has no place in a journal.
    message = message_of(error)[:_LONGEST_MESSAGE].encode("utf-8", "replace").decode()
    return CandidateFailure(name=name, error=type(error).__name__, message=message)


def is_async(function: Callable[..., object]) -> bool:
    """Whether calling it gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # its nature is asked, not whether it is
    )
