"""How the house stands: rooms and floors, names, sizes, and what one call passes through.

``python -m benchmarks.house`` prints the figures. A room is a folder or a module at the top of its
package, a floor the number of rooms on the longest way down by imports, type-only ones included.
"""

from __future__ import annotations

import ast
import asyncio
import io
import statistics
import sys
import tempfile
import threading
import tokenize
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from pmll_async import Candidate, Lattice, LatticeView
from pmll_async.loop import workers

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("pmll_async", "controllers")

Graph = dict[str, set[str]]


def files(*packages: str) -> list[Path]:
    """The modules of the packages, sorted."""
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    """The dotted name of a file's module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    """The file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def modules() -> dict[str, Path]:
    """All modules by name."""
    return {module_of(path): path for path in files(*PACKAGES)}


def imported(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports."""
    here = module_of(path).split(".")
    package = here if path.name == "__init__.py" else here[:-1]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                found = f"{module}.{alias.name}"
                if found in modules() or module in modules():
                    yield found if found in modules() else module


def room_of(module: str) -> str:
    """The folder that a module is in, or the module itself at the top of its package."""
    if modules()[module].name == "__init__.py" or module.count(".") == 1:
        return module
    return module.rpartition(".")[0]


def rooms() -> Graph:
    """Which room imports which; the roots, which re-export, are no rooms."""
    graph: Graph = defaultdict(set)
    for module, path in modules().items():
        here = room_of(module)
        if here in PACKAGES:
            continue
        there = {room_of(name) for name in imported(path)} - {here, *PACKAGES}
        graph[here] |= there
    return graph


def circles(graph: Graph) -> list[set[str]]:
    """Rooms that import each other, directly or through others."""
    reach = {room: reachable(graph, room) for room in graph}
    found = [{other for other in reach[room] if room in reach[other]} for room in graph]
    return [circle for i, circle in enumerate(found) if circle and circle not in found[:i]]


def reachable(graph: Graph, room: str) -> set[str]:
    """Every room below."""
    seen: set[str] = set()
    todo = [*graph[room]]
    while todo:
        other = todo.pop()
        if other not in seen:
            seen.add(other)
            todo += graph[other]
    return seen


def floors(graph: Graph) -> int:
    """Rooms on the longest way down; a circle is as high as it is wide."""

    @cache
    def height(room: str) -> int:
        return 1 + max(map(height, graph[room]), default=0)

    return max(map(height, graph)) if not circles(graph) else -1


def within(graph: Graph, package: str) -> Graph:
    """The rooms of one package, and how they import each other."""
    ours = {room for room in graph if room.startswith(f"{package}.")}
    return {room: graph[room] & ours for room in ours}


def code_lines(path: Path) -> int:
    """Lines with code on them: no comment, no docstring, no blank."""
    spoken: set[int] = set()
    for node in ast.walk(tree_of(path)):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            spoken |= set(range(value.lineno, (value.end_lineno or value.lineno) + 1))
    lines: set[int] = set()
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type not in skipped and token.type != tokenize.ENDMARKER:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - spoken)


def comment_lines(path: Path) -> int:
    """Lines that are a comment, or end with one that says something to people."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return sum(token.type == tokenize.COMMENT for token in tokens)


def function_lengths(paths: Iterable[Path]) -> list[int]:
    """Lines of each function, its docstring included."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for path in paths for node in ast.walk(tree_of(path)) if isinstance(node, kinds))
    return sorted((node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes)


def class_names(paths: Iterable[Path]) -> Counter[str]:
    """How many classes of the name there are."""
    nodes = (node for path in paths for node in ast.walk(tree_of(path)))
    return Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))


async def passed_through(call: Callable[[], Awaitable[Any]]) -> tuple[int, int]:
    """Files and functions of ours that run during the call, in every thread."""
    seen: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            seen.add(frame.f_code)

    sys.setprofile(note)
    threading.setprofile(note)
    try:
        await call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    ours = [code for code in seen if code.co_filename.startswith(str(ROOT / "pmll_async"))]
    named = {(code.co_filename, code.co_qualname) for code in ours if code.co_name != "<module>"}
    real = {(file, name) for file, name in named if not name.endswith(("<genexpr>", "comp>"))}
    return len({file for file, _ in real}), len(real)


async def pause() -> None:
    """Wait until no thread but this one is left, and until the trace's sync of each second is due.

    Only a thread that begins within the counted call is counted; only after a pause is a put alone.
    """
    await asyncio.sleep(1.1)
    while threading.active_count() > 1:  # noqa: ASYNC110  # a thread's end tells nobody
        await asyncio.sleep(0.05)


async def calls() -> dict[str, tuple[int, int]]:
    """What one put, one warm query and one race pass through."""

    async def candidate(_: LatticeView) -> Candidate:
        return Candidate(key=[0.0, 1.0, 0.5])

    async def other(_: LatticeView) -> Candidate:
        return Candidate(key=[0.0, 0.5, 0.5], context={"b": 1})

    # Idle threads live for seconds; nothing else depends on it.
    workers._IDLE_SECONDS = 0.2  # type: ignore[misc]  # final for everybody else
    with tempfile.TemporaryDirectory() as folder:
        async with Lattice.open(f"{folder}/memory", dim=3) as lattice:
            # Warmed before, each in threads that end, so that the counted call begins its own.
            await lattice.put([1.0, 0.0, 0.0], context={"a": 1})
            await lattice.query([1.0, 0.0, 0.0])
            await lattice.race([candidate, other])
            await pause()
            put = await passed_through(lambda: lattice.put([0.0, 0.0, 1.0], context={"a": 2}))
            await pause()
            query = await passed_through(lambda: lattice.query([1.0, 0.0, 0.0]))
            await pause()
            race = await passed_through(lambda: lattice.race([candidate, other]))
    return {"put": put, "query": query, "race": race}


def main() -> None:
    """Print every figure."""
    graph, paths = rooms(), files(*PACKAGES)
    for package in PACKAGES:
        top = [path.stem for path in (ROOT / package).glob("*.py")]
        print(f"top modules of {package}: {len(top)}")
    lengths = function_lengths(paths)
    code = sum(map(code_lines, paths))
    twice = sorted(name for name, count in class_names(paths).items() if count > 1)
    verbs = [module for module in modules() if module.endswith("ing")]
    figures: dict[str, object] = {
        "rooms": len(graph),
        "arrows": sum(map(len, graph.values())),
        "floors of both packages": floors(graph),
        **{f"floors of {package}": floors(within(graph, package)) for package in PACKAGES},
        "circles": circles(graph),
        "modules": len(paths),
        "modules in -ing": (len(verbs), verbs),
        "class names used twice": (len(twice), twice),
        "comments": f"{sum(map(comment_lines, paths)) / code:.1%}",
        "function lines, median": statistics.median(lengths),
        "function lines, 90 %": statistics.quantiles(lengths, n=10)[-1],
        "function lines, most": lengths[-1],
        "file lines, most": max(len(path.read_text().splitlines()) for path in paths),
        "code lines": code,
        **{f"{name}, files and functions": n for name, n in asyncio.run(calls()).items()},
    }
    for name, value in figures.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
