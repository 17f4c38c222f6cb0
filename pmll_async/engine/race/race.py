"""The race: candidate functions run concurrently over one snapshot, judged in entry order.

Completion order decides nothing. What happens to the result is the trace's affair.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import anyio

from pmll_async.errors import InvalidInputError, NoWinnerError
from pmll_async.loop.logs import logger
from pmll_async.values.checks import without_surrogates
from pmll_async.values.lines import Candidate, CandidateFailure

ViewT = TypeVar("ViewT")
CandidateFunction = Callable[[ViewT], Awaitable[Candidate]]
"""Proposes a line from what it sees; has no side effects, since it may lose."""

Judge = Callable[[Candidate, ViewT], float | Awaitable[float]]
"""Scores a candidate; the highest finite score wins."""

STUBBORN_SECONDS: Final = 1.0
"""A candidate that is still running so long after its cancellation is logged by name."""
_MESSAGE_LENGTH: Final = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate that finished and was scored."""

    name: str
    candidate: Candidate
    score: float


@dataclass(frozen=True, slots=True)
class RaceRun:
    """How a race went, in entry order; `entries` is not empty."""

    entries: tuple[Entry, ...]
    failures: tuple[CandidateFailure, ...]
    unfinished: tuple[str, ...]

    def ranking(self) -> list[int]:
        """Entry numbers, the best first: by score, then entry order."""
        return sorted(range(len(self.entries)), key=lambda i: (-self.entries[i].score, i))


async def run_race(
    view: ViewT,
    candidates: Sequence[CandidateFunction[ViewT]],
    *,
    score: Callable[[list[Candidate]], Awaitable[list[float | Exception]]],
    seconds: float | None = None,
) -> RaceRun:
    """Run the candidates over `view` and score what they return, all of them in one call.

    What has finished after `seconds` competes; the rest is cancelled, awaited and listed as
    unfinished. `NoWinnerError` when no candidate is left, `InvalidInputError` for none given.
    """
    if not candidates:
        raise InvalidInputError("a race needs at least one candidate")
    runners = await _Runners(view, candidates).run(seconds)
    finished = [(name, _as_candidate(result)) for name, result in runners.finished()]
    proposed = [result for _, result in finished if isinstance(result, Candidate)]
    scores = iter(await score(proposed) if proposed else [])
    results = [_scored(name, result, scores) for name, result in finished]
    entries = tuple(result for result in results if isinstance(result, Entry))
    failures = tuple(result for result in results if isinstance(result, CandidateFailure))
    unfinished = tuple(runners.unfinished())
    if not entries:
        raise NoWinnerError(failures, unfinished)
    return RaceRun(entries, failures, unfinished)


async def judge_all(
    judge: Judge[ViewT], candidates: Sequence[Candidate], view: ViewT
) -> list[float | Exception]:
    """Each candidate's score, or what its judging raised; awaitable scores are awaited together."""
    given = [_judged(judge, candidate, view) for candidate in candidates]
    scores: list[float | Exception] = [_not_judged() for _ in given]

    async def settle(place: int, score: Awaitable[float]) -> None:
        try:
            scores[place] = await score
        except asyncio.CancelledError as exc:
            scores[place] = _own_fault(exc)
        # A judge is the user's code: what it raises is this candidate's failure and no other's.
        except Exception as exc:  # noqa: BLE001
            scores[place] = exc

    async with anyio.create_task_group() as tasks:
        for place, score in enumerate(given):
            if inspect.isawaitable(score):
                tasks.start_soon(settle, place, score)
            else:
                scores[place] = score
    return scores


def _judged(
    judge: Judge[ViewT], candidate: Candidate, view: ViewT
) -> float | Exception | Awaitable[float]:
    try:
        return judge(candidate, view)
    # See `settle`; a function that is not awaited cannot be cancelled either.
    except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001
        return exc if isinstance(exc, Exception) else _uncalled(exc)


def _as_candidate(result: object) -> Candidate | Exception:
    if isinstance(result, Candidate | Exception):
        return result
    return TypeError(f"a Candidate is wanted, not {type(result).__name__}")


