"""Who may import whom, and how large files and functions may grow.

A module is in the room of the longest name that is its own or a package's around it, and imports
from its own floor and those below. A type-only import, or one inside a function, counts as well.
"""

from __future__ import annotations

import ast
import gc
import statistics
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the ground up. `""` is the root, which re-exports the public names; rooms that nobody has
# built yet have their floor already.
FLOORS: tuple[set[str], ...] = (
    {"errors", "lazy"},
    {"loop"},
    {"values"},
    {"records"},
    {"protocols"},
    {"stores", "indexes", "integrity", "text.embedders"},
    {"engine.events", "engine.ledger", "engine.trace", "engine.queries", "engine.race"},
    {"engine"},
    {
        "",
        "lattice",
        "changes",
        "encryption",
        "pool",
        "proofs",
        "provenance",
        "questions",
        "views",
        "working",
    },
    {"text", "models"},
    {"moving", "evaluation", "telemetry", "sql", "adapters", "graph", "servers", "dashboard"},
    {"cli"},
    {"testing"},
)

ROOMS = set().union(*FLOORS)

# Neighbours on a floor that must not know each other, in either direction.
STRANGERS: tuple[frozenset[str], ...] = (
    frozenset({"engine.trace", "engine.queries", "engine.race"}),
    frozenset({"stores", "indexes", "integrity", "text.embedders"}),
    frozenset({"adapters", "graph", "servers", "dashboard"}),
)

# Whoever else wants to know a lattice's state asks its `Survey`.
ENGINE_USERS = {"", "changes", "lattice", "proofs", "provenance", "questions", "views", "moving"}
# Everything else takes the store that it is handed.
BACKEND_CHOOSERS = {"lattice", "encryption", "cli", "servers", "testing"}
ENVIRONMENT_READERS = {"cli", "servers"}
# Where users, and so the controllers, import from.
PUBLIC_MODULES = {
    "pmll_async",
    "pmll_async.integrity",
    "pmll_async.stores.jsonl.verify",
    "pmll_async.stores.memory",
    "pmll_async.telemetry",
    "pmll_async.testing",
    "pmll_async.text",
}
# Not for users: the controllers come in the same distribution, so that nothing need be promised.
SHARED_MODULES = {
    "pmll_async.cli.naming",
    "pmll_async.loop.fanout",
    "pmll_async.values.extras",
}

# Where a statement has others in it.
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")

FILE_LINES = 400
FUNCTION_LINES = 60
MEDIAN_FUNCTION_LINES = 10
NINETIETH_FUNCTION_LINES = 30


class Import(NamedTuple):
    """One imported name and the module it is looked up in; no name for `import module`."""

    module: str
    name: str | None
    level: int
    line: int


def files_of(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def identify(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def of_each_file(*folders: str) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """One test of all files, because to report a test takes longer than to look at a file."""

    def tested(check: Callable[[Path], None]) -> Callable[[], None]:
        def test() -> None:
            failures = []
            for path in files_of(*folders):
                try:
                    check(path)
                except AssertionError as exc:
                    exc.add_note(f"in {identify(path)}")
                    failures.append(exc)
            if failures:
                raise ExceptionGroup(f"{len(failures)} files", failures)

        return test

    return tested


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path), filename=str(path))


@pytest.fixture(scope="module", autouse=True)
def trees_are_forgotten() -> Iterator[None]:
    """They are millions of objects, at which every garbage collection would look."""
    gc.disable()
    yield
    tree_of.cache_clear()
    statements_of.cache_clear()
    gc.enable()


@cache
def statements_of(path: Path) -> list[ast.AST]:
    """All of them, in no order; a tenth of what `ast.walk` finds."""
    found: list[ast.AST] = [tree_of(path)]
    # Grows as it is gone through.
    for node in found:
        for block in BLOCKS:
            found += getattr(node, block, ())
    return found


@cache
def modules() -> dict[str, Path]:
    return {module_of(path): path for path in files_of("pmll_async", "controllers")}


@cache
def imports_of(path: Path) -> list[Import]:
    return list(_imports(path))


def _imports(path: Path) -> Iterator[Import]:
    for node in statements_of(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, 0, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, node)
            for alias in node.names:
                yield Import(module, alias.name, node.level, node.lineno)


def absolute(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module_of(path).split(".")
    if path.name != "__init__.py":
        parts.pop()
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def target_of(item: Import) -> str:
    """`from package import module` reaches the module, any other name the package."""
    submodule = f"{item.module}.{item.name}"
    return submodule if submodule in modules() else item.module


def room_of(module: str) -> str | None:
    """The room that covers a module of pmll_async, or None."""
    name = module.removeprefix("pmll_async").removeprefix(".")
    if not name:
        return ""
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in ROOMS), None)


