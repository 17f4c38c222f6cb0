"""Services that are down: told from wrong answers, waited for, and named if it takes too long."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import anyio
import structlog

from pmll_async import InvalidInputError, LatticeClosedError, PmllError, StoreError

T = TypeVar("T")

_LATER: Final = frozenset({408, 425, 429})
"""HTTP statuses below 500 that say: try again later."""
_FOR_GOOD: Final = "insufficient_quota"  # comes with status 429, and no waiting mends it
_LONGEST_REASON: Final = 300  # characters; the run's end quotes it


class OutageError(PmllError):
    """A service that a step needs stayed down: `tries` within `seconds`; its error is the cause.

    Raised by a step, it stops the run as `failed` without being held against it: no cycle and no
    retry is used up, and `resume` calls the step again.
    """

    def __init__(self, service: str, tries: int, seconds: float, reason: str) -> None:
        self.service, self.tries, self.seconds, self.reason = service, tries, seconds, reason
        super().__init__(
            f"{service} is down: {tries} tries in {seconds:.0f} seconds, the last one:"
            f" {reason[:_LONGEST_REASON]}; resume the run once it is back"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How a service that is down is waited for: for up to `seconds` in all.

    Waits double from `first` seconds on, up to `longest`, each cut by up to half at random so that
    many who wait do not come back at once; a service that says how long to wait is heard. With 0
    seconds the first outage is the last. `sleep` and `clock` are for tests.
    """

    seconds: float = 60.0
    first: float = 0.5
    longest: float = 10.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        for name in ("seconds", "first", "longest"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} is a number from 0 on, not {getattr(self, name)}")

    def pause(self, tries: int) -> float:
        """Seconds to wait after so many tries."""
        # Beyond that the power is larger than any wait, and soon than any float.
        whole = min(self.longest, self.first * 2.0 ** min(tries - 1, 32))
        return whole * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, hides nothing


PATIENCE: Final = Patience()


async def patiently(
    service: str, call: Callable[[], Awaitable[T]], patience: Patience = PATIENCE
) -> T:
    """What the call returns, repeated while the service is down; then `OutageError`."""
    began, tries = patience.clock(), 0
    while True:
        try:
            return await call()
        # Whatever it is, it goes through unless it says that waiting may help.
        except Exception as exc:
            if not is_outage(exc):
                raise
            tries += 1
            waited = patience.clock() - began
            pause = max(patience.pause(tries), _asked_to_wait(exc))
            if waited + pause > patience.seconds:
                raise OutageError(service, tries, waited, str(exc) or type(exc).__name__) from exc
            log = structlog.get_logger("controllers")
            log.warning("service.down", service=service, tries=tries, error=type(exc).__name__)
        await patience.sleep(pause)


def is_outage(error: BaseException) -> bool:
    """Whether the same call may succeed later: a service is away, overloaded or broken.

    An error may say so itself, by an attribute `is_outage`; otherwise its HTTP status tells, or
    that a connection failed or was too slow, in it or in what caused it.
    """
    for one in _causes(error):
        # Who waited has waited; and a disk is no service.
        if isinstance(one, OutageError | StoreError | LatticeClosedError):
            return False
        flag, status = getattr(one, "is_outage", None), getattr(one, "status_code", None)
        if isinstance(flag, bool):
            return flag
        if isinstance(status, int):
            return is_status_of_outage(status, getattr(one, "code", None))
        if isinstance(one, OSError):
            # What names a file is about this machine's disk.
            return one.filename is None
    return False


def is_status_of_outage(status: int, code: object = None) -> bool:
    """Whether an HTTP status, with the service's own code for it, says that waiting may help."""
    return code != _FOR_GOOD and (status in _LATER or status >= 500)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _asked_to_wait(error: BaseException) -> float:
    """Seconds that the service asks for, in `Retry-After`."""
    for one in _causes(error):
        headers: Any = getattr(getattr(one, "response", None), "headers", None)
        if headers is not None:
            try:
                return max(0.0, float(headers.get("retry-after") or 0.0))
            except ValueError:  # a date: nobody sends one to a client that asks every second
                return 0.0
    return 0.0
