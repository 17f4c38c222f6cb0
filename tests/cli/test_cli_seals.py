"""`pmll seal`, `pmll prove` and `pmll verify --expect`, and a verifier that has only the proof."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import ROOT, TIMEOUT, Writer, make_lattice, pmll

from pmll_async import SealError
from pmll_async.cli import seals
from pmll_async.integrity import read_seal, read_trust


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lattice(tmp_path_factory.mktemp("seals") / "memory")


@pytest.fixture
def memory(made: Path, tmp_path: Path) -> Path:
    (tmp_path / "sign.key").write_bytes(bytes(range(32)))
    return Path(shutil.copytree(made, tmp_path / "memory"))


def note(memory: Path, text: str) -> None:
    code = (
        "import asyncio, sys\nfrom pmll_async import Lattice\n"
        "async def main():\n    async with Lattice.open(sys.argv[1]) as lattice:\n"
        "        await lattice.note({'text': sys.argv[2]})\nasyncio.run(main())"
    )
    subprocess.run([sys.executable, "-c", code, memory, text], check=True, timeout=TIMEOUT)


def test_a_seal_is_made_and_verified(memory: Path) -> None:
    trust, sign = memory.with_name("trust.json"), memory.with_name("sign.key")
    done = pmll("seal", memory, "--sign-key-file", sign, "--trust", trust)
    assert (done.returncode, done.stderr) == (0, "")
    seal = read_seal(memory / "seal.json")
    assert f"seal        {seal.number}\n" in done.stdout
    assert seal.key in done.stdout
    assert read_trust(trust).seal == seal
    expect = ["verify", memory, "--expect", memory / "seal.json"]
    done = pmll(*expect, "--public-key", seal.key, "--trust", trust)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the seal holds\n" in done.stdout
    note(memory, "later")
    done = pmll(*expect, "--json")
    told = json.loads(done.stdout)["seal"]
    assert (done.returncode, told) == (0, {"flaws": [], "unsealed": 1, "holds": True})
    done = pmll(*expect, "--public-key", "00" * 32)
    assert done.returncode == 1
    assert "the seal does not hold" in done.stdout
    assert "it was sealed with the key" in done.stdout


def test_an_older_copy_is_found_by_the_trust_file(memory: Path) -> None:
    trust = memory.with_name("trust.json")
    pmll("seal", memory, "--trust", trust)
    older = shutil.copytree(memory, memory.with_name("older"))
    note(memory, "later")
    assert pmll("seal", memory, "--trust", trust).returncode == 0
    assert pmll("verify", older).returncode == 0
    assert pmll("verify", older, "--expect", older / "seal.json").returncode == 0
    done = pmll("verify", older, "--expect", older / "seal.json", "--trust", trust)
    assert done.returncode == 1
    assert "it is older than the remembered seal" in done.stdout
    done = pmll("seal", older, "--trust", trust)
    assert done.returncode == 1
    assert "does not begin with what this seal states" in done.stderr


def test_wrong_calls_are_told(memory: Path, tmp_path: Path) -> None:
    (tmp_path / "short.key").write_bytes(b"short")
    for arguments, said in [
        (["seal", memory, "--sign-key-file", tmp_path / "short.key"], "32 random bytes"),
        (["verify", memory, "--public-key", "zz"], "64 hex digits"),
        (["prove", memory], "give the anchor of a line"),
        (["verify", memory, "--public-key", "00" * 32], "give --expect or --trust"),
    ]:
        done = pmll(*arguments)
        assert done.returncode == 2
        assert said in done.stderr
    for arguments, said in [
        (["verify", memory, "--expect", tmp_path / "missing.json"], "no such file"),
        (["prove", memory, "0123456789abcdef"], "no such file"),
        (["seal", tmp_path], "is not a store"),
    ]:
        done = pmll(*arguments)
        assert done.returncode == 1
        assert said in done.stderr


def test_a_seal_goes_to_the_folder_as_well_unless_somebody_writes(memory: Path) -> None:
    elsewhere = memory.with_name("elsewhere.json")
    assert pmll("seal", memory, "--output", elsewhere).returncode == 0
    assert read_seal(memory / "seal.json") == read_seal(elsewhere)
    note(memory, "later")
    with Writer(memory):
        done = pmll("seal", memory)
        assert done.returncode == 1
        assert "--output" in done.stderr
        assert pmll("seal", memory, "--output", elsewhere).returncode == 0
    assert read_seal(memory / "seal.json").number == 1
    assert read_seal(elsewhere).number == 2


def test_a_folder_that_may_only_be_read_is_sealed_elsewhere(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stand-in for the system's answer: who runs the tests may write anywhere.
    monkeypatch.setattr("os.access", lambda path, mode: path != memory)
    elsewhere = memory.with_name("elsewhere.json")
    seals.seal(memory, None, elsewhere, None, None, as_json=True)
    assert read_seal(elsewhere).number == 1
    assert not (memory / "seal.json").exists()
    with pytest.raises(SealError, match="no place in this store"):
        seals.seal(memory, None, None, None, None, as_json=True)


def test_a_proof_overwrites_nothing_of_anybody(memory: Path) -> None:
    pmll("seal", memory)
    head, log = read_seal(memory / "seal.json").head, memory / "log-00000001.jsonl"
    before = log.read_bytes()
    for place in (log, memory / "seal.json"):
        assert pmll("prove", memory, head, "-o", place).returncode == 1
    assert log.read_bytes() == before
    again = ["prove", memory, head, "-o", memory.with_name("proof.json")]
    assert [pmll(*again).returncode for _ in range(2)] == [0, 0]


def verifier(tmp_path: Path) -> Path:
    """The program of docs/trust.md."""
    text = (ROOT / "docs/trust.md").read_text(encoding="utf-8")
    [code] = re.findall(r"<!-- verifier -->\n```py\n(.*?)```\n<!-- /verifier -->", text, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 60
    assert "pmll_async" not in code
    file = tmp_path / "verifier.py"
    file.write_text(code, encoding="utf-8")
    return file


def test_others_check_proofs_without_this_package(memory: Path, tmp_path: Path) -> None:
    program = verifier(tmp_path)

    def said_of(proof: str) -> str:
        return subprocess.run(
            [sys.executable, "-I", "-S", program],
            input=proof,
            capture_output=True,
            check=True,
            encoding="utf-8",
            timeout=TIMEOUT,
        ).stdout.strip()

    pmll("seal", memory)
    seal = read_seal(memory / "seal.json")
    included = pmll("prove", memory, seal.head).stdout
    assert said_of(included) == "holds"
    shutil.copy(memory / "seal.json", tmp_path / "older.json")
    note(memory, "later")
    pmll("seal", memory)
    done = pmll("prove", memory, "--since", tmp_path / "older.json", "-o", tmp_path / "grew.json")
    assert (done.returncode, done.stdout) == (0, "")
    grew = (tmp_path / "grew.json").read_text(encoding="utf-8")
    assert said_of(grew) == "holds"

    for proof, wrong in [
        (included, {"n": 0}),
        (included, {"record": "{}"}),
        (included, {"path": []}),
        (grew, {"path": []}),
        (grew, {"older": json.loads(included)["seal"] | {"root": "00" * 32}}),
    ]:
        assert said_of(json.dumps(json.loads(proof) | wrong)) == "does not hold"
