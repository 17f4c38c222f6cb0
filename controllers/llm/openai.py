"""A model behind any endpoint that speaks the OpenAI protocol, through the official client."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self
from urllib.parse import urlsplit, urlunsplit

from pmll_async import InvalidInputError, PmllError
from pmll_async.values.extras import missing

from .. import Usage
from ..calling import in_thread
from ..outages import is_status_of_outage
from .fitting import says_overflow
from .messages import Message, Model, NativeCall, Reply

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAI_URL: Final = "https://api.openai.com/v1"
_NO_KEY: Final = "none"  # the client insists on one, a local server does not look at it
_MILLION: Final = 1_000_000  # tokens: what prices are told for
_NO_TOOLS: Final = (400, 404, 405, 422, 500, 501)  # statuses of servers that know no tools
_OF_TOOLS: Final = re.compile(r"\btools?\b|tool_choice|function.call", re.IGNORECASE)
_LONGEST_REASON: Final = 300  # characters; some servers answer with a whole page


class ModelError(PmllError):
    """A call came to nothing, after the client's own retries; its error is the `__cause__`.

    `status` is the HTTP status, None where there was no whole answer. `is_outage`: the service is
    away, overloaded or broken, and the same call may succeed later.
    """

    is_overflow: ClassVar[bool] = False

    def __init__(
        self,
        model: str,
        url: str,
        reason: str,
        status: int | None = None,
        *,
        is_outage: bool = False,
    ) -> None:
        self.model, self.url, self.reason, self.status = model, url, reason, status
        self.is_outage = is_outage
        super().__init__(f"model {model!r} at {url}: {reason}")


class ContextOverflowError(ModelError):
    """The conversation is longer than the model's context: a shorter one may do."""

    is_overflow: ClassVar[bool] = True


class ToolsRefusedError(ModelError):
    """The endpoint, or the model behind it, takes no `tools`."""