def floor_of(room: str) -> int:
    return next(floor for floor, rooms in enumerate(FLOORS) if room in rooms)


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def public_names(module: str) -> set[str]:
    """`__all__` where a module has one, else what it defines or re-exports."""
    tree = tree_of(modules()[module])
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assigned = {target.id for target in targets if isinstance(target, ast.Name)}
            if "__all__" in assigned and node.value is not None:
                return set(ast.literal_eval(node.value))
            names |= assigned
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname for alias in node.names if alias.asname == alias.name}
    return {name for name in names if not name.startswith("_")}


@of_each_file("pmll_async")
def test_imports_point_down(path: Path) -> None:
    room = room_of(module_of(path))
    assert room is not None, f"{identify(path)} is in no room: give it one in FLOORS of {__file__}"
    wrong = []
    for item in imports_of(path):
        target = target_of(item)
        if not is_within(target, "pmll_async"):
            continue
        other = room_of(target)
        assert other is not None, f"{identify(path)}:{item.line} imports {target}, in no room"
        if floor_of(other) > floor_of(room) or is_stranger(room, other):
            wrong.append(f"line {item.line}: {target} (floor {floor_of(other)})")
    assert not wrong, f"{identify(path)} is on floor {floor_of(room)} and imports {wrong}"


def is_stranger(room: str, other: str) -> bool:
    return room != other and any({room, other} <= group for group in STRANGERS)


@of_each_file("pmll_async")
def test_the_package_knows_nothing_of_its_controllers(path: Path) -> None:
    assert not [item for item in imports_of(path) if is_within(item.module, "controllers")]


@of_each_file("pmll_async")
def test_only_the_face_and_moving_know_the_engine(path: Path) -> None:
    module = module_of(path)
    if is_within(module, "pmll_async.engine") or room_of(module) in ENGINE_USERS:
        return
    inside = [item for item in imports_of(path) if is_within(target_of(item), "pmll_async.engine")]
    assert not inside


@of_each_file("pmll_async")
def test_only_the_front_door_chooses_a_backend(path: Path) -> None:
    room = room_of(module_of(path))
    if room == "stores" or room in BACKEND_CHOOSERS:
        return
    stores = [item for item in imports_of(path) if is_within(target_of(item), "pmll_async.stores")]
    assert not stores


@of_each_file("pmll_async", "controllers")
def test_only_the_outermost_layer_reads_the_environment(path: Path) -> None:
    if is_within(module_of(path), "pmll_async") and room_of(module_of(path)) in ENVIRONMENT_READERS:
        return
    reads = {"environ", "environb", "getenv", "getenvb"}
    if not any(name in text_of(path) for name in reads):
        return
    found = [
        f"line {node.lineno}"
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.Attribute) and node.attr in reads)
        or (isinstance(node, ast.ImportFrom) and reads & {alias.name for alias in node.names})
    ]
    assert not found


@of_each_file("controllers")
def test_controllers_import_public_names_only(path: Path) -> None:
    for item in imports_of(path):
        if not is_within(item.module, "pmll_async"):
            continue
        place = f"{identify(path)}:{item.line}"
        assert item.name is not None, f"{place}: write `from {item.module} import ...`"
        open_to_us = PUBLIC_MODULES | SHARED_MODULES
        assert item.module in open_to_us, f"{place}: {item.module} is not a public module"
        assert item.name in public_names(item.module), f"{place}: {item.name} is not public"


@of_each_file("controllers")
def test_controllers_reach_each_other_relatively(path: Path) -> None:
    # The folder must go on working under another name, in an application that has its own.
    named = [item for item in imports_of(path) if is_within(item.module, "controllers")]
    assert not [f"line {item.line}" for item in named if item.level == 0]


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    for node in statements_of(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def excuses_its_size(path: Path) -> bool:
    docstring = ast.get_docstring(tree_of(path)) or ""
    return any(line.startswith("Size:") and line[5:].strip() for line in docstring.splitlines())


@of_each_file("pmll_async", "controllers", "examples", "tests", "benchmarks")
def test_files_and_functions_are_small(path: Path) -> None:
    if excuses_its_size(path):
        return
    cure = "split it by idea, or say why not in a docstring line that starts with `Size:`"
    lines = len(text_of(path).splitlines())
    assert lines <= FILE_LINES, f"{lines} lines: {cure}"
    long = {name: length for name, length in functions_of(path) if length > FUNCTION_LINES}
    assert not long, cure


@pytest.mark.parametrize("package", ["pmll_async", "controllers"])
def test_most_functions_are_short(package: str) -> None:
    lengths = [length for path in files_of(package) for _, length in functions_of(path)]
    assert statistics.median(lengths) <= MEDIAN_FUNCTION_LINES
    assert statistics.quantiles(lengths, n=10)[-1] <= NINETIETH_FUNCTION_LINES
