"""``MODULE:CONTROLLER``: what a command line can name, opened.

The attribute is a controller, or a function without arguments that returns one or, as an async
context manager, gives one; together with the deps of its steps where they have any.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from pmll_async import Lattice

from ..controller import RTMController

WANTED: Final = """\
wanted is a controller over a lattice that is not open yet:
    controller = RTMController(Lattice.open("memory", dim=384), plan=…, act=[…], reflect=…)
or a function without arguments that gives an open one, or (controller, deps):
    @asynccontextmanager
    async def controller():
        async with Lattice.open("memory", dim=384) as lattice:
            yield RTMController(lattice, plan=…, act=[…], reflect=…)"""


@dataclass(frozen=True, slots=True)
class OpenedTarget:
    """A controller over an open memory, and what its steps are given."""

    controller: RTMController[Any, Any]
    deps: Any
    lattice: Callable[[], Lattice]
    max_cycles: int


def attribute(name: str) -> object:
    """What MODULE:CONTROLLER names; `BadParameter` if nothing does.

    Modules are looked for in the current folder first, as ``python -m`` does.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise _wrong(f"{name!r} is not of the form MODULE:CONTROLLER, as in my_agent:controller")
    found: object = _module(module_name)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise _wrong(f"there is no {path!r} in the module {module_name!r}") from None
    return found


def _module(name: str) -> object:
    here = str(Path.cwd())
    # `python -P` asks for exactly that not to happen.
    if here not in sys.path and not sys.flags.safe_path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        # What the module itself fails to import is its own affair, and shows as such.
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise
        raise _wrong(f"there is no module {name!r}, here in {here} or installed") from None


@asynccontextmanager
async def opened(found: object) -> AsyncIterator[OpenedTarget]:
    """The controller, while the block lasts: closed is what was opened for it."""
    made = found
    if callable(found) and not isinstance(found, RTMController):
        if _takes_arguments(found):
            raise _wrong(f"{_called(found)} takes arguments, and there are none to give")
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
        raise _wrong(f"{_called(found)} is, or gives, {type(controller).__name__}")
    memory: Any = controller.memory
    # A text memory may have another lattice once it is open.
    return OpenedTarget(
        controller, deps, lambda: getattr(memory, "lattice", memory), controller.max_cycles
    )


def _takes_arguments(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(
        each.default is inspect.Parameter.empty and each.kind not in optional for each in parameters
    )


def _called(found: object) -> str:
    name = getattr(found, "__qualname__", None)
    return repr(name) if isinstance(name, str) else f"what it names, of {type(found).__name__},"


def _wrong(reason: str) -> typer.BadParameter:
    return typer.BadParameter(f"{reason}\n{WANTED}", param_hint="MODULE:CONTROLLER")
