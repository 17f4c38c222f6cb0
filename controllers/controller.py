"""The RTM controller: PLAN, ACT and REFLECT over a lattice, until REFLECT is content."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Generic, overload

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from pmll_async import Lattice

from .events import Event, RunResult
from .policies import Rule
from .policies import max_cycles as cycle_rule
from .run import Emit, Run, Setup
from .steps import ActStep, Data, Deps, Judge, PlanStep, ReflectStep

# Events that wait for a reader before the run does: enough for it to print while the run goes on.
_BUFFERED_EVENTS: Final = 64


class RTMController(Generic[Deps, Data]):
    """Drives user-written steps over a lattice, and journals every phase on its chain.

    ::

        plan(ctx) -> Plan                    what to try
        act(ctx, plan) -> Candidate          one or more, raced: the winner goes on the chain
        reflect(ctx, outcome) -> Continue | Done | Retry

    Steps are async functions, or sync ones, which run in a worker thread. Acts see one snapshot,
    run at the same time and may be cancelled or lose, so they have no side effects; an act that
    raises is a failure in the outcome. What REFLECT returns is `ctx.previous` of the next PLAN.

    `judge(ctx, plan, candidate)` scores; without one, candidates are scored against `Plan.key`, or
    by their confidence. `rules` end a run early, after `max_cycles`. `decay` and `timeout`
    (seconds) are the race's. `clock` gives the seconds that `Budget.elapsed` counts. One controller
    serves any number of runs at once.
    """

    def __init__(
        self,
        lattice: Lattice,
        *,
        plan: PlanStep[Deps, Data],
        act: Sequence[ActStep[Deps, Data]],
        reflect: ReflectStep[Deps],
        judge: Judge[Deps, Data] | None = None,
        max_cycles: int = 8,
        rules: Sequence[Rule] = (),
        decay: float = 0.5,
        timeout: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not act:
            raise ValueError("act needs at least one step")
        self._setup = Setup(
            lattice=lattice,
            plan=plan,
            acts=tuple(act),
            reflect=reflect,
            judge=judge,
            max_cycles=max_cycles,
            rules=(cycle_rule(max_cycles), *rules),
            decay=decay,
            timeout=timeout,
            clock=clock,
        )

    @overload
    async def run(
        self: RTMController[None, Data], goal: str, deps: None = None, *, run_id: str | None = None
    ) -> RunResult: ...

    @overload
    async def run(self, goal: str, deps: Deps, *, run_id: str | None = None) -> RunResult: ...

    async def run(self, goal: str, deps: Any = None, *, run_id: str | None = None) -> RunResult:
        """Run until REFLECT is done or a rule objects: status ``done`` or ``exhausted``.

        What PLAN, REFLECT or a rule raises is raised here, after the chain says that the run
        failed; so is a store's error. Cancelled: the chain says so. A `run_id` that the chain
        knows: `RunExistsError`.
        """
        run = self._run(goal, deps, run_id, _ignore)
        result = await run.drive(await run.start())
        if result.error is not None:
            raise result.error
        return result

    @overload
    def stream(
        self: RTMController[None, Data], goal: str, deps: None = None, *, run_id: str | None = None
    ) -> AbstractAsyncContextManager[RunStream]: ...

    @overload
    def stream(
        self, goal: str, deps: Deps, *, run_id: str | None = None
    ) -> AbstractAsyncContextManager[RunStream]: ...

    def stream(
        self, goal: str, deps: Any = None, *, run_id: str | None = None
    ) -> AbstractAsyncContextManager[RunStream]:
        """The same run, told event by event: ``async with controller.stream(goal) as run``.

        The run goes on while the block does; leaving it early cancels the run, and the chain says
        so. A reader that is slow slows the run down and misses nothing. A step's error ends the
        events, and the loop over them raises it.
        """
        return self._streamed(goal, deps, run_id)

    @asynccontextmanager
    async def _streamed(
        self, goal: str, deps: Deps, run_id: str | None
    ) -> AsyncIterator[RunStream]:
        send, receive = anyio.create_memory_object_stream[Event](_BUFFERED_EVENTS)
        run = self._run(goal, deps, run_id, send.send)
        with send, receive:
            anchor = await run.start()
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_driven, run, anchor, send)
                    yield RunStream(run, receive)
                    tasks.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                # The run keeps its errors in the result, so this one is from the caller's block.
                raise group.exceptions[0] from group.exceptions[0].__cause__

    def _run(self, goal: str, deps: Deps, run_id: str | None, emit: Emit) -> Run[Deps, Data]:
        return Run(self._setup, uuid.uuid4().hex if run_id is None else run_id, goal, deps, emit)


class RunStream:
    """An async iterator over a run's events; the last one is `RunEnded`."""

    def __init__(self, run: Run[Any, Any], events: MemoryObjectReceiveStream[Event]) -> None:
        self._run, self._events = run, events
        self._raised = False

    @property
    def run_id(self) -> str:
        """The run's name on the chain."""
        return self._run.run_id

    @property
    def result(self) -> RunResult | None:
        """How the run ended; None while it goes on. After the block it is there."""
        return self._run.result

    def __aiter__(self) -> RunStream:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self._events.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            error = None if self.result is None else self.result.error
        if error is None or self._raised:
            raise StopAsyncIteration
        self._raised = True
        raise error


async def _driven(run: Run[Any, Any], anchor: str, send: MemoryObjectSendStream[Event]) -> None:
    # Closing the stream is what ends the reader's loop.
    with send:
        await run.drive(anchor)


async def _ignore(_: Event) -> None:
    return
