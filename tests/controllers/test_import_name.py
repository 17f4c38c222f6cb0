"""An application that has a package `controllers` of its own still reaches ours.

The wheel carries ours a second time, as `pmll_controllers`; and because the folder imports itself
relatively, an application may also keep a copy under any name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

APPLICATION = """
import asyncio
import sys

import controllers
from {ours} import Done, Plan, RTMController
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


def installed(site: Path) -> str:
    """Built and unpacked as an installer does; named as the README says."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(site / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (site / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for file in ("py.typed", "llm/prompts/plan.md"):
        assert (site / "pmll_controllers" / file).exists()
    return "pmll_controllers"


def vendored(site: Path) -> str:
    """Copied into the application under a name of its own."""
    # Byte code comes and goes under the hands of other processes.
    sources = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "pmll_async", site / "pmll_async", ignore=sources)
    shutil.copytree(ROOT / "controllers", site / "loops", ignore=sources)
    return "loops"


@pytest.mark.parametrize("arrange", [installed, vendored])
def test_ours_is_reached_beside_the_applications_own(
    arrange: Callable[[Path], str], tmp_path: Path
) -> None:
    site, application = tmp_path / "site", tmp_path / "application"
    site.mkdir()
    (application / "controllers").mkdir(parents=True)
    (application / "controllers" / "__init__.py").write_text('OWNER = "the application"\n')
    main = application / "main.py"
    main.write_text(APPLICATION.format(ours=arrange(site)))
    # A script's own folder comes first on sys.path, then PYTHONPATH, then what is installed.
    done = subprocess.run(
        [sys.executable, str(main)],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "reached\n"), done.stderr


def test_our_demo_runs_under_the_other_name(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    ours = vendored(site)
    done = subprocess.run(
        [sys.executable, "-m", ours, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--fresh" in done.stdout
