"""``MODULE:CONTROLLER``: what a command line can name, opened.

The attribute is a controller, or a function without arguments that returns one or, as an async
context manager, gives one; together with the deps of its steps where they have any.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from pmll_async import Lattice
from pmll_async.cli.naming import Form, called, takes_arguments

from ..controller import RTMController

WANTED: Final = """\
wanted is a controller over a lattice that is not open yet:
    controller = RTMController(Lattice.open("memory", dim=384), plan=…, act=[…], reflect=…)
or a function without arguments that gives an open one, or (controller, deps):
    @asynccontextmanager
    async def controller():
        async with Lattice.open("memory", dim=384) as lattice:
            yield RTMController(lattice, plan=…, act=[…], reflect=…)"""
_FORM: Final = Form("MODULE:CONTROLLER", "my_agent:controller", WANTED)


@dataclass(frozen=True, slots=True)
class OpenedTarget:
    """A controller over an open memory, and what its steps are given."""

    controller: RTMController[Any, Any]
    deps: Any
    lattice: Callable[[], Lattice]
    max_cycles: int


def attribute(name: str) -> object:
    """What MODULE:CONTROLLER names; `BadParameter` if nothing does."""
    return _FORM.attribute(name)


@asynccontextmanager
async def opened(found: object) -> AsyncIterator[OpenedTarget]:
    """The controller, while the block lasts: closed is what was opened for it."""
    made = found
    if callable(found) and not isinstance(found, RTMController):
        if takes_arguments(found):
            raise _FORM.wrong(f"{called(found)} takes arguments, and there are none to give")
        made = found()
    # What can be both awaited and entered is entered, for that closes it again.
    if inspect.isawaitable(made) and not isinstance(made, AbstractAsyncContextManager):
        made = await made
    if isinstance(made, AbstractAsyncContextManager):
        async with made as given:
            yield _opened(given, found)
        return
    known = _opened(made, found)
    async with known.controller.memory:
        yield known


def _opened(given: object, found: object) -> OpenedTarget:
    controller, deps = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if not isinstance(controller, RTMController):
        raise _FORM.wrong(f"{called(found)} is, or gives, {type(controller).__name__}")
    memory: Any = controller.memory
    # A text memory may have another lattice once it is open.
    return OpenedTarget(
        controller, deps, lambda: getattr(memory, "lattice", memory), controller.max_cycles
    )
