"""The RTM controller: PLAN, ACT and REFLECT over a memory, until REFLECT is content."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, Final, Generic, overload

import anyio
from pydantic import JsonValue

from pmll_async import InvalidInputError, Lattice

from .calling import is_async, name_of
from .events import Event, RunInfo, RunResult
from .journal import history
from .journal.forms import forms_of
from .journal.resume_point import RunPausedError, resume_point_of
from .policies import Allowance, Rule, retry_limit
from .policies import max_cycles as cycle_rule
from .policies import max_depth as depth_rule
from .run.claim import claimed
from .run.run import Run
from .run.setup import Observer, Setup
from .run.state import Emit, RunState
from .run.streams import RunStream
from .run.turns import turnstile
from .steps import ActStep, Continue, Data, Deps, Done, Judge, Plan, PlanStep, ReflectStep, Retry

if TYPE_CHECKING:
    from pmll_async.text import TextMemory

_Begin = Callable[[Run[Any, Any]], Awaitable[Event | RunResult]]
"""Puts a run's beginning on the chain: its first event, or the result of one that is done."""

_LONGEST_RUN_ID: Final = 128  # it is part of idempotency keys, whose length is bounded
_MOST_LEVELS: Final = 16
"""So that the idempotency keys of the deepest goal, which tell its way there, are within theirs."""


