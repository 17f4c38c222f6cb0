"""What an import does: nothing that anyone could see, and it offers exactly the public names."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["pmll_async", "controllers"]

# What only the command line, a test run or an optional part may load.
OPTIONAL = [
    *("argon2", "asyncpg", "chromadb", "click", "cryptography", "duckdb", "faiss", "fastapi"),
    *("hypothesis", "lmdb", "mcp", "nacl"),
    *("onnxruntime", "openai", "opentelemetry", "peft", "psycopg", "pyjson5", "pytest", "rich"),
    *("safetensors", "sentence_transformers", "tokenizers", "torch", "transformers", "typer"),
    *("uvicorn", "wordllama"),
]

# The interpreter itself tells of every file, socket and process that an import touches. numpy comes
# first because it sets a variable for its matrix library; the optional packages look as if not
# installed, because structlog would load one of them for its own use.
WITNESS = """
import json, logging, os, sys, threading
import numpy

package, optional = sys.argv[1], set(json.loads(sys.argv[2]))
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = (
    "fcntl.", "os.exec", "os.fork", "os.link", "os.mkdir", "os.posix_spawn", "os.putenv",
    "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.system", "os.truncate", "socket.",
    "sqlite3.", "subprocess.", "tempfile.", "urllib.",
)
deeds, wishes = [], []

def watch(event, args):
    if event == "open":
        path, mode, flags = args
        if set(mode or "") & set("wax+") or (isinstance(flags, int) and flags & WRITING):
            deeds.append(f"open {path!r} {mode or flags}")
    elif event.startswith(FORBIDDEN):
        deeds.append(f"{event} {args!r}")

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in optional:
            frame = sys._getframe(1)
            while "importlib" in frame.f_code.co_filename:
                frame = frame.f_back
            wishes.append((frame.f_globals["__name__"], name))
            raise ModuleNotFoundError(name, name=name)

sys.addaudithook(watch)
sys.meta_path.insert(0, Absent())
__import__(package)

root = logging.getLogger()
structlog = sys.modules.get("structlog")
json.dump({
    "deeds": deeds,
    "wishes": wishes,
    "modules": sorted(sys.modules),
    "threads": threading.active_count(),
    "logging": len(root.handlers) + (root.level != logging.WARNING),
    "structlog": bool(structlog and structlog.is_configured()),
}, sys.stdout)
"""

# An isolated interpreter does not look into the folder that it is started in.
FIND = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"


def run_alone(program: str, *arguments: str) -> Any:
    """What a program of a fresh process writes, which is JSON."""
    # -I leaves out the folder and variables of the caller, -B the byte-code files.
    python = [sys.executable, "-I", "-B", "-W", "error", "-c", FIND + program]
    command = [*python, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def witness(package: str) -> dict[str, Any]:
    told: dict[str, Any] = run_alone(WITNESS, package, json.dumps(OPTIONAL))
    return told


@pytest.fixture(scope="module", params=PACKAGES)
def seen(request: pytest.FixtureRequest) -> dict[str, Any]:
    return witness(request.param)


def test_import_opens_no_file_for_writing_no_socket_and_no_process(seen: dict[str, Any]) -> None:
    assert seen["deeds"] == []


def test_import_asks_for_no_optional_package(seen: dict[str, Any]) -> None:
    assert [wish for wish in seen["wishes"] if wish[0].partition(".")[0] in PACKAGES] == []


def test_import_loads_no_backend_and_no_outer_layer(seen: dict[str, Any]) -> None:
    outer = ("pmll_async.stores.", "pmll_async.servers", "pmll_async.cli", "pmll_async.testing")
    outer += ("pmll_async.models",)
    loaded = [name for name in seen["modules"] if name.startswith(outer)]
    # It knows the stores by name and loads the one that is opened.
    assert set(loaded) <= {"pmll_async.stores.choice"}


def test_the_root_loads_nothing_for_texts() -> None:
    loaded = witness("pmll_async")["modules"]
    texts = ("pmll_async.text", "snowballstemmer", "sqlite3", "_sqlite3")
    assert [name for name in loaded if name.startswith(texts)] == []
    told = witness("pmll_async.text")
    assert "pmll_async.text.memory" in told["modules"]
    assert (told["deeds"], told["threads"], told["logging"]) == ([], 1, 0)


FRONT_DOOR = """
import json, sys
from pmll_async import Lattice
json.dump(sorted(sys.modules), sys.stdout)
"""


def test_the_front_door_loads_no_models_and_no_engine() -> None:
    loaded = run_alone(FRONT_DOOR)
    heavy = ("pydantic", "structlog", "pmll_async.records", "pmll_async.stores.jsonl")
    assert [name for name in loaded if name.startswith((*heavy, "pmll_async.engine.trace"))] == []


# Who searches for a module is asked in the thread that imports it.
OPENING = """
import asyncio, json, sys, threading
from pmll_async import Lattice

on_the_loop, elsewhere = [], []

class Witness:
    def find_spec(self, name, path=None, target=None):
        is_ours = threading.current_thread() is threading.main_thread()
        (on_the_loop if is_ours else elsewhere).append(name)

async def main():
    sys.meta_path.insert(0, Witness())
    async with Lattice.open(sys.argv[1], dim=2) as lattice:
        anchor = await lattice.put([1.0, 0.0], context={"topic": "x"})
        await lattice.query([1.0, 0.0], where={"topic": "x"})
        await lattice.note({"topic": "y"})
        await lattice.decay(anchor, 0.5)
        await lattice.survey()

