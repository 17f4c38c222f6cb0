"""Runs `pmll` in forks of one process that has imported it: called as `pmll_forks.py SOCKET`.

A request is a JSON object, with the files that become the command's stdin, stdout and stderr; the
answer is its exit code. So a command costs what it does, not what importing everything does.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import warnings
from importlib import import_module
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
    sys.argv = ["pmll", *asked["arguments"]]


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
            begin(json.loads(asked), files)
            main()
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
