"""Sub-goals: depth first, on a stack, within bounds."""

from __future__ import annotations

from typing import Any

from controller_support import steps

from controllers import Done, GoalResult, Outcome, Plan, RTMController, StepContext, Verdict
from pmll_async import Lattice


async def test_sub_goals_run_depth_first(lattice: Lattice) -> None:
    order: list[tuple[str, ...]] = []
    results: dict[str, tuple[GoalResult, ...]] = {}

    def plan(ctx: StepContext[Any]) -> Plan[int]:
        order.append(ctx.goals)
        return Plan(goals=[f"{ctx.goal}{n}" for n in range(2)] if ctx.depth < 2 else ())

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        results[ctx.goal] = ctx.results
        return Done(f"did {ctx.goal}", ctx.depth)

    result = await RTMController(lattice, **steps(plan=plan, reflect=reflect)).run("g")
    assert [goals[-1] for goals in order] == ["g", "g0", "g00", "g01", "g1", "g10", "g11"]
    assert order[3] == ("g", "g0", "g01")
    assert [(r.goal, r.status, r.text, r.data) for r in results["g"]] == [
        ("g0", "done", "did g0", 1),
        ("g1", "done", "did g1", 1),
    ]
    assert all(r.winner in lattice for r in results["g"])
    assert (result.text, result.cycles) == ("did g", 7)


async def test_endless_recursion_is_bounded_and_told(lattice: Lattice) -> None:
    told: list[GoalResult] = []

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        told.extend(ctx.results)
        return Done()

    controller = RTMController(
        lattice,
        **steps(plan=lambda ctx: Plan(goals=["deeper"]), reflect=reflect),
        max_depth=3,
    )
    result = await controller.run("deep")
    assert result.cycles == 4
    assert (told[0].status, told[0].reason) == ("exhausted", "3 levels of sub-goals are enough")
    assert [each.status for each in told[1:]] == ["done"] * 3
