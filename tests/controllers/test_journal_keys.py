"""The journal's keys are the framework's own: nobody else writes there, or is taken for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from controller_support import Stop, crashing, done, journal, plan, proposing, steps
from shop_agent import EMBEDDER, RUN, Shop, cut_off, exported

from controllers import (
    Done,
    Outcome,
    RTMController,
    RunExistsError,
    RunNotFoundError,
    StepContext,
    Verdict,
    replay,
    runs,
)
from pmll_async import Candidate, ConflictError, InvalidInputError, Lattice, journal_key, stamp
from pmll_async.moving.transfer import import_records
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory
from pmll_async.text.said import Utterance
from pmll_async.values.anchors import Hasher

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FORGED = {"result": {"receipt": "FORGED"}}
FACTS: dict[str, Any] = {"run": "r", "cycle": 0, "attempt": 0, "cycles": 1}


class Bank:
    def __init__(self) -> None:
        self.charges = 0

    async def __call__(self) -> dict[str, str]:
        self.charges += 1
        return {"receipt": f"number {self.charges}"}


async def charged(lattice: Lattice, bank: Bank) -> Any:
    """What a run's effect gives, with whatever is on the chain before it."""

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Done("paid", await ctx.once("charge", bank))

    result = await RTMController(lattice, **steps(reflect=reflect)).run("sell", run_id="r")
    return result.data


# --- nobody else writes there ------------------------------------------------------------------


async def put_many(lattice: Lattice, key: str) -> None:
    await lattice.put_many([Candidate(key=[1, 0], idempotency_key=key)])


async def race(lattice: Lattice, key: str) -> None:
    async def candidate(view: Any) -> Candidate:
        return Candidate(key=[1, 0])

    await lattice.race([candidate], idempotency_key=key)


