"""`pmll export`, `import` and `convert`: whole files, whole lattices, also when interrupted."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_support import TIMEOUT, environment, make_lattice, make_long_lattice, pmll, start

from pmll_async import Lattice
from pmll_async.cli.moving import _Pause

KEY = b"a secret\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lattice(tmp_path_factory.mktemp("moving") / "memory")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Much more text than a pipe holds."""
    return make_long_lattice(tmp_path_factory.mktemp("moving") / "long", 1500)


def facts(folder: Path) -> tuple[object, ...]:
    told = json.loads(pmll("info", folder, "--json").stdout)
    return told["head"], told["digest"], told["revision"], told["lines"]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_export_is_its_owners_alone(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("an older one, which others may read")
    assert pmll("export", folder, "--output", output).returncode == 0
    assert output.stat().st_mode & 0o077 == 0


# --- there and back ----------------------------------------------------------------------------


def test_a_lattice_goes_through_a_pipe_unchanged(folder: Path, tmp_path: Path) -> None:
    exported = pmll("export", folder)
    assert (exported.returncode, exported.stderr) == (0, "")
    assert json.loads(exported.stdout.splitlines()[0])["pmll"] == "export"
    copy = tmp_path / "deep" / "copy"
    done = pmll("import", "-", copy, stdin=exported.stdout.encode())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"imported 10 records into {copy}\n"
    assert facts(copy) == facts(folder)
    assert pmll("export", copy).stdout == exported.stdout
    assert pmll("verify", copy).returncode == 0


def test_a_lattice_goes_through_a_file(folder: Path, tmp_path: Path) -> None:
    file, copy = tmp_path / "memory.jsonl", tmp_path / "copy"
    done = pmll("export", folder, "-o", file)
    assert done.stdout == f"exported 10 records of {folder} to {file}\n"
    assert file.read_text(encoding="utf-8") == pmll("export", folder).stdout
    told = json.loads(pmll("export", folder, "-o", file, "--json").stdout)
    assert told == {"path": str(folder), "output": str(file), "exported": 10}
    told = json.loads(pmll("import", file, copy, "--json").stdout)
    assert told == {"path": str(copy), "source": str(file), "imported": 10}
    again = pmll("import", file, copy)
    assert again.stdout == f"{copy} has every record of the export already\n"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["memory.jsonl"]


def test_a_keyed_lattice_needs_its_key_both_ways(tmp_path: Path) -> None:
    keyed, key_file = make_lattice(tmp_path / "keyed", KEY), tmp_path / "key"
    key_file.write_bytes(KEY)
    for command in ("info", "log", "verify", "export"):
        refused = pmll(command, keyed)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "--key-file" in refused.stderr
        assert pmll(command, keyed, "--key-file", key_file).returncode == 0
    env = environment(PMLL_INTEGRITY_KEY_FILE=str(key_file))
    exported = pmll("export", keyed, env=env).stdout.encode()
    copy = tmp_path / "copy"
    assert pmll("import", "-", copy, stdin=exported).returncode == 1
    assert not copy.exists()
    assert pmll("import", "-", copy, stdin=exported, env=env).returncode == 0


@pytest.mark.parametrize("size", [0, 65])
def test_a_key_of_no_possible_length_is_a_wrong_call(
    folder: Path, tmp_path: Path, size: int
) -> None:
    key_file = tmp_path / "key"
    key_file.write_bytes(b"k" * size)
    done = pmll("info", folder, "--key-file", key_file)
    assert (done.returncode, "1 to 64 bytes" in " ".join(done.stderr.split())) == (2, True)


# --- refusals ----------------------------------------------------------------------------------


def test_a_malformed_export_is_refused_with_its_line(folder: Path, tmp_path: Path) -> None:
    lines = pmll("export", folder).stdout.splitlines(keepends=True)
    lines[4] = lines[4].replace('"n"', '"m"')
    done = pmll("import", "-", tmp_path / "copy", stdin="".join(lines).encode())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pmll: line 5 of the export: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "content", [b"", b"nonsense\n", os.urandom(4096)], ids=["0", "text", "raw"]
)
def test_what_is_no_export_makes_no_lattice(tmp_path: Path, content: bytes) -> None:
    done = pmll("import", "-", tmp_path / "copy", stdin=content)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "copy").exists()