class RTMController(Generic[Deps, Data]):
    """Drives user-written steps over a memory, and journals every phase on its chain.

    ::

        plan(ctx) -> Plan                    what to try, and sub-goals to reach first
        act(ctx, plan) -> Candidate          one or more, raced: the winner goes on the chain
        reflect(ctx, outcome) -> Continue | Done | Retry

    Steps are async functions, or sync ones, which run in a worker thread. Any of them may return
    `Pause`. Acts see one snapshot, run at the same time and may be cancelled or lose, so they have
    no side effects. What PLAN or an act raises is a `Failed` outcome for REFLECT; what REFLECT
    raises ends the run. What REFLECT returns is `ctx.previous` of the next PLAN.

    `judge(ctx, plan, candidate)` scores; without one, candidates are scored against `Plan.key`, or
    by their confidence. `max_cycles` and `max_retries` bound a goal's loop, `max_depth` how deep
    sub-goals go; `rules` end a goal early. `decay` and `timeout` (seconds) are the race's.
    `observers` are called with every event. `clock` gives the seconds that `Budget.elapsed`
    counts. One controller serves any number of runs at once.
    """

    def __init__(
        self,
        memory: Lattice | TextMemory,
        *,
        plan: PlanStep[Deps, Data],
        act: Sequence[ActStep[Deps, Data]],
        reflect: ReflectStep[Deps],
        judge: Judge[Deps, Data] | None = None,
        max_cycles: int = 8,
        max_retries: int = 8,
        max_depth: int = 4,
        rules: Sequence[Rule] = (),
        decay: float = 0.5,
        timeout: float | None = None,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _check_memory(memory)
        _check_steps(plan=[plan], act=act, reflect=[reflect])
        _check_functions(rules=rules, observers=observers)
        if max_depth > _MOST_LEVELS:
            raise ValueError(f"max_depth is at most {_MOST_LEVELS}, not {max_depth}")
        bounds = (cycle_rule(max_cycles), retry_limit(max_retries), depth_rule(max_depth))
        self._setup = Setup(
            memory=memory,
            plan=plan,
            acts=tuple(act),
            reflect=reflect,
            judge=judge,
            plan_forms=forms_of(plan, Plan),
            verdict_forms=forms_of(reflect, Continue, Done, Retry),
            max_cycles=max_cycles,
            rules=(*bounds, *rules),
            decay=decay,
            timeout=timeout,
            observers=tuple(observers),
            clock=clock,
        )

    @property
    def memory(self) -> Lattice | TextMemory:
        """What it was given; it is the caller's to open and close."""
        return self._setup.memory

    @property
    def max_cycles(self) -> int:
        """The bound of a goal's cycles."""
        return self._setup.max_cycles

    @overload
    async def run(
        self: RTMController[None, Data], goal: str, deps: None = None, *, run_id: str | None = None
    ) -> RunResult: ...

    @overload
    async def run(self, goal: str, deps: Deps, *, run_id: str | None = None) -> RunResult: ...

    async def run(self, goal: str, deps: Any = None, *, run_id: str | None = None) -> RunResult:
        """Run until REFLECT is done, a rule objects, or a step pauses.

        What REFLECT or a rule raises is raised here, after the chain says that the run failed; so
        is a store's error. Cancelled: the chain says so, and `resume` goes on. A `run_id` that the
        chain knows: `RunExistsError`.
        """
        return await self._finished(deps, run_id, _start(goal))

    @overload
    async def resume(
        self: RTMController[None, Data],
        run_id: str,
        deps: None = None,
        *,
        answer: JsonValue = None,
        budget: Allowance | None = None,
    ) -> RunResult: ...

    @overload
    async def resume(
        self,
        run_id: str,
        deps: Deps,
        *,
        answer: JsonValue = None,
        budget: Allowance | None = None,
    ) -> RunResult: ...

    async def resume(
        self,
        run_id: str,
        deps: Any = None,
        *,
        answer: JsonValue = None,
        budget: Allowance | None = None,
    ) -> RunResult:
        """Go on with a run that stopped anywhere, from the chain alone.

        A phase whose outcome is on the chain is not run again. The one after it may have begun, and
        is called with `ctx.resumed` and the same `ctx.idempotency_key`. A run that is done returns
        its result. A paused one wants an `answer`, else `RunPausedError`. An exhausted one wants a
        `budget`, which is what it may have beyond its limits, or it ends at once again.
        `RunActiveError` if it is running, `RunNotFoundError` if there is none.
        """
        return await self._finished(deps, run_id, self._go_on(answer, budget))

    async def runs(self, *, limit: int | None = None) -> list[RunInfo]:
        """The runs on the chain, whichever controller's, those that changed last first."""
        return await history.runs(self._setup.lattice, limit=limit)

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
        so. A reader that is slow slows the run down and misses nothing; `run.listen()` gives more
        readers, which do not. An error ends the events, and the loop over them raises it.
        """
        return self._streamed(deps, run_id, _start(goal))

    @overload
    def stream_resumed(
        self: RTMController[None, Data],
        run_id: str,
        deps: None = None,
        *,
        answer: JsonValue = None,
        budget: Allowance | None = None,
    ) -> AbstractAsyncContextManager[RunStream]: ...

    @overload
    def stream_resumed(
        self,
        run_id: str,
        deps: Deps,
        *,
        answer: JsonValue = None,
        budget: Allowance | None = None,
    ) -> AbstractAsyncContextManager[RunStream]: ...

    def stream_resumed(
        self,
        run_id: str,
        deps: Any = None,
        *,
        answer: JsonValue = None,
        budget: Allowance | None = None,
    ) -> AbstractAsyncContextManager[RunStream]:
        """As `stream`, of a run that `resume` would go on with; a done one has no more events."""
        return self._streamed(deps, run_id, self._go_on(answer, budget))

    async def _finished(self, deps: Any, run_id: str | None, begin: _Begin) -> RunResult:
        async def emit(event: Event) -> None:
            self._setup.observe(event)

        async with self._claimed(deps, run_id, emit) as run:
            first = await begin(run)
            result = first if isinstance(first, RunResult) else await run.drive(first)
        if result.error is not None:
            raise result.error
        return result

    @asynccontextmanager
    async def _streamed(
        self, deps: Any, run_id: str | None, begin: _Begin
    ) -> AsyncIterator[RunStream]:
        stream = RunStream()

        async def emit(event: Event) -> None:
            self._setup.observe(event)
            await stream.emit(event)

        # Also where the run is another's to drive: who is refused leaves nothing open.
        with closing(stream):
            async with self._claimed(deps, run_id, emit) as run:
                stream.run_id = run.state.run_id
                try:
                    first = await begin(run)
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(_driven, run, first, stream)
                        yield stream
                        tasks.cancel_scope.cancel()
                # The run keeps its errors in the result: this one is from the caller's block.
                except BaseExceptionGroup as group:
                    raise group.exceptions[0] from group.exceptions[0].__cause__

    @asynccontextmanager
    async def _claimed(
        self, deps: Any, run_id: str | None, emit: Emit
    ) -> AsyncIterator[Run[Deps, Data]]:
        run_id = uuid.uuid4().hex if run_id is None else run_id
        _check_run_id(run_id)
        # A thousand runs that are started at once begin some at a time.
        await turnstile().enter()
        async with claimed(self._setup.lattice, run_id):
            yield Run(RunState(self._setup, run_id, deps, emit))

    def _go_on(self, answer: JsonValue, budget: Allowance | None) -> _Begin:
        setup = self._setup
        if not isinstance(budget, Allowance | None):
            raise InvalidInputError(
                f"a budget is an Allowance, as in budget=Allowance(cycles=8), not {budget!r:.200}"
            )

        async def begin(run: Run[Any, Any]) -> Event | RunResult:
            run_id, forms = run.state.run_id, (setup.plan_forms, setup.verdict_forms)
            point = await resume_point_of(setup.lattice, run_id, *forms)
            if point.question is not None and answer is None:
                raise RunPausedError(run_id, point.question)
            if point.question is None and answer is not None:
                raise InvalidInputError(
                    f"run {run_id!r} asked nothing that could be answered: resume it without an"
                    " answer"
                )
            if point.is_done:
                return point.result()
            return await run.go_on(point, answer, budget or Allowance())

        return begin


def _start(goal: str) -> _Begin:
    if not isinstance(goal, str):
        raise InvalidInputError(f"a goal is a text, not {type(goal).__name__}")

    async def begin(run: Run[Any, Any]) -> Event:
        return await run.start(goal)

    return begin


async def _driven(run: Run[Any, Any], first: Event | RunResult, stream: RunStream) -> None:
    # Ending the stream is what ends its readers' loops.
    try:
        if isinstance(first, RunResult):
            run.result = first
        else:
            await run.drive(first)
    finally:
        stream.end(run.result)


def _check_steps(**steps: Sequence[Callable[..., object]]) -> None:
    for name, given in steps.items():
        if callable(given):
            raise TypeError(f"{name} is a list of steps: {name}=[{name_of(given)}]")
        if not given:
            raise ValueError(f"{name} needs at least one step")
        for step in given:
            if not callable(step):
                raise TypeError(f"{name} needs functions, not {type(step).__name__}")


def _check_run_id(run_id: object) -> None:
    if not isinstance(run_id, str) or not 1 <= len(run_id) <= _LONGEST_RUN_ID:
        raise InvalidInputError(
            f"a run_id is a text of 1 to {_LONGEST_RUN_ID} characters, not {run_id!r:.200}"
        )
    if any("\ud800" <= character <= "\udfff" for character in run_id):
        raise InvalidInputError(f"a run_id is a text that UTF-8 can carry, not {run_id!r}")


def _check_memory(memory: object) -> None:
    is_text_memory = not isinstance(memory, type) and isinstance(
        getattr(memory, "lattice", None), Lattice
    )
    if not isinstance(memory, Lattice) and not is_text_memory:
        told = memory.__name__ if isinstance(memory, type) else type(memory).__name__
        raise TypeError(f"a controller drives a Lattice or a TextMemory, not {told}")


def _check_functions(**given: Any) -> None:
    for name, functions in given.items():
        if callable(functions):
            raise TypeError(f"{name} is a list: {name}=[…]")
        for function in functions:
            if not callable(function) or isinstance(function, type) or is_async(function):
                raise TypeError(f"{name} are plain functions that are not async, not {function!r}")
