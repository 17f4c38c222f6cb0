"""Runs `pmll` and scripts in forks of one process that has imported it: `pmll_forks.py SOCKET`.

A request is a JSON object, with the files that become the command's stdin, stdout and stderr; the
answer is its exit code. So a command costs what it does, not what importing everything does. Where
a `script` is named it is run as with `python -W error`.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from pmll_async import engine
from pmll_async.cli import main

PRELOADED = (
    *("pmll_async.cli.app", "pmll_async.stores.jsonl", "pmll_controllers.demo"),
    *("pmll_controllers.cli.history", "pmll_controllers.cli.run"),
)


def begin(asked: dict[str, Any], files: list[int]) -> None:
    """Become the command's process."""
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = [asked["script"] or "pmll", *asked["arguments"]]


def run(script: str) -> None:
    """Run a script to its end, as Python does it."""
    sys.path[0] = str(Path(script).parent)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")
    warnings.simplefilter("error")
    runpy.run_path(script, run_name="__main__")
    sys.exit()


def serve(requests: socket.socket) -> None:
    """Run one command after the other, until nobody asks any more."""
    while True:
        asked, files, *_ = socket.recv_fds(requests, 1 << 18, 3)
        if not asked:
            return
        with warnings.catch_warnings():
            # Of threads there are only those of numpy's library, which stands it.
            warnings.simplefilter("ignore")
            pid = os.fork()
        if not pid:
            requests.close()
            request = json.loads(asked)
            begin(request, files)
            run(request["script"]) if request["script"] else main()
        for file in files:
            os.close(file)
        _, status = os.waitpid(pid, 0)
        requests.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    # As with `-c`: what is in the working folder can be imported.
    sys.path[0] = ""
    for module in PRELOADED:
        import_module(module)
    engine.load_parts()
    serve(socket.socket(fileno=int(sys.argv[1])))