asyncio.run(main())
ours = [name for name in on_the_loop if name.startswith(("pmll_async", "pydantic"))]
json.dump([ours, elsewhere], sys.stdout)
"""


def test_what_an_open_lattice_is_made_of_is_loaded_by_a_worker_thread(tmp_path: Path) -> None:
    on_the_loop, elsewhere = run_alone(OPENING, str(tmp_path / "memory"))
    assert on_the_loop == []
    assert {"pmll_async.engine.assembly", "pmll_async.stores.jsonl", "pydantic"} <= set(elsewhere)


def test_import_starts_no_thread_and_configures_no_logging(seen: dict[str, Any]) -> None:
    assert (seen["threads"], seen["logging"], seen["structlog"]) == (1, 0, False)


def is_for_types(node: ast.stmt) -> TypeGuard[ast.If]:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def reexports(package: ModuleType) -> dict[str, str]:
    """Name to defining module, from the `from .module import Name as Name` lines of the root.

    What it loads when asked is imported under `TYPE_CHECKING`, so that types are known.
    """
    tree = ast.parse(inspect.getsource(package))
    lazy = [node.body for node in tree.body if is_for_types(node)]
    found = {}
    for node in chain(tree.body, *lazy):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                if alias.asname is not None:
                    home = importlib.import_module(module, package.__name__)
                    found[alias.asname] = home.__name__
    return found


def constants_then_classes_then_functions(name: str) -> tuple[int, str]:
    """The order that the linter keeps in `__all__`."""
    rank = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return rank, name


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_sorted_and_is_what_the_root_reexports(name: str) -> None:
    package = importlib.import_module(name)
    names = list(package.__all__)
    assert names == sorted(set(names), key=constants_then_classes_then_functions)
    assert set(names) == set(reexports(package))


@pytest.mark.parametrize("name", ["pmll_async.engine", "pmll_async.views"])
def test_what_is_loaded_when_asked_for_is_what_the_types_say(name: str) -> None:
    module = importlib.import_module(name)
    names = reexports(module)
    if name == "pmll_async.engine":
        assert names == module._HOMES
    for public, home in names.items():
        assert getattr(module, public) is getattr(importlib.import_module(home), public)


@pytest.mark.parametrize("name", ["pmll_async", "pmll_async.engine", "pmll_async.views"])
def test_a_name_that_is_not_there_is_an_attribute_error(name: str) -> None:
    module = importlib.import_module(name)
    with pytest.raises(AttributeError, match=f"module {name!r} has no attribute 'nothing'"):
        module.nothing  # noqa: B018  # asking raises


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_are_those_of_the_defining_modules(name: str) -> None:
    package = importlib.import_module(name)
    for public, module in reexports(package).items():
        assert getattr(package, public) is getattr(importlib.import_module(module), public)


def test_every_error_is_public() -> None:
    package, errors = importlib.import_module("pmll_async"), "pmll_async.errors"
    defined = {
        name
        for name, value in vars(importlib.import_module(errors)).items()
        if isinstance(value, type) and value.__module__ == errors and not name.startswith("_")
    }
    assert defined - set(package.__all__) == set()


# What may be imported from elsewhere; every other module is private and may move.
DOORS = {
    "pmll_async.integrity",
    *("pmll_async", "pmll_async.protocols", "pmll_async.telemetry", "pmll_async.testing"),
    *("pmll_async.stores.jsonl", "pmll_async.stores.jsonl.verify", "pmll_async.stores.memory"),
    *("pmll_async.stores.lmdb", "pmll_async.indexes.faiss", "pmll_async.indexes.scann"),
    "pmll_async.indexes.cuda",
    *("pmll_async.text", "pmll_async.text.scorers", "pmll_async.text.embedders.minilm"),
    *("pmll_async.text.embedders.openai", "pmll_async.text.embedders.sentence_transformers"),
    *("pmll_async.text.embedders.wordllama", "pmll_async.models"),
    *("controllers", "controllers.llm", "controllers.otel", "controllers.research"),
    *("controllers.testing", "controllers.tool_agent", "controllers.tools", "controllers.trm"),
    "controllers.watch",
    "pmll_async.sql",
}


def test_models_without_torch_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pmll_async.models", raising=False)
    monkeypatch.setattr("pmll_async.values.extras.find_spec", lambda _: None)
    cure = r"torch and transformers missing: pip install 'pmll-async\[models\]'"
    with pytest.raises(ImportError, match=cure):
        importlib.import_module("pmll_async.models")


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = [*sorted((ROOT / "examples").glob("*.py"))]
IMPORTED = re.compile(
    r"^ *(?:from|import) +((?:pmll_async|controllers|pmll_controllers)[\w.]*)", re.MULTILINE
)


@pytest.mark.parametrize("path", [*PAGES, *PROGRAMS], ids=lambda path: path.name)
def test_what_people_are_shown_comes_through_the_doors(path: Path) -> None:
    found = IMPORTED.findall(path.read_text(encoding="utf-8"))
    assert {name.replace("pmll_controllers", "controllers") for name in found} - DOORS == set()


@pytest.mark.parametrize("door", sorted(DOORS))
def test_a_door_is_there_and_says_what_is_behind_it(door: str) -> None:
    spec = find_spec(door)
    assert spec is not None
    assert spec.origin is not None
    assert ast.get_docstring(ast.parse(Path(spec.origin).read_bytes()))
