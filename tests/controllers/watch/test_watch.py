"""The live view: a reducer over events, and pictures that fit where they are shown."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from io import StringIO
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from controller_support import done, proposing, steps
from rich.cells import cell_len
from rich.console import Console
from watch_support import PICTURE, SECONDS_AN_EVENT, events, picture, shown, viewed

from controllers import (
    Acted,
    Continue,
    EffectBegun,
    EffectDone,
    Event,
    Failed,
    Judged,
    PhaseStarted,
    PlanFailed,
    Planned,
    Proposed,
    Reflected,
    Retry,
    RTMController,
    RunEnded,
    RunResult,
    StepContext,
    replay,
)
from controllers.watch import Cycle, Effect, Screen, View, watch
from controllers.watch.view import KEPT
from pmll_async import CandidateFailure, EventsMissed, Lattice

HERE: dict[str, Any] = {"run_id": "r", "cycle": 0, "anchor": "0" * 16, "goals": ("count",)}


def fates(view: View) -> dict[str, str]:
    return {entrant.name: entrant.fate for entrant in view.cycle.entrants}


def kinds(told: list[Event]) -> list[str]:
    return [type(event).__name__ for event in told]


@pytest.fixture(scope="module")
def told() -> list[Event]:
    return asyncio.run(events())


def until(told: list[Event], kind: str, *, nth: int = 1) -> View:
    """The view just after the `nth` event of a kind."""
    places = [place for place, name in enumerate(kinds(told)) if name == kind]
    return viewed(told[: places[nth - 1] + 1])


def phase(stage: Any, *names: str, **changes: Any) -> PhaseStarted:
    return PhaseStarted(**{**HERE, "attempt": 0, **changes}, stage=stage, names=names)


def after(*told: Event | EventsMissed, view: View | None = None) -> View:
    moved = View() if view is None else view
    for event in told:
        moved = moved.after(event, 0.0)
    return moved


# --- the reducer -------------------------------------------------------------------------------


def test_candidates_are_awaited_then_proposed_then_judged(told: list[Event]) -> None:
    waiting = viewed(told[:7])
    assert fates(waiting) == dict.fromkeys(("memory", "web", "archive", "phone"), "running")
    assert (waiting.stage, waiting.goals[-1]) == ("act", "which day is it?")

    proposed = until(told, "Proposed", nth=2)
    assert fates(proposed) | {"archive": ""} == {
        "memory": "proposed",
        "web": "proposed",
        "archive": "",
        "phone": "running",
    }
    judged = until(told, "Judged", nth=2)
    assert sorted(fates(judged).values()) == ["failed", "judged", "judged", "running"]
    scores = {entrant.name: entrant.score for entrant in judged.cycle.entrants if entrant.score}
    assert scores == {"memory": 0.7, "web": 0.55}


def test_a_race_ends_with_a_winner_branches_and_what_it_revises(told: list[Event]) -> None:
    view = until(told, "Acted", nth=3)
    best, second, failed, late = view.cycle.entrants
    assert (best.name, best.fate, best.score, best.strength) == ("memory", "winner", 0.8, 1.0)
    assert (second.name, second.fate, second.strength) == ("web", "branch", 0.5)
    assert (failed.fate, failed.reason) == ("failed", "TimeoutError: the archive does not answer")
    assert (late.name, late.fate) == ("phone", "unfinished")
    assert view.cycle.winner == best.anchor
    assert view.cycle.revised == 1
    # The line that is revised is the winner of the first cycle.
    raced = [event.outcome for event in told if isinstance(event, Acted)]
    assert not any(isinstance(outcome, Failed) for outcome in raced)
    assert raced[2].revised == (raced[1].winner.anchor,)  # type: ignore[union-attr]  # see above


def test_sub_goals_come_between_a_plan_and_its_acts(told: list[Event]) -> None:
    begun = until(told, "GoalStarted")
    assert begun.goals == ("when does the ferry leave?", "which day is it?")
    assert [above.plan for above in begun.above] == ["look it up, "]
    ended = until(told, "GoalEnded")
    assert (ended.above, ended.cycle.plan, ended.cycle.depth) == ((), "look it up, ", 0)
    sub_cycle, result = ended.past
    assert isinstance(sub_cycle, Cycle)
    assert (sub_cycle.depth, sub_cycle.plan) == (1, "look at the calendar")
    assert (result.goal, result.text) == ("which day is it?", "a Tuesday")  # type: ignore[union-attr]  # the goal's


def test_times_are_those_of_the_clock_that_it_is_told(told: list[Event]) -> None:
    view = viewed(told)
    last = (len(told) - 1) * SECONDS_AN_EVENT
    assert (view.began, view.ended) == (0.0, last)
    assert view.elapsed(last + 100) == last
    assert viewed(told[:-1]).elapsed(last + 100) == last + 100
    assert view.usage.calls == 3
    assert view.result is not None
    assert view.result.text == "at nine on Tuesdays"


async def test_the_chain_alone_leads_to_the_same_end(lattice: Lattice) -> None:
    controller = RTMController(lattice, **steps(act=[proposing(1, 0), proposing(0, 1)]))
    live = View()
    async with controller.stream("count", run_id="r") as run:
        async for event in run:
            live = live.after(event, 0.0)
    past = View()
    async for event in replay(lattice, "r"):
        past = past.after(event, 0.0)
    unheard = tuple(replace(entrant, confidence=None) for entrant in live.cycle.entrants)
    assert past.cycle == replace(live.cycle, entrants=unheard)
    assert (past.goals, past.usage, past.past) == (live.goals, live.usage, live.past)


def test_a_retry_keeps_the_plan_and_makes_the_first_race_past() -> None:
    failed = Failed("act", (CandidateFailure(name="a", error="ValueError", message="no"),))
    view = after(
        phase("plan", "plan"),
        phase("act", "a", "b"),
        Proposed(**HERE, attempt=0, number=1, name="b", confidence=0.5),
        Acted(**HERE, attempt=0, outcome=failed),
        Reflected(**HERE, attempt=0, verdict=Retry("again")),
        phase("act", "a", "b", attempt=1),
    )
    assert [cycle.verdict for cycle in view.past if isinstance(cycle, Cycle)] == [Retry("again")]
    assert (view.cycle.attempt, view.cycle.trouble) == (1, "")
    assert "✗ act came to nothing: a: ValueError: no" in shown(view, now=1.0)


def test_a_race_that_could_not_be_committed_says_so_beside_its_candidates() -> None:
    refused = Failed("act", (CandidateFailure(name="race", error="StaleAnchorError", message="?"),))
    view = after(
        phase("act", "a"),
        Proposed(**HERE, attempt=0, number=0, name="a", confidence=0.5),
        Acted(**HERE, attempt=0, outcome=refused),
    )
    assert fates(view) == {"a": "proposed"}
    assert "StaleAnchorError" in view.cycle.trouble


def test_a_plan_that_failed_is_told() -> None:
    failed = Failed("plan", (CandidateFailure(name="plan", error="ValueError", message="no"),))
    view = after(phase("plan", "plan"), PlanFailed(**HERE, attempt=0, outcome=failed))
    assert view.stage is None
    assert "plan came to nothing: plan: ValueError: no" in shown(view, now=1.0)


def test_effects_are_shown_as_they_happen() -> None:
    begun = after(phase("reflect", "reflect"), EffectBegun(**HERE, name="mail"))
    assert begun.cycle.effects == (Effect(name="mail"),)
    ended = after(
        EffectDone(**HERE, name="mail"), EffectDone(**HERE, name="bill", known=True), view=begun
    )
    assert [(effect.name, effect.is_known) for effect in ended.cycle.effects] == [
        ("mail", False),
        ("bill", True),
    ]
    assert "ONCE     ✔ bill (known)  ✔ mail" in shown(ended, now=1.0)


def test_who_joins_in_the_middle_or_was_slow_still_sees_what_there_is() -> None:
    view = after(
        EventsMissed(3),
        Proposed(**HERE, attempt=0, number=2, name="c", confidence=0.5),
        Judged(**HERE, attempt=0, name="c", score=0.25),
        Judged(**HERE, attempt=0, name="nobody", score=0.5),
    )
    assert fates(view) == {"act 0": "running", "act 1": "running", "c": "judged"}
    assert "3 events missed" in shown(view, now=1.0)


def test_of_a_long_run_only_the_newest_cycles_are_kept() -> None:
    view = View()
    for cycle in range(KEPT + 10):
        view = view.after(phase("plan", "plan", cycle=cycle), 0.0)
        here = {**HERE, "cycle": cycle, "attempt": 0}
        view = view.after(Reflected(**here, verdict=Continue("on")), 0.0)
    assert (len(view.past), view.dropped) == (KEPT, 9)
    rows = shown(view, now=1.0).splitlines()
    assert f"… {KEPT + 9 - 17} earlier" in rows[1]
    assert len(rows) == 23


def test_a_view_is_a_value() -> None:
    view = View()
    with pytest.raises(FrozenInstanceError):
        view.run_id = "other"  # type: ignore[misc]  # what the test is about
    assert after(phase("plan", "plan")) is not view
    assert view == View()


# --- pictures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("height", [10, 14, 23])
def test_every_picture_fits_and_shows_the_race_at_hand(
    told: list[Event], width: int, height: int
) -> None:
    for length in range(1, len(told) + 1):
        rows = shown(viewed(told[:length]), now=99.0, width=width, height=height).splitlines()
        assert len(rows) <= height
        assert {cell_len(row) for row in rows} == {min(width, 100)}
    last = shown(viewed(told[:-2]), now=99.0, width=width, height=height)
    assert "✔ memory" in last
    assert "→ chain" in last
    assert "cycle 1  of at most 8" in last
    assert "REFLECT" in last


def test_a_picture_moves_with_time_alone_while_a_phase_goes_on(told: list[Event]) -> None:
    view = until(told, "PhaseStarted", nth=3)
    since = 6 * SECONDS_AN_EVENT
    assert "⠋ 0.0 s" not in shown(view, now=since + 61.5)
    assert "1 min 01 s" in shown(view, now=since + 61.5)
    assert shown(view, now=since) != shown(view, now=since + 0.25)
    assert shown(view, now=since) == shown(view, now=since)


def test_the_end_is_told(told: list[Event]) -> None:
    assert "DONE     after 3 cycles: at nine on Tuesdays" in shown(viewed(told), now=99.0)
    stopped = viewed(told[:9]).stopped(9.0)
    assert "STOPPED  the run can be resumed" in shown(stopped, now=99.0)
    assert "◌ phone" in shown(stopped, now=99.0)
    for status, extra in {
        "failed": {"error": ValueError("no\x1b[2Jidea")},
        "paused": {"text": "which one?"},
        "exhausted": {"reason": "8 cycles are over"},
    }.items():
        result = RunResult(run_id="r", goal="g", status=status, cycles=1, **extra)  # type: ignore[arg-type]  # as named
        rows = shown(after(RunEnded(**HERE, result=result)), now=1.0)
        assert f"{status.upper():<9}" in rows
        assert "\x1b" not in rows


def test_nothing_that_is_shown_steers_the_terminal() -> None:
    evil = "\x1b[2J\x07\u202e\r\nnext\x9b31m"
    here = {**HERE, "goals": (evil, evil), "run_id": evil}
    failure = CandidateFailure(name=evil, error="E", message=evil)
    told: list[Event] = [
        PhaseStarted(**here, attempt=0, stage="act", names=(evil, evil)),
        Proposed(**here, attempt=0, number=0, name=evil, confidence=0.5),
        Proposed(**here, attempt=0, number=1, name=evil, confidence=None, failure=failure),
        EffectBegun(**here, name=evil),
        Reflected(**here, attempt=0, verdict=Continue(evil)),
    ]
    text = shown(after(*told), now=1.0, width=200)
    assert {character for character in text if not character.isprintable()} == {"\n"}
    assert "\\u001b[2J" in text


def test_wide_letters_keep_the_frame_straight() -> None:
    here = {**HERE, "goals": ("目標" * 60,)}
    view = after(PhaseStarted(**here, attempt=0, stage="act", names=("候補" * 20, "b")))
    assert {cell_len(row) for row in shown(view, now=1.0).splitlines()} == {80}


def test_a_plain_terminal_gets_plain_signs(told: list[Event]) -> None:
    console = Console(file=StringIO(), width=80, color_system=None)
    told = shown(viewed(told[:-2]), now=99.0, plain=True)
    body = "".join(row[1:-1] for row in told.splitlines()[1:-1])
    assert body.isascii()
    assert console.options.ascii_only is False


def test_the_picture_in_the_documentation_is_a_real_run(told: list[Event]) -> None:
    """``python tests/controllers/watch/watch_support.py`` draws it again."""

    def words(text: str) -> list[str | None]:
        root = ET.fromstring(text)
        return [element.text for element in root.iter() if element.tag.endswith("}text")]

    kept = PICTURE.read_text(encoding="utf-8")
    assert words(kept) == words(picture(told))
    assert "http" not in kept.replace("http://www.w3.org/2000/svg", "")


# --- on a terminal -----------------------------------------------------------------------------


async def test_watching_a_run_leaves_its_last_picture(lattice: Lattice) -> None:
    out = StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True, color_system=None)

    async def slow(ctx: StepContext[Any], plan: Any) -> Any:
        assert "\x1b[?25l" in out.getvalue()  # the cursor is hidden
        return await proposing(1, 0)(ctx, plan)

    controller = RTMController(lattice, **steps(act=[slow], reflect=done))
    async with controller.stream("count", run_id="r") as run:
        view = await watch(run, console=console, max_cycles=3)
    assert view.result == run.result
    assert "DONE     after 1 cycle: fine" in out.getvalue()
    assert out.getvalue().rstrip().endswith("\x1b[?25h")


def test_an_event_costs_no_picture() -> None:
    class Counting(StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            return super().write(text)

    out = Counting()
    console = Console(file=out, width=80, height=24, force_terminal=True)
    # A clock that stands still: pictures come with real time, of which this takes next to none.
    with Screen(console, clock=lambda: 0.0) as screen:
        for cycle in range(2_000):
            screen.take(Planned(**{**HERE, "cycle": cycle}, attempt=0, plan=PLAN))
    assert out.writes < 200


PLAN: Any = type("Said", (), {"text": "on", "goals": ()})()


def test_without_rich_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['rich'] = None\nimport controllers\nimport controllers.watch"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError: watching needs rich: pip install 'pmll-async[cli]'" in ran.stderr
