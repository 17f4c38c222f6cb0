"""A server on loopback that speaks the OpenAI protocol's chat completions, well and badly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
EVENTS = "text/event-stream"
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


@dataclass
class Answer:
    """What is written as the answer to one request, piece by piece; an event is waited for.

    `cut`: the connection ends before the last chunk. `wait`: only when the test says so.
    """

    pieces: Sequence[bytes | asyncio.Event]
    status: int = 200
    kind: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    wait: asyncio.Event | None = None


def said(text: str | None, *, finish: str = "stop", usage: Any = USAGE, **message: Any) -> Answer:
    choice = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": text, **message},
    }
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "test"}
    return Answer([json.dumps({**body, "choices": [choice], "usage": usage}).encode()])


def failing(status: int, **headers: str) -> Answer:
    body = json.dumps({"error": {"message": f"no luck ({status})"}}).encode()
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer([body], status, headers={"Retry-After-Ms": "1", **told})


def event(data: Any) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def streamed(*texts: str, finish: str | None = "stop", usage: Any = USAGE) -> Answer:
    """Chunks of text, then the reason, then the usage: as the protocol has it."""
    body = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "test"}
    choices: list[Any] = [[{"index": 0, "delta": {"content": text}}] for text in texts]
    if finish is not None:
        choices.append([{"index": 0, "delta": {}, "finish_reason": finish}])
    events = [event({**body, "choices": choice}) for choice in choices]
    if usage is not None:
        events.append(event({**body, "choices": [], "usage": usage}))
    if finish is not None:
        events.append(event(b"[DONE]"))
    return Answer(events, kind=EVENTS)


@dataclass
class Server:
    """What it was asked, and what it answers: one after another, the last one for ever."""

    answers: list[Answer]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    @property
    def contents(self) -> list[str]:
        """The last message of each request."""
        return [request["messages"][-1]["content"] for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client may go in the middle of an answer; several tests want it to.
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._answer_one(reader, writer):
                pass
        writer.close()
        self.left.set()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
        }
        assert head[0].startswith("POST /v1/chat/completions "), head[0]
        body = await reader.readexactly(int(headers["content-length"]))
        answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append(json.loads(body))
        self.headers.append(headers)
        self.asked.set()
        if answer.wait is not None:
            await self._until(answer.wait, reader)
        return await _write(answer, writer)

    async def _until(self, event: asyncio.Event, reader: asyncio.StreamReader) -> None:
        """Wait for the test, or until the client has gone: it sends nothing before its answer."""
        async with asyncio.TaskGroup() as tasks:
            gone = tasks.create_task(reader.read(1))
            may = tasks.create_task(event.wait())
            done, waiting = await asyncio.wait({gone, may}, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
        if gone in done:
            raise ConnectionResetError("the client has gone")


async def _write(answer: Answer, writer: asyncio.StreamWriter) -> bool:
    headers = {"Content-Type": answer.kind, "Transfer-Encoding": "chunked", **answer.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {answer.status} Told\r\n{head}\r\n".encode())
    for piece in answer.pieces:
        if isinstance(piece, asyncio.Event):
            await piece.wait()
            continue
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
    if not answer.cut:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    return not answer.cut


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[Server]:
    server = Server(list(answers))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield server
    finally:
        listening.close()
        # Only once its clients are closed does a server have no tasks left.
        await listening.wait_closed()
