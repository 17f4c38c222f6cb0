"""The application of docs/web-service.md: two processes of a real server, and clients over HTTP."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.cli_support import ROOT, environment, pmll

pytest.importorskip("starlette", reason="starlette is missing: pip install starlette")
pytest.importorskip("uvicorn", reason="uvicorn is missing: pip install uvicorn")

PAGE = (ROOT / "docs" / "web-service.md").read_text(encoding="utf-8")
PATIENCE = 60.0
QUESTION = "Where is the spare key?"


class Process:
    """A process that serves the application; it listens before it has started."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
            self.running = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "app:app", "--fd", str(listening.fileno())],
                cwd=folder,
                env=environment(),
                pass_fds=[listening.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )

    def ask(self, user: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
        client = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            told = None if body is None else json.dumps(body)
            client.request(method, path, told, {"X-User": user})
            answer = client.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            client.close()

    def remember(self, user: str, text: str, key: str = "1") -> tuple[int, Any]:
        return self.ask(user, "POST", "/remember", {"text": text, "id": key})

    def context(self, user: str) -> str:
        status, told = self.ask(user, "GET", f"/context?{urlencode({'question': QUESTION})}")
        assert status == 200, told
        assert len(told["anchors"]) == len(re.findall(r"^\[", told["text"], re.MULTILINE))
        return str(told["text"])

    def stop(self) -> str:
        """End it as a supervisor does; what it said."""
        self.running.send_signal(signal.SIGTERM)
        return self.running.communicate(timeout=PATIENCE)[1]


@contextmanager
def serving(folder: Path) -> Iterator[Process]:
    process = Process(folder)
    try:
        yield process
    finally:
        if process.running.poll() is None:
            process.running.kill()
            process.running.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    [app] = re.findall(r"This is `app\.py`.*?```py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "app.py").write_text(app, encoding="utf-8")
    return tmp_path


def test_users_have_memories_of_their_own_in_the_process_that_is_theirs(folder: Path) -> None:
    with serving(folder) as first, serving(folder) as second:
        status, told = first.remember("ann", "The spare key is in the green drawer.")
        assert status == 200
        # Who asks again, for lack of an answer say, stores nothing again.
        assert first.remember("ann", "The spare key is in the green drawer.") == (200, told)
        assert second.remember("../ben", "The spare key is under the mat.")[0] == 200
        assert "green drawer" in first.context("ann")
        assert "mat" not in first.context("ann")
        assert "under the mat" in second.context("../ben")
        # The wrong process says so, and does not write into what is another's.
        status, told = second.remember("ann", "The spare key is gone.", "2")
        assert (status, told) == (503, {"error": "another process has this memory"})
        assert "Application shutdown complete" in first.stop()
        # Its users may go to the other process now.
        assert "green drawer" in second.context("ann")
        assert second.ask("ann", "DELETE", "/me") == (200, {"left": True})
        assert second.context("ann") == ""
        assert "Application shutdown complete" in second.stop()


def test_a_backup_is_made_beside_the_server_and_brings_all_back(folder: Path) -> None:
    [script] = re.findall(r"```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (folder / "pmll").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from pmll_async.cli import main; main()" "$@"\n'
    )
    (folder / "pmll").chmod(0o700)
    env = environment()
    env["PATH"] = f"{folder}:{env['PATH']}"
    with serving(folder) as process:
        process.remember("ann", "The spare key is in the green drawer.")
        subprocess.run(["sh", "-e", "-c", script], cwd=folder, env=env, check=True)
        process.remember("ann", "The spare key is gone.", "2")
    [user] = (folder / "backup" / "users").iterdir()
    (folder / "users").rename(folder / "lost")
    back = folder / "users" / user.name
    back.mkdir(parents=True)
    (user / "tenant.json").rename(back / "tenant.json")
    assert pmll("import", user / "memory.jsonl", back / "memory").returncode == 0
    with serving(folder) as process:
        found = process.context("ann")
        assert "green drawer" in found
        assert "gone" not in found
