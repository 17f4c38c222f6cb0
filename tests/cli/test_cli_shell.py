"""`pmll` as a program: help, versions, wrong calls, commands of other packages, what is missing."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cli_support import PMLL, ROOT, TIMEOUT, environment, make_lattice, pmll

COMMANDS = ["info", "log", "verify", "export", "import"]

PLUGIN_FILES = {
    "fine/__init__.py": "raise SystemExit('the package was imported for its help')",
    "fine/commands.py": "from good import greet as run\n",
    "good.py": '''
from pathlib import Path
Path("imported").touch()

def greet(name: str = "you", times: int = 1) -> None:
    """Say hello, once or more.

    This is for `pmll greet --help`.
    """
    print(f"hello {name}" * times)
''',
    "hopping.py": "from good import greet as wave\n",
    "silent.py": "def quiet() -> None: ...\n",
    "bad.py": "def broken() -> None: ...\nraise RuntimeError('this module\\nis broken')\n",
    "failing.py": '''
from pmll_async import StoreError

def fail() -> None:
    """Raise an expected error."""
    raise StoreError("nothing\\nto see")
''',
    "others-1.5.dist-info/METADATA": "Metadata-Version: 2.1\nName: others\nVersion: 1.5\n",
    "others-1.5.dist-info/entry_points.txt": """
[pmll.commands]
greet = good:greet
wave = hopping:wave
quiet = silent:quiet
inner = fine.commands:run
broken = bad:broken
absent = nowhere.at.all:function
fail = failing:fail
info = good:greet
""",
}


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    for name, text in PLUGIN_FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


# --- help and calls ----------------------------------------------------------------------------


def test_help_names_every_command_and_exit_code() -> None:
    done = pmll("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout
    for code in (0, 1, 2, 3, 130, 141):
        assert f"\n    {code} " in done.stdout
    assert "\x1b" not in done.stdout
    ours = done.stdout.partition("\n  info ")[2].partition("\n  demo ")[0]
    assert "..." not in ours  # no summary is cut off


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_gives_an_example(command: str) -> None:
    done = pmll(command, "--help")
    assert done.returncode == 0
    assert f"\n    pmll {command} " in done.stdout
    assert "--json" in done.stdout
    assert "PMLL_INTEGRITY_KEY_FILE" in done.stdout


def test_version() -> None:
    done = pmll("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "pmll")


@pytest.mark.parametrize(
    "arguments",
    [["inof", "x"], ["info"], ["info", "x", "y"], ["log", "x", "--limit", "-1"], ["--what"]],
    ids=" ".join,
)
def test_a_wrong_call_is_told_apart_from_an_error(arguments: list[str]) -> None:
    done = pmll(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_call_without_anything_shows_the_help() -> None:
    done = pmll()
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["info", "log", "verify", "export"])
def test_where_there_is_no_lattice_one_sentence_says_so(command: str, tmp_path: Path) -> None:
    done = pmll(command, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"pmll: {tmp_path} is not a store\n"
    assert list(tmp_path.iterdir()) == []


def test_the_project_installs_the_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["pmll"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


# --- commands of other packages ----------------------------------------------------------------


def test_help_lists_commands_of_others_without_importing_them(
    plugins: Path, tmp_path: Path
) -> None:
    done = pmll("--help", env=environment([plugins]), cwd=tmp_path)
    assert done.returncode == 0
    listed = {line[2:].partition(" ")[0]: line[9:].strip() for line in done.stdout.splitlines()}
    assert listed["greet"] == listed["wave"] == listed["inner"] == "Say hello, once or more."
    assert listed["quiet"] == "A command of others 1.5."
    assert "\n  absent" not in done.stdout
    assert not (tmp_path / "imported").exists()
    sentences = [line for line in done.stderr.splitlines() if "'absent'" in line]
    assert done.stderr.splitlines() == sentences
    assert len(sentences) == 1
    assert "others 1.5" in sentences[0]


def test_a_command_of_another_package_runs_and_has_help(plugins: Path, tmp_path: Path) -> None:
    env = environment([plugins])
    done = pmll("greet", "--name", "lattice", env=env, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello lattice\n", "")
    assert "This is for" in pmll("wave", "--help", env=env, cwd=tmp_path).stdout
    done = pmll("greet", "--times", "x", env=env, cwd=tmp_path)
    assert (done.returncode, "Error: " in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "reason"), [("broken", "this module is broken"), ("absent", "nowhere")]
)
def test_a_broken_command_is_one_line_and_hurts_no_other(
    plugins: Path, tmp_path: Path, name: str, reason: str
) -> None:
    env = environment([plugins])
    done = pmll(name, env=env, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"pmll: the command {name!r} of others 1.5 cannot be loaded: ")
    assert reason in done.stderr
    folder = make_lattice(tmp_path / "memory")
    done = pmll("info", folder, "--json", env=env, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["revision"] == 10


def test_an_expected_error_of_another_package_is_one_sentence(
    plugins: Path, tmp_path: Path
) -> None:
    done = pmll("fail", env=environment([plugins]), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "pmll: nothing to see\n")


# --- what is missing ---------------------------------------------------------------------------

WITHOUT = """
import sys
sys.modules[{name!r}] = None
from pmll_async.cli import main
main()
"""


@pytest.mark.parametrize("name", ["typer", "rich"])
def test_without_the_extra_the_command_says_what_to_install(name: str, tmp_path: Path) -> None:
    folder = make_lattice(tmp_path / "memory")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(name=name), "info", str(folder)],
        capture_output=True,
        check=False,
        env=environment(),
        text=True,
        timeout=TIMEOUT,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "pip install 'pmll-async[cli]'" in done.stderr


def test_help_to_a_reader_that_is_gone_is_quiet() -> None:
    process = subprocess.Popen(
        [*PMLL, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    with process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.wait(TIMEOUT)
        assert process.stderr.read() == b""
