"""A server on loopback that speaks as much of the OpenAI protocol as an embedder uses."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from embedding_support import PATIENCE, expected

Reply = tuple[int, Any]
Script = Callable[[list[str], int], Reply]


def rows(texts: list[str]) -> list[dict[str, Any]]:
    vectors = expected(texts).tolist()
    return [{"object": "embedding", "index": n, "embedding": row} for n, row in enumerate(vectors)]


def body(data: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return {"object": "list", "data": data, "model": "test", "usage": usage}


def good(texts: list[str], _: int) -> Reply:
    return 200, body(rows(texts))


def shuffled(texts: list[str], _: int) -> Reply:
    return 200, body(rows(texts)[::-1])


def one_short(texts: list[str], _: int) -> Reply:
    return 200, body(rows(texts)[:-1])


def one_twice(texts: list[str], _: int) -> Reply:
    return 200, body(rows(texts)[:-1] + rows(texts)[:1])


def other_dimensions(texts: list[str], _: int) -> Reply:
    return 200, body([{**row, "embedding": row["embedding"][:-1]} for row in rows(texts)])


def not_finite(texts: list[str], _: int) -> Reply:
    return 200, body(
        [{**row, "embedding": [math.inf, *row["embedding"][1:]]} for row in rows(texts)]
    )


def busy_once(texts: list[str], request: int) -> Reply:
    return good(texts, request) if request else (429, {"error": {"message": "too many"}})


def broken(_texts: list[str], _: int) -> Reply:
    return 500, {"error": {"message": "broken"}}


class Server:
    """What was asked of it, and what it answers."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.url = ""

    def reply(self, request: dict[str, Any], key: str | None) -> Reply:
        self.requests.append(request)
        self.keys.append(key)
        self.asked.set()
        assert self.may_answer.wait(PATIENCE)
        return self.script(request["input"], len(self.requests) - 1)


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            request = json.loads(self.rfile.read(length))
            status, answer = server.reply(request, self.headers["Authorization"])
            found = json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Retry-After-Ms", "1")
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)
            except OSError:
                # The client has gone, as one of the tests wants it to.
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
            pass

    return Handler


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    server = Server(script)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(server)) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.may_answer.set()
            http.shutdown()
            thread.join()


def base64_floats(vector: list[float]) -> str:
    import base64

    return base64.b64encode(np.array(vector, dtype=np.float32).tobytes()).decode()


def encoded(texts: list[str], _: int) -> Reply:
    data = [{**row, "embedding": base64_floats(row["embedding"])} for row in rows(texts)]
    return 200, body(data)
