"""`pmll info`, `log` and `verify`: what they print, for people and for programs."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from itertools import pairwise
from pathlib import Path

import pytest
from cli_support import (
    BEGIN,
    DIM,
    PMLL,
    TIMEOUT,
    Writer,
    environment,
    make_lattice,
    make_long_lattice,
    pmll,
)

from pmll_async import Lattice


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lattice(tmp_path_factory.mktemp("cli") / "memory")


def on_a_terminal(*arguments: str | Path, columns: int) -> str:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = environment(TERM="xterm-256color")
    command = [*PMLL, *map(str, arguments)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # a terminal that nobody holds open any more
                break
        process.wait(TIMEOUT)
    os.close(ours)
    return seen.decode()


# --- info --------------------------------------------------------------------------------------


async def test_info_for_programs_agrees_with_the_lattice(folder: Path) -> None:
    done = pmll("info", folder, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    async with Lattice.open(folder, read_only=True) as lattice:
        assert (told["dim"], told["value_dim"]) == (lattice.dim, lattice.value_dim)
        assert (told["lines"], told["revision"]) == (len(lattice), lattice.revision)
        assert (told["head"], told["digest"]) == (lattice.head, lattice.digest)
    assert (told["notes"], told["branches"], told["keyed"]) == (1, 1, False)
    assert BEGIN < told["last_commit"] < BEGIN + 20
    assert told["segments"] == [{"file": "log-00000001.jsonl", "bytes": told["bytes"]}]
    assert (folder / "log-00000001.jsonl").stat().st_size == told["bytes"]
    assert (told["writer"], told["open_for_writing"], told["clean"]) == (None, False, True)


def test_info_for_people(folder: Path) -> None:
    told = json.loads(pmll("info", folder, "--json").stdout)
    done = pmll("info", folder)
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert rows["dimensions"] == f"keys {DIM}, values {DIM}"
    assert rows["lines"] == "7 on the chain, of these notes 1"
    assert (rows["head"], rows["digest"]) == (told["head"], told["digest"])
    assert rows["writer"] == "none"
    assert "\x1b" not in done.stdout
    assert not any(line.endswith(" ") for line in done.stdout.splitlines())


async def test_info_shows_a_novelty_window(tmp_path: Path) -> None:
    for window, shown in ((None, "of all lines"), (512, "of the newest 512 live lines")):
        path = tmp_path / str(window)
        async with Lattice.open(path, dim=DIM, novelty_window=window):
            pass
        assert json.loads(pmll("info", path, "--json").stdout)["novelty_window"] == window
        assert re.search(rf"^novelty +{shown}$", pmll("info", path).stdout, re.MULTILINE)


async def test_info_shows_pins(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    async with Lattice.open(path, dim=DIM) as lattice:
        await lattice.pin("embedder", "e1")
        await lattice.pin("\x1b[2J", "\x9b1m")
    assert json.loads(pmll("info", path, "--json").stdout)["pins"] == {
        "embedder": "e1",
        "\x1b[2J": "\x9b1m",
    }
    shown = pmll("info", path).stdout
    assert re.search(r"^pin embedder +e1$", shown, re.MULTILINE)
    assert r"pin \u001b[2J" in shown
    assert r"\u009b1m" in shown


def test_info_of_an_empty_lattice(tmp_path: Path) -> None:
    done = pmll("info", make_long_lattice(tmp_path / "empty", 0))
    assert "last commit  none yet\n" in done.stdout


# --- log ---------------------------------------------------------------------------------------


def test_log_for_people_is_newest_first_and_plain_in_a_pipe(folder: Path) -> None:
    done = pmll("log", folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = re.sub(r"\b[0-9a-f]{16}\b", "ANCHOR", done.stdout).splitlines(keepends=True)
    assert [line.split()[0] for line in lines] == list("6543210")
    assert '  note  {"said":"é\\u202e\\u009b","step":3}\n' in lines[4]
    assert '  line  strength 0.5  {"step":1,"topic":"recursion"}\n' in lines[6]
    assert "\x1b" not in done.stdout


def test_log_for_programs_is_one_document_a_line(folder: Path) -> None:
    lines = [json.loads(line) for line in pmll("log", folder, "--json").stdout.splitlines()]
    assert [line["position"] for line in lines] == [6, 5, 4, 3, 2, 1, 0]
    for newer, older in pairwise(lines):
        assert newer["prev_anchor"] == older["anchor"]
    assert lines[-1]["context"] == {"topic": "recursion", "step": 1}
    assert "key" not in lines[0]
    (line,) = pmll("log", folder, "--json", "--vectors", "-n", "1").stdout.splitlines()
    assert len(json.loads(line)["key"]) == DIM


def test_log_narrows(folder: Path) -> None:
    where = '{"topic": "recursion", "step": {"$gte": 2}}'
    (found,) = pmll("log", folder, "--where", where, "--json").stdout.splitlines()
    start = json.loads(found)["anchor"]
    below = pmll("log", folder, "--start", start, "--limit", "2").stdout.splitlines()
    assert [line.split()[0] for line in below] == ["1", "0"]
    assert below[0].split()[3] == start
    nothing = pmll("log", folder, "--where", '{"topic": "none"}')
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "where", ["{", "[1]", '{"a": {"$near": 1}}', "[" * 100_000], ids=["cut", "list", "op", "deep"]
)
def test_a_filter_that_is_none_is_a_wrong_call(folder: Path, where: str) -> None:
    done = pmll("log", folder, "--where", where)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--where" in done.stderr
    assert "Traceback" not in done.stderr


def test_log_from_an_unknown_line_is_an_error(folder: Path) -> None:
    done = pmll("log", folder, "--start", "0123456789abcdef")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pmll: no line has the anchor '0123456789abcdef' here\n"


def test_on_a_terminal_log_keeps_to_its_width_and_has_colours(folder: Path) -> None:
    seen = on_a_terminal("log", folder, columns=60)
    assert "\x1b[" in seen
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen).splitlines()
    assert len(lines) == 7
    assert max(map(len, lines)) == 60
    assert lines[-1].endswith("…")


def test_an_encoding_that_lacks_a_letter_spells_it_out(folder: Path) -> None:
    env = environment(PYTHONIOENCODING="ascii")
    done = pmll("log", folder, env=env)
    assert (done.returncode, "\\xe9" in done.stdout) == (0, True)
    assert '"said":"é' in pmll("log", folder, "--json", env=env).stdout


# --- verify ------------------------------------------------------------------------------------


def test_a_clean_lattice(folder: Path) -> None:
    done = pmll("verify", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout.splitlines()[-1] == "clean: everything that was written is there, and as it was"
    )
    told = json.loads(pmll("verify", folder, "--json").stdout)
    info = json.loads(pmll("info", folder, "--json").stdout)
    assert (told["status"], told["findings"]) == ("clean", [])
    assert told["records"] == info["revision"]
    assert (told["lines"], told["head"], told["digest"]) == (
        info["lines"],
        info["head"],
        info["digest"],
    )


def test_damage_is_told_with_its_place(tmp_path: Path) -> None:
    folder = make_lattice(tmp_path / "memory")
    log = folder / "log-00000001.jsonl"
    data = log.read_bytes()
    start = data.index(b'\n{"n":2,') + 1
    log.write_bytes(data.replace(b'"said":', b'"sayd":'))
    done = pmll("verify", folder)
    assert done.returncode == 1
    assert re.search(rf"^damage +log-00000001\.jsonl +{start} +2 ", done.stdout, re.MULTILINE)
    told = json.loads(pmll("verify", folder, "--json").stdout)
    assert told["status"] == "damaged"
    place = {"severity": "damage", "file": "log-00000001.jsonl", "offset": start, "n": 2}
    assert any(place.items() <= finding.items() for finding in told["findings"])
    refused = pmll("log", folder)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert f"log-00000001.jsonl at byte {start}, record 2: " in refused.stderr


def test_a_torn_end_has_its_own_exit_code(tmp_path: Path) -> None:
    folder = make_lattice(tmp_path / "memory")
    with Writer(folder) as writer:
        writer.put()
        writer.kill()
    with (folder / "log-00000001.jsonl").open("ab") as log:
        size = log.tell()
        log.write(b'{"n":11,"d":10,"op":"put","t":17')
    done = pmll("verify", folder)
    assert done.returncode == 3
    assert re.search(rf"^torn +log-00000001\.jsonl +{size} +11 ", done.stdout, re.MULTILINE)
    assert json.loads(pmll("verify", folder, "--json").stdout)["status"] == "torn"
    assert log_size(folder) == size + 32
    assert "did not close it" in pmll("info", folder).stdout
    assert pmll("log", folder, "-n", "1").returncode == 0


def log_size(folder: Path) -> int:
    return (folder / "log-00000001.jsonl").stat().st_size


def test_verify_shows_a_bar_on_a_terminal_and_takes_it_away(folder: Path) -> None:
    seen = on_a_terminal("verify", folder, columns=100)
    assert "verifying" in seen
    assert "clean: everything that was written is there, and as it was" in seen


# --- beside a writer ---------------------------------------------------------------------------


def test_everything_that_reads_works_beside_a_writer(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    with Writer(folder) as writer:
        first = writer.put()
        told = json.loads(pmll("info", folder, "--json").stdout)
        assert (told["lines"], told["head"]) == (1, first)
        assert (told["writer"]["pid"], told["open_for_writing"]) == (writer.pid, True)
        assert f"process {writer.pid} on " in pmll("info", folder).stdout
        second = writer.put()
        assert [line.split()[3] for line in pmll("log", folder).stdout.splitlines()] == [
            second,
            first,
        ]
        assert pmll("verify", folder).returncode == 0
        export = pmll("export", folder)
        assert (export.returncode, export.stdout.count("\n")) == (0, 3)
        refused = pmll("import", "-", folder, stdin=export.stdout.encode())
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert f"process {writer.pid}" in refused.stderr
    assert pmll("info", folder).stdout.splitlines()[-1] == (
        "recovery     not needed; the last writer closed it"
    )


def test_nothing_that_only_reads_changes_a_byte(tmp_path: Path) -> None:
    folder = make_lattice(tmp_path / "memory")
    before = contents(folder)
    for command in ("info", "log", "verify", "export"):
        assert pmll(command, folder).returncode == 0
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
