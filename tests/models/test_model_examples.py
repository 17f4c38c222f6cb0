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
PAGE = ROOT / "docs" / "models-and-memory.md"

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
    assert len(program.read_text(encoding="utf-8").splitlines()) < 60
    found = run(tmp_path, program, *arguments)
    assert re.fullmatch(output.lstrip(), found), found
    assert list(tmp_path.iterdir()) == []
    if name == "logits_bias":
        without, _, _, forgotten = found.splitlines()
        assert without.partition(":")[2].strip() == forgotten.partition(":")[2].strip()


def test_what_the_page_shows_runs(tmp_path: Path) -> None:
    blocks = re.findall(
        r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) >= 2
    for number, block in enumerate(blocks):
        program = tmp_path / f"block{number}.py"
        program.write_text(block, encoding="utf-8")
        assert run(tmp_path, program)


def test_torch_is_left_as_it_was() -> None:
    """Nothing here changes what the whole process shares."""
    before = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    import pmll_async.models.knn
    import pmll_async.models.nano  # noqa: F401

    assert (torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()) == before
