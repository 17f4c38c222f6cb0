"""Asking for a value: what is sent, what is sent back, what is paid for, and how often."""

from __future__ import annotations

import json
import threading
from typing import Any, Self

import pytest
from llm_support import Answer, Doing, Scripted, context, user
from pydantic import model_validator

from controllers import Usage
from controllers.llm import Reply, ReplyError, ask
from pmll_async import InvalidInputError, Lattice

GOOD = '{"text": "a", "n": 1}'
BAD = '{"text": "a", "n": '
PAID = Usage(1, 10, 2, 0.5)


@pytest.fixture
def doing() -> Doing:
    return Doing()


async def test_the_model_is_told_what_a_reply_must_look_like(
    lattice: Lattice, doing: Doing
) -> None:
    model = Scripted([GOOD])
    messages = [*user("first"), {"role": "assistant", "content": "yes"}, *user("What is it?")]
    found = await ask(context(lattice, doing), model, messages, Answer)
    assert found == Answer(text="a", n=1)
    assert messages[-1]["content"] == "What is it?"
    [heard] = model.heard
    assert heard[:2] == messages[:2]
    question, _, told = heard[2]["content"].partition("\n\n")
    assert question == "What is it?"
    schema = json.loads(told.splitlines()[-1])
    assert schema["properties"]["text"] == {"type": "string"}


async def test_a_bad_reply_is_sent_back_with_the_reason(lattice: Lattice, doing: Doing) -> None:
    model = Scripted([BAD, '{"n": 1}', GOOD])
    assert (await ask(context(lattice, doing), model, user("Well?"), Answer)).n == 1
    first, second, third = model.heard
    assert second[:1] == third[:1] == first
    assert second[1] == {"role": "assistant", "content": BAD.strip()}
    assert (
        "cannot be used: it is cut off at 1:20, before it closes { from 1:1"
        in (second[2]["content"])
    )
    # Only the last reply goes back, so that a conversation does not grow with each attempt.
    assert third[1] == {"role": "assistant", "content": '{"n": 1}'}
    assert "text: Field required" in third[2]["content"]
    assert [len(heard) for heard in model.heard] == [1, 3, 3]


async def test_attempts_are_bounded(lattice: Lattice, doing: Doing) -> None:
    model = Scripted([BAD, "no", Reply("", PAID, "length"), GOOD])
    with pytest.raises(ReplyError, match="none of 3 replies can be used: it is empty") as caught:
        await ask(context(lattice, doing), model, user("Well?"), Answer)
    assert len(model.heard) == 3
    assert caught.value.text == ""
    assert caught.value.reason == "it is empty (the model stopped: length)"
    assert len(caught.value.reasons) == 3
    assert isinstance(caught.value, ValueError)


async def test_an_empty_reply_is_sent_back_as_something(lattice: Lattice, doing: Doing) -> None:
    model = Scripted(["", GOOD])
    await ask(context(lattice, doing), model, user("Well?"), Answer)
    assert model.heard[1][1]["content"] == "(empty)"


async def test_one_attempt_is_one_reply(lattice: Lattice, doing: Doing) -> None:
    with pytest.raises(ReplyError, match="the reply cannot be used: it is empty"):
        await ask(context(lattice, doing), Scripted([""]), user("Well?"), Answer, attempts=1)
    for attempts, messages in ((0, user("Well?")), (1, [])):
        with pytest.raises(InvalidInputError):
            await ask(context(lattice, doing), Scripted([]), messages, Answer, attempts=attempts)


async def test_every_reply_is_counted_whether_it_could_be_used_or_not(
    lattice: Lattice, doing: Doing
) -> None:
    model = Scripted([Reply(BAD, PAID), GOOD])
    await ask(context(lattice, doing), model, user("Well?"), Answer)
    assert doing.usage == PAID + Usage(calls=1)
    assert doing.recorded_usage == doing.usage
    assert [*doing.records] == ["ask.0", "ask.1"]


async def test_what_was_paid_for_is_neither_asked_nor_counted_again(
    lattice: Lattice, doing: Doing
) -> None:
    died = RuntimeError("the process died")

    async def dying(messages: Any) -> Reply:
        if len(messages) > 1:
            raise died
        return Reply(BAD, PAID)

    with pytest.raises(RuntimeError, match="died"):
        await ask(context(lattice, doing), dying, user("Well?"), Answer)
    # A second life knows the first one's entries, and begins with what they say was spent.
    again = Doing(doing.records, doing.recorded_usage)
    model = Scripted([Reply(GOOD, PAID)])
    assert (await ask(context(lattice, again), model, user("Well?"), Answer)).n == 1
    assert len(model.heard) == 1
    assert model.heard[0][1]["content"] == BAD.strip()
    assert again.usage == PAID + PAID


async def test_two_questions_of_a_step_have_names(lattice: Lattice, doing: Doing) -> None:
    ctx, model = context(lattice, doing), Scripted(['{"text": "1"}', '{"text": "2"}'])
    assert (await ask(ctx, model, user("One?"), Answer, name="one")).text == "1"
    assert (await ask(ctx, model, user("Two?"), Answer, name="two")).text == "2"
    assert (await ask(ctx, model, user("One?"), Answer, name="one")).text == "1"
    assert [*doing.records] == ["one.0", "two.0"]


async def test_half_a_surrogate_pair_does_not_reach_the_journal(
    lattice: Lattice, doing: Doing
) -> None:
    found = await ask(
        context(lattice, doing), Scripted(['{"text": "a\ud800"}']), user("Well?"), Answer
    )
    assert found.text == "a?"


async def test_a_long_reply_is_read_beside_the_loop(lattice: Lattice, doing: Doing) -> None:
    read_in: set[int] = set()

    class Noted(Answer):
        @model_validator(mode="after")
        def note(self) -> Self:
            read_in.add(threading.get_ident())
            return self

    long = json.dumps({"text": "a" * 100_000})
    model = Scripted([long[:-1], long])
    assert len((await ask(context(lattice, doing), model, user("Well?"), Noted)).text) == 100_000
    assert "before it closes" in model.contents[1]
    assert read_in
    assert threading.get_ident() not in read_in


async def test_what_no_model_returns(lattice: Lattice, doing: Doing) -> None:
    with pytest.raises(TypeError, match="a model returns a str or a Reply, not dict"):
        await ask(context(lattice, doing), Scripted([{}]), user("Well?"), Answer)
    assert doing.records == {}


async def test_what_the_model_raises_comes_through(lattice: Lattice, doing: Doing) -> None:
    async def broken(_: Any) -> str:
        raise KeyError("nobody there")

    with pytest.raises(KeyError, match="nobody there"):
        await ask(context(lattice, doing), broken, user("Well?"), Answer)
    assert not doing.usage