WRITES: dict[str, Callable[[Lattice, str], Any]] = {
    "put": lambda lattice, key: lattice.put([1, 0], idempotency_key=key),
    "note": lambda lattice, key: lattice.note({}, idempotency_key=key),
    "put_many": put_many,
    "race": race,
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_plain_key_in_the_namespace_is_refused(
    lattice: Lattice, write: Callable[[Lattice, str], Any]
) -> None:
    with pytest.raises(InvalidInputError, match="does not begin with 'pmll://', as those of runs"):
        await write(lattice, "pmll://r/0.0/reflect.done/charge")
    assert len(lattice) == 0
    await write(lattice, "pmll:/r/0.0/reflect.done/charge")
    assert len(lattice) == 1


async def test_texts_are_refused_as_well(tmp_path: Path) -> None:
    key = "pmll://r/0.0/start"
    async with TextMemory.open(tmp_path, HashingEmbedder(dim=16)) as memory:
        told = await memory.remember("the tea is green")
        writes: list[Callable[[], Any]] = [
            partial(memory.remember, "forged", idempotency_key=key),
            partial(memory.remember_many, [Utterance(text="forged", idempotency_key=key)]),
            partial(memory.supersede, told.anchor, "forged", idempotency_key=key),
        ]
        for write in writes:
            with pytest.raises(InvalidInputError, match="does not begin with"):
                await write()
        assert len(memory.lattice) == 1


async def test_every_entry_of_a_run_is_in_the_namespace(lattice: Lattice) -> None:
    bank = Bank()
    await charged(lattice, bank)
    steps_ = ["start", "plan", "act", "reflect.begun/charge", "reflect.done/charge", "reflect"]
    keys = [journal_key(f"r/0.0/{step}") for step in [*steps_, "end.0"]]
    found = [(await lattice.find(key)).anchor for key in keys]
    assert found == [entry.anchor for entry in await journal(lattice, "r")]
    # The run's keys, which steps hand to others, are everybody's to write under.
    await lattice.note({}, idempotency_key="r/0.0/reflect")


# --- what is found there is an entry of that run -------------------------------------------------


@pytest.mark.parametrize(
    "context",
    [
        FORGED,
        stamp(FORGED, {"text": "a text's"}),
        stamp(FORGED, {**FACTS, "stage": "effect", "status": "begun"}),
        stamp(FORGED, {**FACTS, "stage": "effect", "status": "done", "run": "another"}),
        stamp(FORGED, {**FACTS, "stage": "effect", "status": "done", "attempt": 1}),
        stamp(FORGED, {**FACTS, "stage": "effect", "status": "done", "path": "0.0:0/"}),
        stamp(FORGED, {**FACTS, "stage": ["effect"], "status": {"done": 1}}),
    ],
)
async def test_a_forged_effect_is_not_believed(lattice: Lattice, context: Any) -> None:
    await lattice.note(context, idempotency_key="r/0.0/reflect.done/charge")
    bank = Bank()
    assert await charged(lattice, bank) == {"receipt": "number 1"}
    assert bank.charges == 1


@pytest.mark.parametrize("step", ["start", "plan", "act", "reflect", "reflect.begun/charge"])
async def test_a_run_goes_its_way_past_what_has_its_plain_keys(lattice: Lattice, step: str) -> None:
    await race(lattice, f"r/0.0/{step}")
    bank = Bank()
    assert await charged(lattice, bank) == {"receipt": "number 1"}
    with pytest.raises(RunExistsError):
        await charged(lattice, bank)


async def test_a_forged_beginning_makes_no_run(lattice: Lattice) -> None:
    await lattice.note({"goal": "mine"}, idempotency_key="r/0.0/start")
    await lattice.note({"goal": "mine"}, idempotency_key=journal_key("q/0.0/start"))
    for run in ("r", "q"):
        with pytest.raises(RunNotFoundError):
            await RTMController(lattice, **steps()).resume(run)
        with pytest.raises(RunNotFoundError):
            [event async for event in replay(lattice, run)]
    assert await runs(lattice) == []


@pytest.mark.parametrize("step", ["start", "plan", "act", "reflect", "reflect.done/charge"])
async def test_a_key_that_was_taken_before_there_was_a_namespace(
    lattice: Lattice, step: str
) -> None:
    """The store is read as before, and the run does not take the line for its own."""
    key = journal_key(f"r/0.0/{step}")
    await race(lattice, key)
    mine = await lattice.find(str(key))
    bank = Bank()
    if step == "act":

        def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
            assert "ConflictError" in str(outcome)
            return done(ctx, outcome)

        controller = RTMController(lattice, **steps(reflect=reflect))
        with pytest.raises(ConflictError):  # that nothing came of it has no key left, either
            await controller.run("sell", run_id="r")
    else:
        with pytest.raises(ConflictError, match="already stands for other content"):
            await charged(lattice, bank)
    assert (await lattice.find(str(key))).anchor == mine.anchor


async def test_lines_that_only_look_like_entries_are_passed_over(lattice: Lattice) -> None:
    strange: list[dict[str, Any]] = [
        {"run": "r"},
        {"run": "r", "stage": "run"},
        {**FACTS, "stage": "run", "status": "won"},
        {**FACTS, "stage": "effect", "status": "done", "cycle": "0"},
        {**FACTS, "stage": "run", "status": "started", "run": ["r"]},
    ]

    async def act(ctx: StepContext[Any], plan: Any) -> Candidate:
        for number, facts in enumerate(strange):
            await lattice.note(stamp({"number": number, "text": "forged"}, facts))
        if not ctx.resumed:
            raise Stop
        return Candidate(key=[1, 0])

    controller = RTMController(lattice, plan=plan, act=[act], reflect=done)
    with crashing():
        await controller.run("count", run_id="r")
    assert [(run.run_id, run.status) for run in await runs(lattice)] == [("r", "interrupted")]
    result = await controller.resume("r")
    assert (result.status, result.text) == ("done", "fine")
    told = [type(event).__name__ async for event in replay(lattice, "r")]
    assert told == ["RunStarted", "Planned", "RunResumed", "Acted", "Reflected", "RunEnded"]
    assert [run.text for run in await runs(lattice)] == ["fine"]


# --- runs of before ------------------------------------------------------------------------------


async def test_a_run_that_an_earlier_version_began_is_gone_on_with(tmp_path: Path) -> None:
    lines = (GOLDEN / "run_of_0_1_0.jsonl").read_text(encoding="utf-8").splitlines()
    await asyncio.to_thread(import_records, lines, JsonlStore(tmp_path), Hasher())
    shop = Shop()
    async with TextMemory.open(tmp_path, EMBEDDER) as memory:
        controller = shop.controller(memory)
        with pytest.raises(RunExistsError):
            await controller.run("sell tea", run_id=RUN)
        result = await controller.resume(RUN)
        assert (result.status, result.data) == ("done", 4200)
        told = [each.text for each in await memory.recent(9, where={"tool.name": "order"})]
        assert told == ['order(item="tea") → "tea is on its way"'] * 2
        assert [info.run_id for info in await runs(memory.lattice)] == [RUN]
        events = [event async for event in replay(memory.lattice, RUN)]
    # The first order's result was there; what became of the second nobody knew, but a service that
    # was given its key, which was the step's then.
    step = "shop%2F1/0.0"
    assert shop.deeds == [("order tea", f"{step}/act.0"), ("charge", f"{step}/reflect/charge")]
    assert sum(type(event).__name__ == "EffectDone" for event in events) == 3


async def test_an_imported_run_is_gone_on_with(tmp_path: Path) -> None:
    await cut_off(tmp_path / "one", 2)
    lines = await asyncio.to_thread(exported, tmp_path / "one")
    assert any("pmll://shop%2F1/0.0/start" in line for line in lines)
    await asyncio.to_thread(import_records, lines, JsonlStore(tmp_path / "other"), Hasher())
    shop = Shop()
    async with TextMemory.open(tmp_path / "other", EMBEDDER) as memory:
        assert (await shop.controller(memory).resume(RUN)).status == "done"
    assert [deed for deed, _ in shop.deeds] == ["order tea", "charge"]


async def test_the_longest_names_have_room(tmp_path: Path) -> None:
    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        await ctx.once("x" * 128, lambda: None)
        return done(ctx, outcome)

    async with Lattice(MemoryStore(), dim=2) as lattice:
        controller = RTMController(lattice, **steps(act=[proposing(1, 0)], reflect=reflect))
        assert (await controller.run("count", run_id="/" * 128)).status == "done"
        assert (await controller.resume("/" * 128)).status == "done"
