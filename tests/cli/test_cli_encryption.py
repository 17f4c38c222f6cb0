"""Encrypted lattices on the command line: made, opened, rekeyed, and secrets that stay secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_support import environment, make_lattice, pmll

from pmll_async.cli import secrets
from pmll_async.integrity import Passphrase

COMMANDS = ["info", "log", "verify", "seal", "export"]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "secret.key"
    file.write_bytes(bytes(range(32)))
    return file


@pytest.fixture
def encrypted(tmp_path: Path, key: Path) -> Path:
    """Such a lattice, and beside it the one in clear."""
    make_lattice(tmp_path / "clear")
    done = pmll("encrypt", tmp_path / "clear", tmp_path / "hidden", "--new-secret-key-file", key)
    assert (done.returncode, done.stderr) == (0, "")
    return tmp_path / "hidden"


def test_a_copy_has_the_same_anchors_and_digest(encrypted: Path, key: Path) -> None:
    one = json.loads(pmll("info", encrypted.with_name("clear"), "--json").stdout)
    other = json.loads(pmll("info", encrypted, "--json", "--secret-key-file", key).stdout)
    for name in ("head", "digest", "lines", "dim", "pins", "revision", "last_commit"):
        assert one[name] == other[name]
    assert (one["encrypted"], other["encrypted"]) == (None, "aes-256-gcm")


def test_a_copy_is_not_made_over_its_original(encrypted: Path, key: Path) -> None:
    for original in (encrypted, encrypted.with_name("clear")):
        again = original.with_name(f"{original.name}-too")
        again.symlink_to(original)
        options = ["--secret-key-file", key] if original == encrypted else []
        refused = pmll("encrypt", original, again, "--new-secret-key-file", key, *options)
        assert refused.returncode == 1
        assert "name another, new folder" in refused.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_open_it_by_an_option_or_the_environment(
    encrypted: Path, key: Path, command: str
) -> None:
    done = pmll(command, encrypted, "--secret-key-file", key)
    assert (done.returncode, done.stderr) == (0, "")
    assert pmll(command, encrypted, env=environment(PMLL_SECRET_KEY_FILE=str(key))).returncode == 0
    refused = pmll(command, encrypted)
    assert refused.returncode == 1
    assert "is encrypted" in refused.stderr
    assert "--passphrase-file, or --secret-key-file" in refused.stderr


def test_an_export_is_in_clear_and_goes_back_in(encrypted: Path, key: Path, tmp_path: Path) -> None:
    exported, back = tmp_path / "export.jsonl", tmp_path / "back"
    assert pmll("export", encrypted, "-o", exported, "--secret-key-file", key).returncode == 0
    assert exported.read_text() == pmll("export", tmp_path / "clear").stdout
    words = tmp_path / "words"
    words.write_text("sesame open\nand a second line\n")
    assert pmll("import", exported, back, "--passphrase-file", words).returncode == 0
    assert pmll("verify", back, "--passphrase-file", words).returncode == 0
    words.write_bytes(b"sesame open\r\n")
    assert pmll("verify", back, "--passphrase-file", words).returncode == 0


def test_damage_is_found(encrypted: Path, key: Path) -> None:
    log = encrypted / "log-00000001.jsonl"
    data = bytearray(log.read_bytes())
    data[300] ^= 1
    log.write_bytes(data)
    done = pmll("verify", encrypted, "--secret-key-file", key)
    assert done.returncode == 1
    assert "damaged" in done.stdout


def test_other_keys(encrypted: Path, key: Path, tmp_path: Path) -> None:
    done = pmll("rekey", encrypted, "--secret-key-file", key, "--json")
    assert json.loads(done.stdout) == {"path": str(encrypted), "epoch": 2, "rotated": True}
    words = tmp_path / "words"
    words.write_text("sesame")
    done = pmll("rekey", encrypted, "--secret-key-file", key, "--new-passphrase-file", words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "opens with the new secret" in done.stdout
    assert pmll("info", encrypted, "--passphrase-file", words).returncode == 0
    refused = pmll("info", encrypted, "--secret-key-file", key)
    assert refused.returncode == 1
    assert "it opens with a Passphrase" in refused.stderr
    again = tmp_path / "again"
    done = pmll(
        *("encrypt", encrypted, again, "--passphrase-file", words),
        *("--new-secret-key-file", key, "--suite", "xchacha20-poly1305"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert pmll("verify", again, "--secret-key-file", key).returncode == 0


def test_a_lattice_in_clear_needs_no_secret(encrypted: Path, key: Path) -> None:
    clear = encrypted.with_name("clear")
    for command in (["info", clear], ["rekey", clear]):
        done = pmll(*command, "--secret-key-file", key)
        assert done.returncode == 1
        assert "is not encrypted" in done.stderr
    assert "is not encrypted" in pmll("rekey", clear).stderr


def test_what_is_no_secret_is_told_and_not_shown(encrypted: Path, key: Path) -> None:
    wrong = key.with_name("wrong")
    for option, content in (
        ("--secret-key-file", b"sesame"),
        ("--passphrase-file", b"\n"),
        ("--passphrase-file", b"sesame\xff"),
    ):
        wrong.write_bytes(content)
        done = pmll("info", encrypted, option, wrong)
        assert done.returncode == 2
        assert str(wrong.name) in done.stderr
        assert "sesame" not in done.stderr
    done = pmll("info", encrypted, "--secret-key-file", key, "--passphrase-file", key)
    assert done.returncode == 2
    assert "not both" in done.stderr


def test_without_a_terminal_nothing_is_asked(encrypted: Path, tmp_path: Path) -> None:
    done = pmll("encrypt", tmp_path / "clear", tmp_path / "new")
    assert done.returncode == 2
    assert "--new-passphrase-file" in done.stderr
    assert not (tmp_path / "new").exists()


def test_on_a_terminal_a_passphrase_is_asked_for(
    encrypted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answers = iter(["sesame", "sesame", "sesame", "sesam", "sesame"])

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return next(answers)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", answer)
    assert secrets.new_secret(None, None, "memory") == Passphrase("sesame")
    with pytest.raises(Exception, match="two passphrases"):
        secrets.new_secret(None, None, "memory")
    assert secrets.secret_of(encrypted, None, None) == Passphrase("sesame")
    assert secrets.secret_of(encrypted.with_name("clear"), None, None) is None
    assert len(asked) == 5
    assert asked[0] == "New passphrase of memory: "


def test_runs_are_listed(encrypted: Path, key: Path) -> None:
    assert pmll("runs", encrypted, "--secret-key-file", key).returncode == 0
    done = pmll("runs", encrypted)
    assert done.returncode == 1
    assert "is encrypted" in done.stderr
