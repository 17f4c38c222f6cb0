"""Commands of other packages, found by the entry-point group `pmll.commands`.

The value is a plain function that typer can register. It is imported only when it is called: its
summary in `pmll --help` is read from its source, so that neither a slow nor a broken one is felt.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "pmll.commands"


class BrokenPluginError(Exception):
    """A command cannot be loaded; the message says whose it is and why."""


@cache
def found() -> dict[str, EntryPoint]:
    """The commands by name; of two with one name the first."""
    from importlib.metadata import entry_points

    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        points.setdefault(point.name, point)
    return points


def command(point: EntryPoint) -> Any:
    """The command itself, imported. Raises `BrokenPluginError`."""
    try:
        function = point.load()
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(point.name)(function)
        return typer.main.get_command(app)
    # Another package's code may fail in any way, and must not take this program along.
    except Exception as exc:
        raise BrokenPluginError(_broken(point, f"{type(exc).__name__}: {exc}")) from exc


def summary(point: EntryPoint) -> str:
    """The first line of the function's docstring. Raises `BrokenPluginError` without a module."""
    try:
        text = _docstring(point.module, point.attr)
    except (ImportError, SyntaxError, OSError, ValueError) as exc:
        raise BrokenPluginError(_broken(point, f"{type(exc).__name__}: {exc}")) from exc
    return text or f"A command of {_owner(point)}."


def _broken(point: EntryPoint, reason: str) -> str:
    return f"the command {point.name!r} of {_owner(point)} cannot be loaded: {reason}"


def _owner(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _docstring(module: str, name: str, hops: int = 3) -> str:
    spec = _spec(module)
    if spec.origin is None or not spec.origin.endswith(".py"):
        return ""
    for node in ast.parse(Path(spec.origin).read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ")
        # A package may re-export the function; a circle of re-exports must end.
        if isinstance(node, ast.ImportFrom) and hops:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _docstring(_origin(spec, node), alias.name, hops - 1)
    return ""


def _spec(module: str) -> ModuleSpec:
    """Where a module is, without importing the packages around it as `find_spec` would."""
    first, *rest = module.split(".")
    spec, name = find_spec(first), first
    for part in rest:
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations) if spec else None
    if spec is None:
        raise ModuleNotFoundError(f"No module named {module!r}")
    return spec


def _origin(spec: ModuleSpec, node: ast.ImportFrom) -> str:
    """The absolute name of the module in `from .module import name`."""
    if not node.level:
        return node.module or ""
    parts = spec.name.split(".") if spec.submodule_search_locations else spec.name.split(".")[:-1]
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])