def test_files_that_cannot_be_read_or_written(folder: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    done = pmll("import", missing, tmp_path / "copy")
    assert (done.returncode, done.stderr) == (1, f"pmll: {missing}: No such file or directory\n")
    done = pmll("export", folder, "-o", missing / "file")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    done = pmll("export", missing)
    assert (done.returncode, done.stderr) == (1, f"pmll: {missing} is not a store\n")


def test_an_export_that_fails_leaves_the_older_file_alone(tmp_path: Path) -> None:
    folder, file = make_lattice(tmp_path / "memory"), tmp_path / "file"
    file.write_text("older")
    log = folder / "log-00000001.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"said":', b'"sayd":'))
    assert pmll("export", folder, "-o", file).returncode == 1
    assert file.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file"]


def test_an_export_goes_into_a_device_as_it_is(folder: Path) -> None:
    assert pmll("export", folder, "-o", "/dev/null").returncode == 0
    assert not Path("/dev/null").is_file()


# --- into another store ------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("copy",), ("copy.lmdb",), ("there.lmdb", "and back")])
def test_a_lattice_goes_into_another_store_unchanged(
    folder: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    if any(name.endswith(".lmdb") for name in names):
        pytest.importorskip("lmdb", reason="lmdb missing: pip install 'pmll-async[lmdb]'")
    source = folder
    for name in names:
        done = pmll("convert", source, tmp_path / name)
        assert (done.returncode, done.stderr) == (0, "")
        again = pmll("convert", source, tmp_path / name)
        assert again.stdout == f"{tmp_path / name} has every record of {source} already\n"
        source = tmp_path / name
    assert pmll("export", source).stdout == pmll("export", folder).stdout
    assert pmll("verify", source).returncode == 0


def test_a_copy_is_brought_up_to_date(tmp_path: Path) -> None:
    source, copy = make_lattice(tmp_path / "memory"), tmp_path / "copy"
    assert pmll("convert", source, copy).returncode == 0

    async def put() -> None:
        async with Lattice.open(source) as lattice:
            await lattice.note({"text": "later"})

    asyncio.run(put())
    done = json.loads(pmll("convert", source, copy, "--json").stdout)
    assert done == {"path": str(source), "target": str(copy), "converted": 1}
    assert facts(copy) == facts(source)


def test_a_copy_of_something_else_is_refused(long: Path, folder: Path, tmp_path: Path) -> None:
    assert pmll("convert", long, tmp_path / "copy").returncode == 0
    before = facts(tmp_path / "copy")
    assert pmll("convert", folder, tmp_path / "copy").returncode == 1
    assert facts(tmp_path / "copy") == before
    itself = pmll("convert", folder, folder)
    assert itself.returncode == 1
    assert "name another, new folder" in itself.stderr


def test_a_copy_of_an_encrypted_lattice_is_encrypted(folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "secret.key"
    key.write_bytes(bytes(range(32)))
    hidden, copy = tmp_path / "hidden", tmp_path / "copy"
    assert pmll("encrypt", folder, hidden, "--new-secret-key-file", key).returncode == 0
    assert pmll("convert", hidden, copy, "--secret-key-file", key).returncode == 0
    assert pmll("verify", copy).returncode == 1
    assert pmll("verify", copy, "--secret-key-file", key).returncode == 0
    assert pmll("export", copy, "--secret-key-file", key).stdout == pmll("export", folder).stdout


# --- interrupted -------------------------------------------------------------------------------


def test_an_interrupted_import_leaves_a_clean_lattice_and_goes_on(
    long: Path, tmp_path: Path
) -> None:
    lines = pmll("export", long).stdout.encode().splitlines(keepends=True)
    copy = tmp_path / "copy"
    with start("import", "-", copy, stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"".join(lines[:1000]))
        process.stdin.flush()
        log = copy / "log-00000001.jsonl"
        wait_until(lambda: log.exists() and log.stat().st_size > 0)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 130
        assert process.stdout.read() == b""
        told = process.stderr.read().decode()
    assert told == f"pmll: interrupted: {copy} is whole; run the same command again to go on\n"
    assert pmll("verify", copy).returncode == 0
    held = json.loads(pmll("info", copy, "--json").stdout)
    assert 0 < held["revision"] < 1000
    assert held["clean"] is True
    done = pmll("import", "-", copy, stdin=b"".join(lines))
    assert done.stdout == f"imported {1500 - held['revision']} records into {copy}\n"
    assert facts(copy) == facts(long)


def test_ctrl_c_waits_for_a_write_and_ends_a_read() -> None:
    before = signal.getsignal(signal.SIGINT)
    pause = _Pause("stopped")
    with pause:
        lines = pause.lines(io.BytesIO(b"1\n2\n").readline)
        assert next(lines) == b"1\n"
        # A write is under way here: whoever reads gets the line to its end first.
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match="stopped"):
            next(lines)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_ends_a_read_that_waits() -> None:
    class Waiting(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("it should not get here")

    pause = _Pause("stopped")
    with pause, pytest.raises(KeyboardInterrupt, match="stopped"):
        next(pause.lines(Waiting().readline))


@pytest.fixture
def ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_stays_ignored_in_the_background(ignored: None) -> None:
    pause = _Pause("stopped")
    with pause:
        signal.raise_signal(signal.SIGINT)
        assert next(pause.lines(io.BytesIO(b"1\n").readline)) == b"1\n"


# --- nobody reads ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["export"], ["log"], ["log", "--json"]], ids=" ".join)
def test_a_reader_that_stops_is_no_error_to_talk_about(long: Path, command: list[str]) -> None:
    with start(*command, long) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(TIMEOUT) == 141
        assert process.stderr.read() == b""