def _scored(
    name: str, result: Candidate | Exception, scores: Iterator[float | Exception]
) -> Entry | CandidateFailure:
    if isinstance(result, Exception):
        return failure(name, result)
    name, score = without_surrogates(result.name) or name, next(scores)
    if isinstance(score, Exception):
        return failure(name, score)
    try:
        number = float(score)
    # Whatever a judge returned may do what it likes when it is turned into a number.
    except Exception as exc:  # noqa: BLE001
        return failure(name, exc)
    if not math.isfinite(number):
        return failure(name, ValueError(f"the score is {number}"))
    # -0.0 would read back from the log as 0.0.
    return Entry(name, result, number + 0.0)


def failure(name: str, error: BaseException) -> CandidateFailure:
    """A failed candidate as a value that can be stored."""
    try:
        message = without_surrogates(str(error))[:_MESSAGE_LENGTH]
    # An exception of the user's may not even be able to say what it is.
    except Exception as exc:  # noqa: BLE001
        message = f"its message raised {type(exc).__name__}"
    return CandidateFailure(name=name, error=type(error).__name__, message=message)


def _name(function: Callable[..., Any], number: int) -> str:
    name = getattr(function, "__name__", "") or type(function).__name__
    return without_surrogates(name if name != "<lambda>" else f"candidate-{number}")


class _Runners(Generic[ViewT]):
    """One task a candidate, all within `run`."""

    def __init__(self, view: ViewT, candidates: Sequence[CandidateFunction[ViewT]]) -> None:
        self._view, self._candidates = view, candidates
        self._names = [_name(function, i) for i, function in enumerate(candidates)]
        self._results: dict[int, object] = {}
        self._running = len(candidates)
        self._all_ended = asyncio.Event()
        self._deadline = anyio.CancelScope()

    def finished(self) -> list[tuple[str, object]]:
        """Names and results, or exceptions, in entry order."""
        return [(self._names[i], self._results[i]) for i in sorted(self._results)]

    def unfinished(self) -> list[str]:
        """The names of those that the deadline stopped."""
        return [name for i, name in enumerate(self._names) if i not in self._results]

    async def run(self, seconds: float | None) -> _Runners[ViewT]:
        """Wait for all, or until the seconds are over and all are cancelled."""
        if seconds is not None:
            self._deadline.deadline = anyio.current_time() + seconds
        watch = None
        try:
            with self._deadline:
                async with anyio.create_task_group() as tasks:
                    for number in range(len(self._candidates)):
                        tasks.start_soon(self._run_one, number)
                    try:
                        await self._all_ended.wait()
                    except asyncio.CancelledError:
                        loop = asyncio.get_running_loop()
                        watch = loop.call_later(STUBBORN_SECONDS, self._tell_stubborn)
                        raise
        finally:
            if watch is not None:
                watch.cancel()
        return self

    async def _run_one(self, number: int) -> None:
        try:
            result: object = await self._candidates[number](self._view)
        except asyncio.CancelledError as exc:
            result = _own_fault(exc)
        # A candidate is the user's code: whatever it raises is its own failure and no other's.
        except Exception as exc:  # noqa: BLE001
            result = exc
        finally:
            self._running -= 1
            if not self._running:
                self._all_ended.set()
        if not self._deadline.cancel_called:
            self._results[number] = result

    def _tell_stubborn(self) -> None:
        for name in self.unfinished():
            logger("pmll.race").warning(
                "race.ignores_cancellation", candidate=name, seconds=STUBBORN_SECONDS
            )


def _own_fault(error: asyncio.CancelledError) -> Exception:
    """What a cancellation that nobody asked for counts as; one that was asked for goes through."""
    # Within a task group every real cancellation shows as a cancelled scope around the task.
    if anyio.current_effective_deadline() == -math.inf:
        raise error
    return _uncalled(error)


def _uncalled(error: BaseException) -> Exception:
    return RuntimeError(f"raised {type(error).__name__} without being cancelled")


def _not_judged() -> Exception:
    return RuntimeError("was not judged")
