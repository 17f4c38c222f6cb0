"""`controllers` and `pmll_controllers` are one set of modules, however the package got there.

An application that has a `controllers` of its own reaches ours by the second name, and so does the
command line; because the folder imports itself relatively, it may also be copied under any name.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

APPLICATION = """
import asyncio
import sys

{first}
from {ours} import Done, Plan, RTMController
import controllers
from pmll_async import Candidate, Lattice
from pmll_async.stores.memory import MemoryStore

assert controllers.OWNER == "the application"
assert not [name for name in sys.modules if name.startswith("controllers.")]


async def main():
    async with Lattice(MemoryStore(), dim=2) as lattice:
        controller = RTMController(
            lattice,
            plan=lambda ctx: Plan("see"),
            act=[lambda ctx, plan: Candidate(key=[1, 0])],
            reflect=lambda ctx, outcome: Done("reached"),
        )
        print((await controller.run("reach ours")).text)


asyncio.run(main())
"""

AGENT = """
from {ours} import Done, Plan, RTMController
from pmll_async import Candidate, Lattice

controller = RTMController(
    Lattice.open("runs", dim=2),
    plan=lambda ctx: Plan("see"),
    act=[lambda ctx, plan: Candidate(key=[1, 0])],
    reflect=lambda ctx, outcome: Done("reached"),
)
"""

ONE_SET = """
import importlib
import importlib.resources
import pickle
import sys
from importlib.util import find_spec

first, second = sys.argv[1:]
one, other = importlib.import_module(f"{first}.llm"), importlib.import_module(f"{second}.llm")
assert one is other
assert importlib.import_module(first) is importlib.import_module(second)

import controllers
import controllers.events
import controllers.llm.steps as under_the_alias
import pmll_controllers
import pmll_controllers.llm.steps
from controllers import Done, llm
from pmll_controllers.steps import Done as same

assert controllers is pmll_controllers and llm is pmll_controllers.llm and Done is same
assert under_the_alias is pmll_controllers.llm.steps is controllers.llm.steps
assert importlib.resources.files("controllers.llm").joinpath("prompts/plan.md").is_file()
assert find_spec("controllers.nothing") is None
assert find_spec("controllers.otel").origin == find_spec("pmll_controllers.otel").origin
for name, module in sys.modules.items():
    if name.startswith("controllers."):
        assert module is sys.modules[f"pmll_{name}"], name

told = Done("reached", 17)
assert pickle.loads(pickle.dumps(told)) == told
earlier = pickle.dumps(told, protocol=0).replace(b"pmll_controllers", b"controllers")
assert b"pmll_controllers" not in earlier and type(pickle.loads(earlier)) is Done
assert sum(type(finder).__name__ == "_Aliases" for finder in sys.meta_path) == 1
print("one")
"""


def build(target: str, folder: Path) -> Path:
    """A wheel, unpacked as an installer does."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder / "dist")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return compiled(folder)


def compiled(folder: Path) -> Path:
    """As an installer leaves it, so that not every process compiles what it imports."""
    assert compileall.compile_dir(folder, quiet=1)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that an editable install puts on the path; nothing is copied from it."""
    folder = build("wheel:editable", tmp_path_factory.mktemp("editable"))
    assert {path.suffix for path in folder.glob("*") if path.name != "dist"} == {
        *(".dist-info", ".pth")
    }
    (path,) = folder.glob("*.pth")
    return Path(path.read_text(encoding="utf-8"))


@pytest.fixture(params=["installed", "editable"])
def site(request: pytest.FixtureRequest) -> Iterator[Path]:
    return request.getfixturevalue(request.param)


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A folder with a package of the application's own."""
    folder = tmp_path / "application"
    (folder / "controllers").mkdir(parents=True)
    (folder / "controllers" / "__init__.py").write_text('OWNER = "the application"\n')
    return folder


def vendored(site: Path, name: str) -> Path:
    """Copied into the application under a name of its own."""
    site.mkdir()
    # Byte code comes and goes under the hands of other processes.
    sources = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "pmll_async", site / "pmll_async", ignore=sources)
    shutil.copytree(ROOT / "controllers", site / name, ignore=sources)
    return site


