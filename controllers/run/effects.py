"""What a step does to its run: side effects that are journaled, and what it spends."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from anyio.lowlevel import RunVar

from pmll_async import InvalidContextError, MemoryLine, PmllError, ReentrantError

from ..calling import Limiter, call, finish_first, is_async, threads
from ..events import EffectBegun, EffectDone, Event, Told
from ..goals import Place
from ..journal.forms import form_of
from ..journal.journal import Fields, effect_step
from ..journal.stamps import find_entry
from ..policies import Usage
from .state import RunState

_LONGEST_NAME: Final = 128  # it is part of idempotency keys, whose length is bounded
_MOST_THREADS: Final = 40  # as many as sync steps have, of which each may want one
_UNDER_WAY: Final[ContextVar[tuple[tuple[Effects, str, str], ...]]] = ContextVar(
    "pmll_effects", default=()
)
"""The effects around the code that asks, with names and keys; the innermost is the last."""
_THREADS: Final[Limiter] = RunVar("controllers.run.effects")
"""Threads for effects alone: those of the sync steps wait for them."""


class EffectRepeatedError(PmllError):
    """A step asked for an effect of the same name twice: it would have been done once."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"effect {name!r} was done in this step already; name each effect of a step, as in"
            f" f'{name}/{{to}}', or keep what the first one returned"
        )


class EffectUnknownError(PmllError):
    """An effect was begun and its result never recorded: it may have taken place, or not.

    `key` is the effect's `ctx.idempotency_key`, for a service that was given it.
    """

    def __init__(self, name: str, key: str) -> None:
        self.name, self.key = name, key
        super().__init__(
            f"effect {name!r} was begun before and its result is not known: look whether it took"
            f" place (key {key}), or call once without again=False to do it again"
        )


@dataclass(slots=True)
class Effects:
    """The effects and the spending of one step; `step` is its name within the phase."""

    state: RunState[Any, Any]
    place: Place
    step: str
    usage: Usage = field(default_factory=Usage)
    named: set[str] = field(default_factory=set)
    """The effects whose results this call of the step has got."""
    replies: int = 0

    @property
    def step_key(self) -> str:
        """The idempotency key of the step."""
        return self.place.step_key(self.step)

    @property
    def idempotency_key(self) -> str:
        """That of the effect that asks, or else the step's."""
        inside = [key for effects, _, key in _UNDER_WAY.get() if effects is self]
        return inside[-1] if inside else self.step_key

    def spend(self, usage: Usage) -> None:
        """Add to what the step, and with it the run, has spent."""
        self.usage += usage
        self.state.spend(usage)

    async def say(self, text: str, *, begins: bool) -> None:
        """Tell who follows the run a text of the step."""
        if begins or self.replies == 0:
            self.replies += 1
        await self.tell(Told, text=text, reply=self.replies - 1)

    async def tell(self, event: Callable[..., Event], **facts: Any) -> None:
        """Tell who follows the run an event of the step."""
        kind, _, number = self.step.partition(".")
        # Who judges does so while the acts race.
        stage = "act" if kind == "judge" else kind
        where = {"stage": stage, "number": int(number or 0)}
        await self.state.emit(event(**self.state.phase_fields(), **where, **facts))

    async def once(self, name: str, fn: Callable[[], Any], again: bool) -> Any:
        """Do an effect once, as `StepContext.once` says."""
        if not 1 <= len(name) <= _LONGEST_NAME:
            raise ValueError(f"an effect's name has 1 to {_LONGEST_NAME} characters: {name!r}")
        if not callable(fn):
            if inspect.iscoroutine(fn):
                fn.close()  # or Python warns that it was never awaited, beside the error
            raise TypeError(
                f"once({name!r}, …) takes the function, not what it returned: leave out the ()"
            )
        # Of two tasks of the step that ask for one effect, the second finds the first's result.
        if any(effects is self and one == name for effects, one, _ in _UNDER_WAY.get()):
            raise ReentrantError(name)
        key = f"{self.step_key}/{name}"
        async with self.state.setup.lattice.lock(f"pmll.once.{key}"):
            if name in self.named:
                raise EffectRepeatedError(name)
            done = await self.entry(name, "done")
            if done is not None:
                self.named.add(name)
                await self._tell_done(name, done.anchor, known=True)
                return _returned(fn, done.context)
            begun = await self.entry(name, "begun")
            if begun is None:
                anchor = await self._record(name, "begun", {"key": key})
                fields = self.state.event_fields(anchor)
                await self.state.emit(EffectBegun(**fields, name=name))
            else:
                # A service knows it by the key of then, which in old entries was the step's.
                key = str(begun.context.get("key", self.step_key))
                if not again:
                    raise EffectUnknownError(name, key)
            under_way = _UNDER_WAY.set((*_UNDER_WAY.get(), (self, name, key)))
            try:
                return await self._done(name, fn)
            finally:
                _UNDER_WAY.reset(under_way)

    async def _done(self, name: str, fn: Callable[[], Any]) -> Any:
        work = self._journaled(name, fn)
        # A thread goes on whoever is cancelled, so that what it did is waited for and written down.
        anchor, fields = await (work if is_async(fn) else finish_first(work))
        self.named.add(name)
        await self._tell_done(name, anchor, known=False)
        return _returned(fn, fields)

    async def _journaled(self, name: str, fn: Callable[[], Any]) -> tuple[str, Fields]:
        form, made = form_of(fn), await call(fn, limiter=threads(_THREADS, _MOST_THREADS))
        fields: Fields = {}
        # It has taken place, whatever it returned: that must not be forgotten.
        try:
            fields["result"] = form.to_json(made)
        except TypeError as exc:
            fields["error"] = str(exc)
        try:
            # A run that is cancelled now would do it again.
            return await finish_first(self._record(name, "done", fields)), fields
        except InvalidContextError as exc:
            fields = {"error": f"what {form.owner} returned cannot be journaled: {exc.reason}"}
            return await finish_first(self._record(name, "done", fields)), fields

    async def _tell_done(self, name: str, anchor: str, *, known: bool) -> None:
        fields = self.state.event_fields(anchor)
        await self.state.emit(EffectDone(**fields, name=name, known=known))

    async def _record(self, name: str, status: str, fields: Fields) -> str:
        place = self.place.after(self.usage)
        return await self.state.journal.effect(place, self.step, name, status, fields)

    async def entry(self, name: str, status: str) -> MemoryLine | None:
        """The journal's entry of an effect, `begun` or `done`."""
        step = effect_step(self.step, name, status)
        return await find_entry(self.state.setup.lattice, self.place, step, "effect", status)


def _returned(fn: Callable[[], Any], recorded: Mapping[str, Any]) -> Any:
    """What the effect returned, by its entry: a first call gets no more than a resumed one."""
    if "error" in recorded:
        raise TypeError(recorded["error"])
    return form_of(fn).from_json(recorded["result"])
