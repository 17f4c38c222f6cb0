"""What an act proposes is checked when it is proposed, and encoded once more: by its commit."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from controller_support import done, journal, proposing, steps

from controllers import Plan, RTMController, StepContext, Usage
from pmll_async import Candidate, Lattice
from pmll_async.records import proposals
from pmll_async.values import contexts


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What contexts are encoded for, each time that one is."""
    purposes: list[str] = []
    encode = contexts.encode_in_steps

    def counted(context: Any, max_bytes: int) -> Any:
        # Only a commit has a limit: a candidate may be for any lattice.
        purposes.append("candidate" if max_bytes == sys.maxsize else "commit")
        return encode(context, max_bytes)

    monkeypatch.setattr(contexts, "encode_in_steps", counted)

    def counted_at_once(context: Any, max_bytes: int) -> Any:
        # What is small is encoded without steps, or not at all.
        made = contexts.encode_at_once(context, max_bytes)
        if made is not None and context is not None:
            purposes.append("commit")
        return made

    monkeypatch.setattr(proposals, "encode_at_once", counted_at_once)
    return purposes


async def test_a_proposed_context_is_encoded_by_its_commit_alone(
    lattice: Lattice, encoded: list[str]
) -> None:
    proposed: list[str] = []

    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        candidate = Candidate(key=[1, 0], context={"text": "tea", "parts": [1, {"two": 2.5}]})
        proposed[:] = encoded
        encoded.clear()
        return candidate

    def reflect(ctx: StepContext[Any], outcome: Any) -> Any:
        seen.extend(encoded)
        return done(ctx, outcome)

    seen: list[str] = []
    await RTMController(lattice, **steps(act=[act], reflect=reflect)).run("count", run_id="r")
    assert proposed[-1] == "candidate"
    assert seen == ["commit"]


async def test_every_other_entry_is_encoded_once(lattice: Lattice, encoded: list[str]) -> None:
    async def reflect(ctx: StepContext[Any], outcome: Any) -> Any:
        await ctx.once("look", lambda: {"found": [1, 2]})
        return done(ctx, outcome)

    controller = RTMController(lattice, **steps(act=[proposing(1, 0)], reflect=reflect))
    await controller.run("count", run_id="r")
    assert encoded.count("commit") == len(await journal(lattice, "r")) == 7
    assert encoded.count("candidate") == 1  # the act's own


async def test_a_stamped_candidate_cannot_be_changed(lattice: Lattice) -> None:
    async def judge(ctx: StepContext[Any], plan: Plan[Any], candidate: Candidate) -> float:
        context: Any = candidate.context
        for inner in (context, context["pmll"], context["pmll"]["usage"], context["key"]):
            with pytest.raises(TypeError, match="contexts are immutable"):
                inner.clear()
        return 1.0

    async def plan(ctx: StepContext[Any]) -> Plan[Any]:
        ctx.spend(Usage(calls=1))
        return Plan()

    controller = RTMController(lattice, **steps(plan=plan), judge=judge)
    assert (await controller.run("count")).status == "done"


async def test_a_context_too_large_with_its_stamp_is_a_failure(lattice: Lattice) -> None:
    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        return Candidate(key=[1, 0], context={"text": "x" * (256 * 1024 - 20)})

    def reflect(ctx: StepContext[Any], outcome: Any) -> Any:
        assert "InvalidContextError" in str(outcome)
        return done(ctx, outcome)

    controller = RTMController(lattice, **steps(act=[act], reflect=reflect))
    assert (await controller.run("count")).status == "done"
