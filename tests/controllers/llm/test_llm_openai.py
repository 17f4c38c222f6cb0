"""The OpenAI client against a real server on loopback: good answers, bad ones, late ones."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from llm_support import Answer, Doing, context, user
from model_server import Answer as Told
from model_server import Server, failing, said, serving, streamed

from controllers import Usage
from controllers.llm import ContextOverflowError, ModelError, OpenAIModel, ReplyError, ask
from pmll_async import InvalidInputError, Lattice

openai = pytest.importorskip("openai", reason="openai is missing: pip install 'pmll-async[llm]'")

PATIENCE = 10.0
"""Seconds until a test that waits in vain fails; never what decides an order."""
GOOD = '{"text": "a", "n": 1}'


@asynccontextmanager
async def asking(*answers: Told, **options: Any) -> AsyncIterator[tuple[OpenAIModel, Server]]:
    async with (
        serving(*answers) as server,
        OpenAIModel("test", base_url=server.url, **options) as model,
    ):
        yield model, server


async def test_a_good_answer() -> None:
    async with asking(
        said("hello"), price=(2.0, 10.0), api_key="secret", temperature=0, max_tokens=5
    ) as (model, server):
        reply = await model(user("hi"))
        assert reply.text == "hello"
        assert reply.usage == Usage(1, 100, 20, pytest.approx(0.0004))
        assert reply.stopped == ""
    assert server.requests == [
        {
            "model": "test",
            "messages": [{"role": "user", "content": "hi"}],
            "temperature": 0,
            "max_tokens": 5,
        }
    ]
    assert server.headers[0]["authorization"] == "Bearer secret"


async def test_a_streamed_answer() -> None:
    async with asking(streamed("hel", "", "lo"), stream=True, price=(2.0, 10.0)) as (
        model,
        server,
    ):
        reply = await model(user("hi"))
        assert reply.text == "hello"
        assert reply.usage == Usage(1, 100, 20, pytest.approx(0.0004))
        assert server.requests[0]["stream"] is True
        assert server.requests[0]["stream_options"] == {"include_usage": True}
        # The connection is used again: the stream was read to its end.
        await model(user("hi"))
        assert server.left.is_set() is False


@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_that_tells_no_usage(stream: bool) -> None:
    answer = streamed("a", usage=None) if stream else said("a", usage=None)
    async with asking(answer, stream=stream) as (model, _):
        assert (await model(user("hi"))).usage == Usage(calls=1)


@pytest.mark.parametrize("stream", [False, True])
async def test_why_it_stopped(stream: bool) -> None:
    answer = streamed("a", finish="length") if stream else said("a", finish="length")
    async with asking(answer, stream=stream) as (model, _):
        assert (await model(user("hi"))).stopped == "length"


async def test_a_refusal_is_a_text() -> None:
    async with asking(said(None, refusal="I won't."), said(None)) as (model, _):
        assert (await model(user("hi"))).text == "I won't."
        assert (await model(user("hi"))).text == ""


# --- busy, broken and gone ---------------------------------------------------------------------


async def test_a_busy_server_is_asked_again() -> None:
    async with asking(failing(429), failing(500), said("at last")) as (model, server):
        assert (await model(user("hi"))).text == "at last"
        assert len(server.requests) == 3


async def test_a_busy_server_may_say_when() -> None:
    busy = failing(429, Retry_After="0")
    del busy.headers["Retry-After-Ms"]
    async with asking(busy, said("at last"), max_retries=1) as (model, server):
        assert (await model(user("hi"))).text == "at last"
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("answer", "status", "retries"),
    [
        (failing(500), 500, 2),
        (failing(429), 429, 2),
        (failing(400), 400, 0),
        (failing(401), 401, 0),
    ],
)
async def test_a_server_that_stays_broken(answer: Told, status: int, retries: int) -> None:
    async with asking(answer, api_key="secret") as (model, server):
        with pytest.raises(ModelError, match=f"model 'test' at {server.url}: .*no luck") as caught:
            await model(user("hi"))
        assert caught.value.status == status
        assert isinstance(caught.value.__cause__, openai.APIStatusError)
        assert "secret" not in str(caught.value)
        assert len(server.requests) == 1 + retries


async def test_retries_are_the_callers_to_choose() -> None:
    async with asking(failing(500), max_retries=0) as (model, server):
        with pytest.raises(ModelError):
            await model(user("hi"))
        assert len(server.requests) == 1


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://me:password@127.0.0.1:{unused.getsockname()[1]}/v1?key=secret"
        async with OpenAIModel("test", base_url=url, max_retries=0) as model:
            with pytest.raises(ModelError, match=r"Connection error\. \(.*ttempt") as caught:
                await model(user("hi"))
    assert caught.value.status is None
    assert not [word for word in ("password", "secret") if word in str(caught.value)]


@pytest.mark.parametrize(
    "answer",
    [
        Told([b"<html>Welcome</html>"], kind="text/html"),
        Told([b"{}"]),
        Told([b'{"choices": []}']),
        Told([b'{"choices": [{}]}']),
        Told([b"[]"]),
        Told([b"{"]),
    ],
    ids=["a page", "nothing", "no choice", "no message", "a list", "half of one"],
)
async def test_an_answer_that_is_none(answer: Told) -> None:
    async with asking(answer, max_retries=0) as (model, _):
        with pytest.raises(ModelError, match="model 'test' at"):
            await model(user("hi"))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_that_breaks_in_the_middle(stream: bool) -> None:
    whole = streamed("hel", "lo") if stream else said("hello")
    pieces = whole.pieces[:1] if stream else [whole.pieces[0][:30]]
    broken = Told(pieces, kind=whole.kind, cut=True)
    async with asking(broken, max_retries=0, stream=stream) as (model, _):
        with pytest.raises(ModelError, match=r"Connection error|peer closed"):
            await model(user("hi"))


async def test_a_stream_that_just_ends() -> None:
    async with asking(streamed("hel", finish=None, usage=None), stream=True) as (model, _):
        with pytest.raises(ModelError, match="the stream ended in the middle, after 1 chunks"):
            await model(user("hi"))


async def test_a_stream_that_tells_of_an_error() -> None:
    broken = streamed("hel", finish=None, usage=None)
    broken.pieces = [*broken.pieces, b'data: {"error": {"message": "overloaded"}}\n\n']
    async with asking(broken, stream=True) as (model, _):
        with pytest.raises(ModelError, match="overloaded"):
            await model(user("hi"))


async def test_a_stream_with_noise_in_it() -> None:
    noisy = streamed("hel", "lo")
    noisy.pieces = [b": ping\n\n", *noisy.pieces[:1], b"data: {", b"\n\n", *noisy.pieces[1:]]
    async with asking(noisy, stream=True) as (model, _):
        with pytest.raises(ModelError, match="model 'test' at"):
            await model(user("hi"))


OVERFLOW = {
    "error": {
        "message": "This model's maximum context length is 8192 tokens.",
        "code": "context_length_exceeded",
    }
}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_that_is_too_long(stream: bool) -> None:
    answer = Told([json.dumps(OVERFLOW).encode()], status=400)
    async with asking(answer, stream=stream) as (model, server):
        with pytest.raises(ContextOverflowError, match="maximum context length") as caught:
            await model(user("hi"))
        assert caught.value.status == 400
        assert len(server.requests) == 1


async def test_a_longer_context_is_not_what_a_busy_server_lacks() -> None:
    body = {"error": {"message": "Request too large: tokens per minute", "code": "tokens"}}
    busy = Told([json.dumps(body).encode()], status=429, headers={"Retry-After-Ms": "1"})
    async with asking(busy, max_retries=0) as (model, _):
        with pytest.raises(ModelError) as caught:
            await model(user("hi"))
    assert not isinstance(caught.value, ContextOverflowError)
    assert caught.value.is_outage


async def test_an_option_that_there_is_not() -> None:
    async with asking(said("a"), tempreature=0) as (model, _):
        with pytest.raises(TypeError, match="tempreature"):
            await model(user("hi"))


# --- slow --------------------------------------------------------------------------------------


async def test_a_slow_server_is_given_up_after_the_timeout() -> None:
    slow = said("late")
    slow.wait = asyncio.Event()
    async with asking(slow, timeout=1.0, max_retries=0) as (model, server):
        with pytest.raises(ModelError, match="timed out") as caught:
            await model(user("hi"))
        assert isinstance(caught.value.__cause__, openai.APITimeoutError)
        await asyncio.wait_for(server.left.wait(), PATIENCE)


async def within(limit: asyncio.Timeout, call: Coroutine[Any, Any, Any]) -> None:
    async with limit:
        await call


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_gives_up_leaves_no_connection(stream: bool) -> None:
    slow = streamed("late") if stream else said("late")
    slow.wait = asyncio.Event()
    quick = streamed("next") if stream else said("next")
    async with asking(slow, quick, stream=stream) as (model, server):
        limit = asyncio.timeout(None)
        waiting = asyncio.create_task(server.asked.wait())
        # The time is up once the server has the question.
        waiting.add_done_callback(lambda _: limit.reschedule(asyncio.get_running_loop().time()))
        with pytest.raises(TimeoutError):
            await within(limit, model(user("hi")))
        await asyncio.wait_for(server.left.wait(), PATIENCE)
        assert (await model(user("hi"))).text == "next"


# --- the client --------------------------------------------------------------------------------


async def test_a_client_that_was_handed_in_is_not_closed() -> None:
    async with (
        serving(said("a")) as server,
        openai.AsyncOpenAI(
            api_key="mine",
            base_url=server.url,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        ) as client,
    ):
        async with OpenAIModel("test", client=client) as model:
            assert (await model(user("hi"))).text == "a"
        assert not client.is_closed()
        assert server.headers[0]["authorization"] == "Bearer mine"


async def test_its_own_client_is_closed() -> None:
    async with asking(said("a")) as (model, _):
        await model(user("hi"))
        client = model._client
        await model.aclose()
        assert client is not None
        assert client.is_closed()
        await model.aclose()
        with pytest.raises(RuntimeError, match="model 'test' is closed"):
            await model(user("hi"))


async def test_calls_at_the_same_time_share_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = openai.AsyncOpenAI.__init__

    def counted(self: Any, **options: Any) -> None:
        made.append(self)
        real(self, **options)

    monkeypatch.setattr(openai.AsyncOpenAI, "__init__", counted)
    async with asking(said("a")) as (model, server):
        await asyncio.gather(*(model(user(str(n))) for n in range(8)))
        assert len(server.requests) == 8
    assert len(made) == 1


async def test_nothing_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", "found")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Custom: found\nAuthorization: found")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/found")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with asking(said("a")) as (model, server):
        await model(user("hi"))
    assert "found" not in str(server.headers)
    assert server.headers[0]["authorization"] == "Bearer none"
    assert OpenAIModel("test", api_key="key")._url == "https://api.openai.com/v1"


def test_a_key_or_an_address_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "found")
    with pytest.raises(InvalidInputError, match="pass api_key"):
        OpenAIModel("test")


@pytest.mark.parametrize("setting", [{"base_url": "http://x"}, {"api_key": "k"}, {"timeout": 1.0}])
async def test_a_client_has_its_own_settings(setting: dict[str, Any]) -> None:
    async with openai.AsyncOpenAI(api_key="mine", base_url="http://127.0.0.1:9") as client:
        with pytest.raises(InvalidInputError, match="a client has its own"):
            OpenAIModel("test", client=client, **setting)


# --- asking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"Sure:\n```json\n{GOOD}\n```",
        '{"text": "a", // see http://x\n "n": 1,}',
        f"<think>Hm, {{}}?</think>{GOOD}",
    ],
)
async def test_replies_are_read_over_the_wire(lattice: Lattice, text: str, stream: bool) -> None:
    halves = text[:7], text[7:]
    answer = streamed(*halves) if stream else said(text)
    async with asking(answer, stream=stream) as (model, _):
        found = await ask(context(lattice, Doing()), model, user("Well?"), Answer)
    assert found == Answer(text="a", n=1)


async def test_a_truncated_reply_is_asked_for_again(lattice: Lattice) -> None:
    doing = Doing()
    cut = said('{"text": "http://a//b', finish="length")
    async with asking(cut, said('{"text": "http://a//b",}'), price=(1.0, 1.0)) as (model, server):
        found = await ask(context(lattice, doing), model, user("Well?"), Answer)
    assert found.text == "http://a//b"
    assert "cut off at 1:22, inside the string from 1:10" in server.contents[1]
    assert "(the model stopped: length)" in server.contents[1]
    assert doing.usage == Usage(2, 200, 40, pytest.approx(0.00024))


async def test_a_model_that_never_replies_as_asked(lattice: Lattice) -> None:
    async with asking(said("I'd rather chat.")) as (model, server):
        with pytest.raises(ReplyError, match="none of 3 replies"):
            await ask(context(lattice, Doing()), model, user("Well?"), Answer)
        assert len(server.requests) == 3
