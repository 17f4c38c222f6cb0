"""A model that is down is waited for, and then the run stops where `resume` goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from controller_support import journal, phases
from llm_support import Answer, Doing, context, user
from model_server import Answer as Told
from model_server import failing, said, serving, streamed

from controllers import OutageError, Patience, RTMController
from controllers.llm import Message, ModelError, OpenAIModel, ask, llm_act, llm_plan, llm_reflect
from controllers.outages import is_outage
from controllers.tool_agent import ToolAgent
from pmll_async import InvalidInputError, Lattice, StoreFullError
from pmll_async.text import HashingEmbedder, TextMemory

GOOD = '{"text": "a", "n": 1}'
HAND_OVER = json.dumps({"answer": "here"})


@dataclass
class Hours:
    """Time that passes when somebody waits, and is noted."""

    now: float = 0.0
    waits: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def patience(self, seconds: float = 60.0, **options: Any) -> Patience:
        return Patience(seconds=seconds, sleep=self.sleep, clock=lambda: self.now, **options)


@dataclass
class Flaky:
    """A model that raises what it is told to before it replies."""

    replies: list[Any]
    asked: int = 0

    async def __call__(self, messages: Sequence[Message]) -> str:
        self.asked += 1
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return str(reply)


@pytest.fixture
def hours() -> Hours:
    return Hours()


@pytest.fixture
async def texts(tmp_path: Path) -> AsyncIterator[TextMemory]:
    async with TextMemory.open(tmp_path, HashingEmbedder(dim=64)) as memory:
        yield memory


async def test_an_outage_is_waited_for_and_counts_as_no_attempt(
    lattice: Lattice, hours: Hours
) -> None:
    model = Flaky([ConnectionError("down")] * 6 + [GOOD])
    patience = hours.patience()
    asked = user("Well?")
    found = await ask(
        context(lattice, Doing()), model, asked, Answer, attempts=1, patience=patience
    )
    assert found.n == 1
    # Each wait is twice as long as the one before, but for what chance cuts off.
    for tries, wait in enumerate(hours.waits):
        assert 0.25 * 2**tries <= wait <= 0.5 * 2**tries or 5.0 <= wait <= 10.0


async def test_waits_are_spread_by_chance(hours: Hours) -> None:
    patience = hours.patience()
    assert len({patience.pause(3) for _ in range(20)}) > 1
    assert all(1.0 <= patience.pause(3) <= 2.0 for _ in range(200))
    assert patience.pause(5_000) <= 10.0


async def test_the_time_budget_ends_it(lattice: Lattice, hours: Hours) -> None:
    model = Flaky([TimeoutError("slow")] * 100)
    with pytest.raises(OutageError, match=r"model 'Flaky' is down: \d+ tries in \d+ s") as caught:
        await ask(
            context(lattice, Doing()), model, user("?"), Answer, patience=hours.patience(30.0)
        )
    assert caught.value.tries == model.asked == len(hours.waits) + 1
    assert caught.value.seconds <= 30.0
    assert isinstance(caught.value.__cause__, TimeoutError)


async def test_a_server_that_is_back_after_a_second_ends_no_run(
    texts: TextMemory, hours: Hours
) -> None:
    async with (
        serving(*[failing(503)] * 5, said(HAND_OVER)) as server,
        OpenAIModel("test", base_url=server.url, max_retries=0) as model,
    ):
        agent = ToolAgent(texts, model, [], patience=hours.patience())
        result = await agent.run("where?", run_id="r")
    assert (result.status, result.text, result.cycles) == ("done", "here", 1)
    # Not one of the retries of a plan.
    assert [phase for phase in phases(await journal(texts.lattice, "r")) if phase[1] > 0] == []
    assert len(hours.waits) == 5


async def test_who_asks_for_a_longer_wait_is_heard(lattice: Lattice, hours: Hours) -> None:
    busy = failing(429, Retry_After="7")
    async with (
        serving(busy, said(GOOD)) as server,
        OpenAIModel("test", base_url=server.url, max_retries=0) as model,
    ):
        await ask(
            context(lattice, Doing()), model, user("?"), Answer, patience=hours.patience(longest=1)
        )
    assert hours.waits == [7.0]


async def test_a_run_that_stopped_for_an_outage_goes_on_where_it_was(
    texts: TextMemory, hours: Hours
) -> None:
    look = json.dumps({"calls": [{"tool": "where", "arguments": {}}]})

    def where() -> str:
        return "here"

    down = ConnectionError("down")
    model = Flaky([look, *[down] * 3, *[down] * 3, *[down] * 3, *[down] * 3, HAND_OVER])
    agent = ToolAgent(texts, model, [where], patience=hours.patience(1.5), max_retries=1)
    with pytest.raises(OutageError):
        await agent.run("where?", run_id="r")
    # However often it is tried: nothing is used up.
    for _ in range(3):
        assert (await agent.runs())[0].status == "failed"
        with pytest.raises(OutageError):
            await agent.resume("r")
    result = await agent.resume("r")
    assert (result.status, result.text, result.cycles) == ("done", "here", 2)
    told = phases(await journal(texts.lattice, "r"))
    assert [phase for phase in told if phase[2:] == ("plan", "failed")] == []


async def test_an_act_whose_model_is_down_stops_the_run_if_no_other_has_a_line(
    texts: TextMemory, hours: Hours
) -> None:
    act = json.dumps({"text": "a line", "confidence": 0.5})
    down = ConnectionError("down")
    model = Flaky(['{"text": "plan"}', down, act, '{"verdict": "done", "text": "fine"}'])
    patience = hours.patience(0)
    run = RTMController(
        texts,
        plan=llm_plan(model, patience=patience),
        act=[llm_act(model, patience=patience)],
        reflect=llm_reflect(model, patience=patience),
    )
    with pytest.raises(OutageError):
        await run.run("write", run_id="r")
    assert (await run.resume("r")).text == "fine"


async def test_of_several_acts_the_others_go_on(texts: TextMemory, hours: Hours) -> None:
    patience = hours.patience(0)
    here = Flaky([json.dumps({"text": "a line", "confidence": 0.5})])
    away = Flaky([ConnectionError("down")])
    judge = Flaky(['{"text": "plan"}', '{"verdict": "done", "text": "fine"}'])
    run = RTMController(
        texts,
        plan=llm_plan(judge),
        act=[
            llm_act(here, name="here", patience=patience),
            llm_act(away, name="away", patience=patience),
        ],
        reflect=llm_reflect(judge),
    )
    assert (await run.run("write", run_id="r")).status == "done"


class Meaning(HashingEmbedder):
    """An embedder on a server that may be down."""

    failures = 0

    def embed(self, texts: Sequence[str]) -> Any:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no embedder")
        return super().embed(texts)


async def test_an_embedder_that_is_down_is_waited_for(tmp_path: Path, hours: Hours) -> None:
    embedder = Meaning(dim=64)
    async with TextMemory.open(tmp_path, embedder) as texts:
        embedder.failures = 3
        agent = ToolAgent(texts, Flaky([HAND_OVER]), [], patience=hours.patience())
        assert (await agent.run("where?")).status == "done"
    assert len(hours.waits) == 3


@pytest.mark.parametrize(
    ("answer", "away"),
    [
        (failing(503), True),
        (failing(429), True),
        (failing(408), True),
        (failing(400), False),
        (failing(401), False),
        (failing(404), False),
        (streamed("a", finish=None, usage=None), True),
    ],
)
async def test_what_waiting_may_mend_and_what_not(answer: Any, away: bool) -> None:
    async with (
        serving(answer) as server,
        OpenAIModel("test", base_url=server.url, max_retries=0, stream=True) as model,
    ):
        with pytest.raises(ModelError) as caught:
            await model(user("hi"))
    assert is_outage(caught.value) is away


async def test_a_page_in_place_of_an_answer_is_no_outage() -> None:
    async with (
        serving(Told([b"<html>Welcome</html>"], kind="text/html")) as server,
        OpenAIModel("test", base_url=server.url, max_retries=0) as model,
    ):
        with pytest.raises(ModelError) as caught:
            await model(user("hi"))
    assert not is_outage(caught.value)


async def test_nobody_listens_is_an_outage() -> None:
    async with serving(said("a")) as server:
        url = server.url
    async with OpenAIModel("test", base_url=url, max_retries=0) as model:
        with pytest.raises(ModelError) as caught:
            await model(user("hi"))
    assert is_outage(caught.value)


def test_an_empty_account_a_missing_file_and_a_full_disk_are_no_outages() -> None:
    class RefusedError(Exception):
        status_code = 429
        code = "insufficient_quota"

    assert not is_outage(RefusedError())
    assert not is_outage(FileNotFoundError(2, "none", "a.txt"))
    assert not is_outage(StoreFullError(Path("x"), "full"))
    assert not is_outage(OutageError("a service", 1, 0.0, "down"))
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = ConnectionResetError()
    assert is_outage(wrapped)


@pytest.mark.parametrize("wrong", [{"seconds": -1}, {"first": float("nan")}, {"longest": -2}])
def test_patience_is_of_seconds_from_0_on(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        Patience(**wrong)
