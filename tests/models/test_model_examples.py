"""The examples with models run in their short form, and so does what the page about them shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from model_support import torch

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"models-and-memory.md": 3, "trm.md": 1}
"""And how many programs each of them shows at least."""

EXAMPLES = {
    "logits_bias": (
        ["40"],
        r"""
Without a memory: '.*'
Remembered 29 states\.
With it:          '4711\.'
Forgotten:        '.*'
""",
    ),
    "nano_gpt": (
        ["60", "1500"],
        r"""
Remembered 1499 states\.
same source: \d\.\d\d -> \d\.\d\d nats a character
another: \d\.\d\d -> \d\.\d\d nats a character
It goes on: .*
""",
    ),
    "overlay": (
        ["40", "40"],
        r"""
Without it: (line \d\.\d\d, other text \d\.\d\d)
Beta 0\.5:   line \d\.\d\d, other text \d\.\d\d
Beta 1\.0:   line \d\.\d\d, other text \d\.\d\d
Its lines:  it stands
Forgotten:  line [0-9a-f]{16}: forgotten
Unloaded:   \1
""",
    ),
    "whole_loop": (
        ["40"],
        r"""
the first process ended with -9
done; what was thought:
The code of house Mira is 9035\.
The code of house Lyra is 2046\.
The code of house Vega is 4711\.
""",
    ),
    "trm_puzzles": (
        ["400"],
        r"""
([.1-4]{16} -> [1-4]{16}, right: (True|False)
){5}[.1-4]{16} -> [1-4]{16} by [a-z0-9-]+ in \d+ steps
Reconsidered: [1-6] stood, 0 were replaced
One step more: [0-9a-f]{16}
""",
    ),
}


def run(folder: Path, program: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    # Below, triton may list what it has not freed.
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_it_promises(name: str, tmp_path: Path) -> None:
    arguments, output = EXAMPLES[name]
    program = ROOT / "examples" / f"{name}.py"
    # The whole of it is longer than any part.
    most = 160 if name == "whole_loop" else 60
    assert len(program.read_text(encoding="utf-8").splitlines()) < most
    found = run(tmp_path, program, *arguments)
    assert re.fullmatch(output.lstrip(), found), found
    assert list(tmp_path.iterdir()) == []
    if name == "logits_bias":
        without, _, _, forgotten = found.splitlines()
        assert without.partition(":")[2].strip() == forgotten.partition(":")[2].strip()


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_shows_runs(name: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= PAGES[name]
    for number, block in enumerate(blocks):
        program = tmp_path / f"block{number}.py"
        program.write_text(block, encoding="utf-8")
        assert run(tmp_path, program)


def test_torch_is_left_as_it_was() -> None:
    """Nothing here changes what the whole process shares."""
    before = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    import pmll_async.models.knn
    import pmll_async.models.nano  # noqa: F401  # importing is what is looked at

    assert (torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()) == before
