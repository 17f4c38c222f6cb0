"""The OpenAI embedder against a real server on loopback: good answers, bad ones, late ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import embedding_server as scripts
import numpy as np
import pytest
from embedding_server import Script, Server, serving
from embedding_support import DIM, PATIENCE, expected

from pmll_async.errors import InvalidInputError, InvalidVectorError
from pmll_async.loop.jobs import Jobs
from pmll_async.protocols import AsyncEmbedder
from pmll_async.text.batcher import EmbeddingBatcher
from pmll_async.text.embedders.openai import OpenAIEmbedder

openai = pytest.importorskip("openai", reason="openai is missing: pip install 'pmll-async[openai]'")


@asynccontextmanager
async def asking(
    script: Script, *, batch: int = 128
) -> AsyncIterator[tuple[OpenAIEmbedder, Server]]:
    with serving(script) as server:
        embedder = OpenAIEmbedder(
            "test", dim=DIM, base_url=server.url, api_key="secret", batch=batch
        )
        try:
            yield embedder, server
        finally:
            await embedder.aclose()


@pytest.mark.parametrize("script", [scripts.good, scripts.shuffled, scripts.encoded])
async def test_vectors_come_in_the_order_of_the_texts(script: Script) -> None:
    texts = [f"text {n}" for n in range(10)]
    async with asking(script) as (embedder, server):
        assert isinstance(embedder, AsyncEmbedder)
        found = await embedder.aembed(texts)
        assert found.dtype == np.float32
        assert np.array_equal(found, expected(texts))
        assert server.keys == ["Bearer secret"]
        assert server.requests[0]["model"] == "test"


async def test_many_texts_go_in_several_requests() -> None:
    texts = [f"text {n}" for n in range(10)]
    async with asking(scripts.good, batch=4) as (embedder, server):
        assert np.array_equal(await embedder.aembed(texts), expected(texts))
        assert [len(request["input"]) for request in server.requests] == [4, 4, 2]


async def test_no_text_needs_no_request() -> None:
    async with asking(scripts.good) as (embedder, server):
        assert (await embedder.aembed([])).shape == (0, DIM)
        assert server.requests == []


async def test_what_no_server_takes_is_sent_as_something_like_it() -> None:
    async with asking(scripts.good) as (embedder, server):
        await embedder.aembed(["", "\ud800"])
        assert server.requests[0]["input"] == [" ", "?"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (scripts.one_short, "3 texts were answered with 2 vectors"),
        (scripts.one_twice, "wrong indices"),
        (scripts.other_dimensions, r"vectors have \[15\] dimensions where 16 are due"),
        (scripts.not_finite, "no finite number"),
    ],
)
async def test_an_answer_that_is_none(script: Script, reason: str) -> None:
    async with asking(script) as (embedder, _):
        with pytest.raises(InvalidVectorError, match=f"embedder 'openai-test-16': .*{reason}"):
            await embedder.aembed(["a", "b", "c"])


async def test_a_busy_server_is_asked_again() -> None:
    async with asking(scripts.busy_once) as (embedder, server):
        assert np.array_equal(await embedder.aembed(["a"]), expected(["a"]))
        assert len(server.requests) == 2


async def test_a_broken_server_is_an_error_of_the_client() -> None:
    async with asking(scripts.broken) as (embedder, _):
        with pytest.raises(openai.InternalServerError, match="broken"):
            await embedder.aembed(["a"])


async def test_cancelling_gives_a_slow_request_up() -> None:
    async with asking(scripts.good) as (embedder, server):
        server.may_answer.clear()
        desk = EmbeddingBatcher(embedder, Jobs().run)
        task = asyncio.create_task(desk.embed(["slow"]))
        assert await asyncio.to_thread(server.asked.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.may_answer.set()
        assert np.array_equal(await desk.embed(["next"]), expected(["next"]))


async def test_a_client_that_was_handed_in_is_not_closed() -> None:
    with serving(scripts.good) as server:
        async with openai.AsyncOpenAI(api_key="mine", base_url=server.url) as client:
            embedder = OpenAIEmbedder("test", dim=DIM, client=client)
            await embedder.aclose()
            assert np.array_equal(await embedder.aembed(["a"]), expected(["a"]))
            assert server.keys == ["Bearer mine"]


async def test_its_own_client_is_closed() -> None:
    async with asking(scripts.good) as (embedder, _):
        await embedder.aclose()
        assert embedder._client.is_closed()


async def test_a_string_is_no_list_of_texts() -> None:
    async with asking(scripts.good) as (embedder, _):
        with pytest.raises(InvalidInputError, match="aembed takes a list of texts"):
            await embedder.aembed("one text")


def test_no_key_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "found")
    with pytest.raises(InvalidInputError, match="pass api_key"):
        OpenAIEmbedder("test", dim=DIM)


@pytest.mark.parametrize("wrong", [{"dim": 0}, {"dim": 3, "batch": 0}])
def test_sizes_are_at_least_one(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match="at least 1"):
        OpenAIEmbedder("test", api_key="key", **wrong)
