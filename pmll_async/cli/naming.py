"""`MODULE:NAME`: what of a user's own a command line can name."""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer


@dataclass(frozen=True, slots=True)
class Form:
    """How such a name is written, with an example, and what it has to name."""

    metavar: str
    example: str
    wanted: str

    def wrong(self, reason: str) -> typer.BadParameter:
        """The error that says what is wrong, and what is wanted."""
        return typer.BadParameter(f"{reason}\n{self.wanted}", param_hint=self.metavar)

    def attribute(self, name: str) -> object:
        """What the name names; `BadParameter` if nothing does.

        Modules are looked for in the current folder first, as ``python -m`` does.
        """
        module_name, colon, path = name.partition(":")
        if not (module_name and colon and path):
            raise self.wrong(f"{name!r} is not of the form {self.metavar}, as in {self.example}")
        found = self._module(module_name)
        for part in path.split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                raise self.wrong(f"there is no {path!r} in the module {module_name!r}") from None
        return found

    def _module(self, name: str) -> object:
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
            raise self.wrong(f"there is no module {name!r}, here in {here} or installed") from None


def takes_arguments(function: Any) -> bool:
    """Whether it cannot be called without any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(
        each.default is inspect.Parameter.empty and each.kind not in optional for each in parameters
    )


def called(found: object) -> str:
    """What to call it in a message."""
    name = getattr(found, "__qualname__", None)
    return repr(name) if isinstance(name, str) else f"what it names, of {type(found).__name__},"