def python(*arguments: object, path: list[Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    # A script's own folder, or the current one, comes first on sys.path, then PYTHONPATH.
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "order", [("controllers", "pmll_controllers"), ("pmll_controllers", "controllers")]
)
def test_both_names_are_one_set_of_modules(
    site: Path, tmp_path: Path, order: tuple[str, str]
) -> None:
    done = python("-c", ONE_SET, *order, path=[site], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "one\n"), done.stderr


def test_a_wheel_has_both_folders_whole(installed: Path) -> None:
    """For type checkers, which find either without what the modules do when they run."""
    files = {
        name: {path.relative_to(installed / name) for path in (installed / name).rglob("*")}
        for name in ("controllers", "pmll_controllers")
    }
    assert files["controllers"] == files["pmll_controllers"]
    assert {Path("py.typed"), Path("llm/prompts/plan.md")} < files["controllers"]


@pytest.mark.parametrize("first", ["import controllers", ""], ids=["theirs first", "ours first"])
def test_ours_is_reached_beside_the_applications_own(
    installed: Path, application: Path, first: str
) -> None:
    main = application / "main.py"
    main.write_text(APPLICATION.format(ours="pmll_controllers", first=first))
    done = python(main, path=[installed], cwd=application)
    assert (done.returncode, done.stdout) == (0, "reached\n"), done.stderr


def test_a_copy_under_another_name_is_on_its_own(application: Path, tmp_path: Path) -> None:
    site = vendored(tmp_path / "site", "loops")
    main = application / "main.py"
    main.write_text(APPLICATION.format(ours="loops", first="import controllers"))
    done = python(main, path=[site], cwd=application)
    assert (done.returncode, done.stdout) == (0, "reached\n"), done.stderr
    done = python("-m", "loops", "--help", path=[site], cwd=tmp_path)
    assert "--fresh" in done.stdout, done.stderr


def test_a_copy_without_the_second_name_keeps_the_first(installed: Path, tmp_path: Path) -> None:
    """Also where another copy is installed: that one's classes are not this one's."""
    site = vendored(tmp_path / "site", "controllers")
    code = "import controllers; print(controllers.__name__, controllers.Done.__module__)"
    for path in ([site], [site, installed]):
        done = python("-c", code, path=path, cwd=tmp_path)
        assert done.stdout == "controllers controllers.steps\n", done.stderr


@pytest.mark.parametrize("name", ["controllers", "pmll_controllers"])
def test_the_demo_runs_under_either_name(installed: Path, tmp_path: Path, name: str) -> None:
    done = python("-m", name, "--help", path=[installed], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--fresh" in done.stdout


# --- the command line ----------------------------------------------------------------------------


def pmll(*arguments: str, path: list[Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    return python("-m", "pmll_async.cli", *arguments, path=path, cwd=cwd)


@pytest.mark.slow
def test_the_commands_work_beside_the_applications_own(installed: Path, application: Path) -> None:
    (application / "agent.py").write_text(AGENT.format(ours="pmll_controllers"))
    path = [application, installed]
    told = "run", "agent:controller", "reach ours", "--run-id", "first", "--quiet"
    calls = {
        "run": told,
        "resume": ("resume", "agent:controller", "first", "--quiet"),
        "runs": ("runs", "runs", "--json"),
        "replay": ("replay", "runs", "first", "--json"),
        "demo": ("demo", "--help"),
    }
    done = {name: pmll(*call, path=path, cwd=application) for name, call in calls.items()}
    assert [each.stderr for each in done.values()] == [""] * len(calls)
    assert done["run"].stdout == done["resume"].stdout == "reached\n"
    assert json.loads(done["runs"].stdout)["run_id"] == "first"
    assert json.loads(done["replay"].stdout.splitlines()[-1])["status"] == "done"
    assert "--fresh" in done["demo"].stdout
    told = pmll("--help", path=path, cwd=application).stdout
    assert "Run a controller of yours towards a goal." in told


@pytest.mark.parametrize("name", ["controllers", "pmll_controllers"])
def test_a_controller_of_either_name_is_run(installed: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "agent.py").write_text(AGENT.format(ours=name))
    done = pmll("run", "agent:controller", "go", "--quiet", path=[installed], cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "reached\n", "")
