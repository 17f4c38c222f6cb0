"""Research with a model: the look-ups that it names, and the answer that it gives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from research_support import BOOKS, evidence_of, opened, remember

from controllers import OutageError, Patience
from controllers.llm import Message, Reply
from controllers.policies import Usage
from controllers.research import ResearchController, ResearchStoppedError
from pmll_async.text import HashingEmbedder, TextMemory


class Script:
    """A model that says one thing after another, and keeps what it was asked."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []

    async def __call__(self, messages: Sequence[Message]) -> Reply:
        self.asked.append("\n".join(message["content"] for message in messages))
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return Reply(json.dumps(reply), Usage(1, 10, 5))


@pytest.fixture
async def memory() -> AsyncIterator[TextMemory]:
    async with opened(HashingEmbedder(dim=64)) as memory:
        await remember(memory)
        yield memory


async def test_a_model_names_look_ups_and_answers_from_the_evidence(memory: TextMemory) -> None:
    (cello,) = await memory.recall("cello Leipzig", 1)
    answer = {"answer": "The cello.", "anchors": [cello.anchor, "0" * 16, "made up"]}
    model = Script({"look_ups": ["cello Leipzig", "violin"]}, answer)
    research = ResearchController(memory, model=model)
    result = await research.run("Which instruments are played?")
    assert (result.status, result.text, result.usage) == ("done", "The cello.", Usage(2, 20, 10))
    evidence = evidence_of(result)
    assert evidence.cited == (cello.anchor,)
    by_anchor = {each.anchor: each.why for each in evidence.found}
    assert by_anchor[cello.anchor]["parts"] <= 2
    plan, reflect = model.asked
    assert "Which instruments are played?" in plan
    assert all(each.anchor in reflect for each in evidence.found)
    assert "My sister Judith plays the cello in Leipzig." in reflect


async def test_a_model_may_ask_for_more_until_the_last_cycle(memory: TextMemory) -> None:
    more = {"answer": None, "look_ups": ["violin school"]}
    model = Script({}, more, more, {"answer": None, "look_ups": ["again"]})
    result = await ResearchController(memory, model=model, max_cycles=4, k=3).run(BOOKS)
    assert (result.status, result.cycles, result.text) == ("done", 4, "")
    assert [("There is no further search" in asked) for asked in model.asked] == [False] * 3 + [
        True
    ]
    assert len(evidence_of(result).found) == 3


async def test_a_resumed_run_does_not_ask_the_model_again(memory: TextMemory) -> None:
    first = Script({"look_ups": ["cello"]}, ConnectionError("down"))
    impatient = Patience(seconds=0)
    with pytest.raises(OutageError, match="model 'Script' is down"):
        await ResearchController(memory, model=first, patience=impatient).run(BOOKS, run_id="r")
    second = Script({"answer": "Two.", "anchors": []})
    result = await ResearchController(memory, model=second).resume("r")
    assert (result.status, result.text) == ("done", "Two.")
    assert len(second.asked) == 1


async def test_a_model_that_fails_before_the_plan_is_tried_again(memory: TextMemory) -> None:
    model = Script(KeyError("down"), {"look_ups": []}, {"answer": "Two."})
    assert (await ResearchController(memory, model=model).run(BOOKS)).text == "Two."
    down = Script(*[KeyError("down")] * 3)
    with pytest.raises(ResearchStoppedError, match="2 retries are over"):
        await ResearchController(memory, model=down).evidence(BOOKS)


async def test_a_reply_that_cannot_be_used_is_sent_back(memory: TextMemory) -> None:
    too_many, half = {"look_ups": ["x"] * 5}, {"look_ups": ["\ud800 bees"]}
    odd = {"look_ups": ["\x00", "x" * 1000, "🐝"]}
    model = Script(too_many, half, odd, {"answer": "half \ud800"}, {"answer": "bees"})
    result = await ResearchController(memory, model=model).run(BOOKS)
    assert (result.status, result.text, result.usage.calls) == ("done", "bees", 5)


def test_only_a_model_needs_what_models_need() -> None:
    code = "import sys; sys.modules['pyjson5'] = None; import controllers.research"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
