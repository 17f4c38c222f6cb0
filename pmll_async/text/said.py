"""Ingesting: texts as callers give them, checked and stamped before a model is asked about them."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import aclosing
from itertools import count
from typing import TYPE_CHECKING

from pmll_async.errors import InvalidContextError, InvalidInputError, TextTooLongError
from pmll_async.text.results import Utterance
from pmll_async.text.views import text_of
from pmll_async.values import checks, moments
from pmll_async.values.contexts import (
    StampedContext,
    canonical_string,
    encode_in_turns,
    stamp_also,
)

if TYPE_CHECKING:
    from pydantic import JsonValue

Texts = Iterable[str | Utterance] | AsyncIterable[str | Utterance]

Progress = Callable[[int, int], None]
"""Told how many of how many texts are done."""


def done_of(total: int, progress: Progress, size: int) -> Callable[[int], None]:
    """Called after each batch of `size` texts; those that were stored before count as done, too."""
    batches = count(1)
    return lambda _stored: progress(min(total, next(batches) * size), total)


async def stamped(said: Utterance, most_bytes: int) -> StampedContext:
    """The context of the text's line, once everything about it is known to be storable.

    Its canonical bytes are what counts from here on: what is in it may be the caller's to change.
    """
    facts: dict[str, JsonValue] = {"text": text_of(said.text, "text")}
    for name in ("speaker", "session"):
        value = getattr(said, name)
        if value is not None:
            facts[name] = text_of(value, name)
    if not isinstance(said.context, Mapping):
        kind = type(said.context).__name__
        raise InvalidContextError("", f"a mapping is wanted, not {kind}")
    context = stamp_also(said.context, facts)
    # Encoded once, here: the lattice takes these bytes and does not encode again.
    context.canonical = encoded = await encode_in_turns(context, sys.maxsize)
    if len(encoded) > most_bytes:
        raise _too_large(said.text, len(encoded), most_bytes)
    _refuse_blank(said.text)
    moments.optional_moment(said.timestamp, "timestamp")
    checks.idempotency_key(said.idempotency_key)
    return context


def _refuse_blank(text: str) -> None:
    """Refuse a text of spaces alone, or of marks that only tell how others are shown."""
    if all(each.isspace() or unicodedata.category(each) == "Cf" for each in text):
        what = "blank" if text else "empty"
        raise InvalidInputError(f"text is {what}: what is remembered says something")


def _too_large(text: str, size: int, most: int) -> InvalidContextError:
    """Names what is too large: the text, unless the rest alone would be."""
    rest = size - len(canonical_string(text).encode())
    if rest <= most:
        return TextTooLongError(len(text), size, most)
    return InvalidContextError("", f"{size} bytes are over the limit of {most}")


async def batches(texts: Texts, size: int) -> AsyncGenerator[list[Utterance], None]:
    """The texts in lists of `size`, read no further than the list that is asked for."""
    batch: list[Utterance] = []
    async with aclosing(_each(texts)) as each:
        async for number, given in each:
            batch.append(utterance(given, number))
            if len(batch) == size:
                yield batch
                batch = []
    if batch:
        yield batch


def utterance(given: object, number: int) -> Utterance:
    """The utterance that a text is; `number` says which it is of many."""
    if isinstance(given, str):
        return Utterance(text=given)
    if not isinstance(given, Utterance):
        kind = type(given).__name__
        raise InvalidInputError(f"text {number} is a {kind}, not a str or an Utterance")
    return given


async def _each(texts: Texts) -> AsyncGenerator[tuple[int, str | Utterance], None]:
    number = 0
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield (number := number + 1), text
    else:
        for text in texts:
            yield (number := number + 1), text