class OpenAIModel:
    """A `Model`: chat completions of `model` at `base_url`.

    `price` is what a million input tokens and a million output tokens cost. With `stream` replies
    come in chunks, which who follows the run is told, and which servers that cut long silences
    need. `native_tools`: tools are given to the endpoint by its protocol, until it refuses them.
    `timeout` (seconds) and `max_retries`
    are the client's, which waits and tries again where the server is busy (429) or broken (5xx).
    `options` go with every request: ``temperature=0, max_tokens=500``.

    A `client` of your own has its own address, key and limits, and is not closed here. Otherwise
    one is made on first use, and nothing of the environment goes into it (no key, no header, no
    proxy) unless `trust_env`. Use a model in one event loop, and close it: ``async with`` or
    `aclose`. `ModelError`; without the package: `ModuleNotFoundError`.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        client: AsyncOpenAI | None = None,
        price: tuple[float, float] | None = None,
        stream: bool = False,
        native_tools: bool = True,
        timeout: float | None = None,
        max_retries: int | None = None,
        trust_env: bool = False,
        **options: Any,
    ) -> None:
        settings = {"timeout": timeout, "max_retries": max_retries}
        self._settings = {key: value for key, value in settings.items() if value is not None}
        if client is not None and (base_url or api_key or self._settings):
            raise InvalidInputError("a client has its own base_url, api_key, timeout, max_retries")
        if client is None and base_url is None and api_key is None:
            raise InvalidInputError("pass api_key=..., or the base_url of a server without keys")
        self._model, self._price, self._stream = model, price or (0.0, 0.0), stream
        self._url, self._api_key = base_url or OPENAI_URL, api_key or _NO_KEY
        self._options, self._trust_env, self._has_tools = options, trust_env, native_tools
        self._client, self._owns_client = client, client is None
        self._ready = self._closed = False
        self._making = threading.Lock()

    async def __call__(self, messages: Sequence[Message]) -> Reply:
        """What the model says to the conversation."""
        return await self.whole(messages, {})

    async def pieces(self, messages: Sequence[Message]) -> AsyncGenerator[str | Reply, None]:
        """The same while it arrives, if it is streamed; the last piece is the whole reply."""
        async with aclosing(self.arriving(messages, {})) as arriving:
            async for piece in arriving:
                yield piece

    @property
    def has_tools(self) -> bool:
        """Whether tools are given to the endpoint, which has not refused them."""
        return self._has_tools

    def using(self, tools: Sequence[Mapping[str, Any]], choice: str = "auto") -> Model:
        """The model with tools, as `Tools.schemas` has them; `choice` is its `tool_choice`."""
        return _WithTools(self, {"tools": list(tools), "tool_choice": choice})

    async def whole(self, messages: Sequence[Message], more: Mapping[str, Any]) -> Reply:
        """A reply, with `more` in the request."""
        reply = Reply("")
        async with aclosing(self.arriving(messages, more)) as arriving:
            async for piece in arriving:
                reply = piece if isinstance(piece, Reply) else reply
        return reply

    async def arriving(
        self, messages: Sequence[Message], more: Mapping[str, Any]
    ) -> AsyncGenerator[str | Reply, None]:
        """A reply in pieces, with `more` in the request."""
        client = await self._opened()
        request = {"model": self._model, "messages": list(messages), **self._options, **more}
        try:
            if self._stream:
                async with aclosing(self._streamed(client, request)) as streamed:
                    async for piece in streamed:
                        yield piece
            else:
                yield self._read(await client.chat.completions.create(**request))
        except (ModelError, TypeError):  # the latter is about an option that the client lacks
            raise
        # The client lets through what a parser says of a body that is no JSON, and older ones what
        # the HTTP library, which is not always the same, says of a stream that breaks.
        except Exception as exc:
            raise self._refused(exc, with_tools="tools" in more) from exc

    async def aclose(self) -> None:
        """Close the client, unless it was handed in; may be called again."""
        self._closed = True
        if self._owns_client and self._client is not None:
            await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _opened(self) -> AsyncOpenAI:
        if self._closed:
            raise RuntimeError(f"model {self._model!r} is closed")
        if not self._ready:
            await in_thread(self._open)
        assert self._client is not None  # noqa: S101  # `_open` has made it
        return self._client

    def _open(self) -> None:
        """Make the client, and load what it loads late; blocks for half a second or so."""
        with self._making:
            if self._client is None:
                self._client = _new_client(
                    self._url, self._api_key, self._settings, self._trust_env
                )
            _ = self._client.chat.completions, self._client.platform_headers()
            self._ready = True

    async def _streamed(
        self, client: AsyncOpenAI, request: dict[str, Any]
    ) -> AsyncGenerator[str | Reply, None]:
        options = {"stream_options": {"include_usage": True}, **request}
        parts, stopped, usage = list[str](), None, None
        calls: dict[int, NativeCall] = {}
        async with await client.chat.completions.create(**options, stream=True) as chunks:
            async for chunk in chunks:
                usage = chunk.usage or usage
                # The last chunk of some servers has usage, and no choice.
                for choice in chunk.choices[:1]:
                    parts.append(choice.delta.content or "")
                    stopped = choice.finish_reason or stopped
                    _grown(calls, choice.delta.tool_calls or ())
                    if parts[-1]:
                        yield parts[-1]
        if stopped is None:
            reason = f"the stream ended in the middle, after {len(parts)} chunks"
            raise self._failed(reason, is_outage=True)
        yield self._reply("".join(parts), stopped, usage, tuple(calls.values()))

    def _read(self, answer: Any) -> Reply:
        choices = getattr(answer, "choices", None) or [None]
        message = getattr(choices[0], "message", None)
        if message is None:
            raise self._failed(f"the answer is no chat completion: {str(answer)[:80]!r}")
        # A refusal is a reply, too: who asked decides what to make of it.
        text = message.content or getattr(message, "refusal", None) or ""
        calls: dict[int, NativeCall] = {}
        _grown(calls, getattr(message, "tool_calls", None) or ())
        stopped = choices[0].finish_reason
        return self._reply(text, stopped, answer.usage, tuple(calls.values()))

    def _reply(
        self, text: str, stopped: str | None, usage: Any, calls: tuple[NativeCall, ...]
    ) -> Reply:
        read, written = (
            getattr(usage, name, None) or 0 for name in ("prompt_tokens", "completion_tokens")
        )
        cost = (read * self._price[0] + written * self._price[1]) / _MILLION
        why = "" if stopped in (None, "stop", "tool_calls") else str(stopped)
        return Reply(text, Usage(1, read, written, cost), why, calls)

    def _refused(self, error: Exception, *, with_tools: bool) -> ModelError:
        status, code = getattr(error, "status_code", None), getattr(error, "code", None)
        reason = _reason(error)
        if code == "context_length_exceeded" or (status != 429 and says_overflow(reason)):
            return self._failed(reason, status, kind=ContextOverflowError)
        if with_tools and status in _NO_TOOLS and _OF_TOOLS.search(reason):
            self._has_tools = False
            return self._failed(reason, status, kind=ToolsRefusedError)
        away = _is_cut(error) if status is None else is_status_of_outage(status, code)
        return self._failed(reason, status, is_outage=away)

    def _failed(
        self,
        reason: str,
        status: int | None = None,
        *,
        kind: type[ModelError] = ModelError,
        is_outage: bool = False,
    ) -> ModelError:
        url = _without_secrets(
            self._url if self._owns_client else str(getattr(self._client, "base_url", ""))
        )
        return kind(self._model, url, reason[:_LONGEST_REASON], status, is_outage=is_outage)


@dataclass(frozen=True, slots=True)
class _WithTools:
    """The model with tools at hand."""

    model: OpenAIModel
    more: Mapping[str, Any]

    async def __call__(self, messages: Sequence[Message]) -> Reply:
        return await self.model.whole(messages, self.more)

    def pieces(self, messages: Sequence[Message]) -> AsyncGenerator[str | Reply, None]:
        return self.model.arriving(messages, self.more)


def _grown(calls: dict[int, NativeCall], parts: Iterable[Any]) -> None:
    """Add what came of some calls, whole or in parts."""
    for place, part in enumerate(parts):
        number = getattr(part, "index", None)
        number = place if number is None else number
        before = calls.get(number, NativeCall("", "", ""))
        function = part.function
        calls[number] = NativeCall(
            part.id or before.id,
            # Some servers send the name with every chunk.
            before.name or getattr(function, "name", None) or "",
            before.arguments + (getattr(function, "arguments", None) or ""),
        )


def _new_client(url: str, key: str, settings: dict[str, Any], trust_env: bool) -> AsyncOpenAI:
    try:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient  # noqa: PLC0415  # optional
    except ModuleNotFoundError as exc:
        raise missing("OpenAIModel", "llm", exc) from exc
    http = DefaultAsyncHttpxClient(trust_env=trust_env)
    client = AsyncOpenAI(api_key=key, base_url=url, http_client=http, **settings)
    if not trust_env:
        client.organization = client.project = client.admin_api_key = None
        # Nothing public takes out the headers that it finds in a variable.
        client._custom_headers = {}  # noqa: SLF001  # no public way
    return client


def _without_secrets(url: str) -> str:
    """A failure is journaled, for good: no password or token that stands in an address."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _is_cut(error: Exception) -> bool:
    """Whether there was no whole answer because the service was away, slow or gave up.

    Otherwise the answer came from something that speaks another language, which waiting won't mend.
    """
    import openai  # noqa: PLC0415  # optional, and loaded by now: it raised the error

    if isinstance(error, openai.APIResponseValidationError):
        return False
    is_of_http = type(error).__module__.partition(".")[0].startswith(("httpx", "httpcore"))
    return isinstance(error, openai.APIError) or is_of_http


def _reason(error: Exception) -> str:
    """The client says "Connection error." and keeps to itself which."""
    cause = error.__cause__
    return f"{error} ({cause})" if cause is not None and str(cause) else str(error)
