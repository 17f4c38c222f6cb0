"""What all runs of a controller have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypedDict

import structlog

from pmll_async import Lattice

from ..calling import name_of
from ..events import Event
from ..journal.forms import Forms
from ..policies import Rule
from ..steps import ActStep, Data, Deps, Judge, PlanStep, ReflectStep

if TYPE_CHECKING:
    from pmll_async.text import TextMemory

Observer = Callable[[Event], None]
"""Called on the event loop with every event of every run, in order: quick, and does not raise."""


class Options(TypedDict, total=False):
    """What ready controllers leave to `RTMController` as it is."""

    rules: Sequence[Rule]
    timeout: float | None
    observers: Sequence[Observer]
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup(Generic[Deps, Data]):
    """The steps, what they are journaled as, and the limits."""

    memory: Lattice | TextMemory
    plan: PlanStep[Deps, Data]
    acts: Sequence[ActStep[Deps, Data]]
    reflect: ReflectStep[Deps]
    judge: Judge[Deps, Data] | None
    plan_forms: Forms
    verdict_forms: Forms
    max_cycles: int
    rules: Sequence[Rule]
    decay: float
    timeout: float | None
    observers: Sequence[Observer]
    clock: Callable[[], float]

    @property
    def lattice(self) -> Lattice:
        """Where runs are journaled."""
        return self.memory if isinstance(self.memory, Lattice) else self.memory.lattice

    @property
    def texts(self) -> TextMemory | None:
        """The text memory, if the controller was given one."""
        return None if isinstance(self.memory, Lattice) else self.memory

    def observe(self, event: Event) -> None:
        """Tell the observers."""
        for observer in self.observers:
            try:
                observer(event)
            # It only looks on: whatever it meets, the run must not suffer.
            except Exception as exc:  # noqa: BLE001
                log = structlog.get_logger("controllers").bind(run_id=event.run_id)
                # Its message may quote the event, and with it what steps say.
                error = type(exc).__name__
                log.warning("observer.failed", observer=name_of(observer), error=error)
