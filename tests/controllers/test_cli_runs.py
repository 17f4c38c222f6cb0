"""`pmll run`, `resume`, `runs` and `replay` as people call them: other processes, real files."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from cli_support import PMLL, TIMEOUT, environment, pmll
from controller_support import steps

from controllers import Pause, RTMController
from pmll_async import Lattice

AGENT = """
import os
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from controllers import Continue, Done, Pause, Plan, RTMController
from pmll_async import Candidate, Lattice


def plan(ctx):
    print("a step prints")
    return Plan("count on", ctx.previous.data if ctx.previous else 0)


async def one(ctx, plan):
    while ctx.goal == "wait" and ctx.cycle and not Path("gate").exists():
        await anyio.sleep(0.01)
    return Candidate(key=[1, 0], context={"n": plan.data + 1}, confidence=0.4)


async def two(ctx, plan):
    return Candidate(key=[0, 1], context={"n": plan.data + 2}, confidence=0.6)


async def reflect(ctx, outcome):
    if ctx.goal == "fail":
        raise ValueError("no\\x1b[2Jidea")
    if ctx.goal == "ask" and ctx.answer is None:
        return Pause("how many?", [1, 2])
    n = outcome.winner.context["n"] if ctx.answer is None else ctx.answer
    return Done(f"reached {n}\\nand more", n) if ctx.cycle or ctx.answer else Continue("on", n)


STEPS = {"plan": plan, "act": [one, two], "reflect": reflect}
controller = RTMController(Lattice.open("runs", dim=2), **STEPS)
short = RTMController(Lattice.open("runs", dim=2), **STEPS, max_cycles=1)


@asynccontextmanager
async def made():
    async with Lattice.open("runs", dim=2) as lattice:
        yield RTMController(lattice, **STEPS), {"some": "deps"}
        assert await lattice.put([1, 0])  # still open
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "agent.py").write_text(AGENT, encoding="utf-8")
    (tmp_path / "broken.py").write_text("import no_such_package\n", encoding="utf-8")
    return tmp_path


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def without_times(text: str) -> list[str]:
    """The lines without the time of day; the first one is the day."""
    return [line[10:] for line in text.splitlines()[1:]]


TOLD = [
    "run       count (run first)",
    "plan      cycle 0: count on",
    "act       ✔ two  0.600  → chain ",
    "            one  0.400  → branch , strength 0.5",
    "reflect   continue: on",
    "plan      cycle 1: count on",
    "act       ✔ two  0.600  → chain ",
    "            one  0.400  → branch , strength 0.5",
    "reflect   done: reached 4 and more",
    "done      after 2 cycles: reached 4 and more",
]
PASSING = ("act       racing", "act       ●")


def unanchored(lines: list[str]) -> list[str]:
    return [re.sub(r"[0-9a-f]{16}", "", line) for line in lines]


# --- running -----------------------------------------------------------------------------------


def test_a_run_is_told_line_by_line_and_replayed_in_the_same_words(here: Path) -> None:
    done = pmll("run", "agent:controller", "count", "--run-id", "first", cwd=here)
    assert (done.returncode, done.stderr) == (0, "a step prints\n" * 2)
    live = without_times(done.stdout)
    assert unanchored([line for line in live if not line.startswith(PASSING)]) == TOLD
    assert "act       racing one, two" in live
    assert "act       ● two  confidence 0.60" in live
    again = pmll("replay", "runs", "fir", cwd=here)
    assert (again.returncode, again.stderr) == (0, "")
    assert without_times(again.stdout) == [line for line in live if not line.startswith(PASSING)]


def test_with_json_each_event_is_a_document(here: Path) -> None:
    done = pmll("run", "agent:controller", "count", "--run-id", "first", "--json", cwd=here)
    told = documents(done.stdout)
    assert (done.returncode, {event["run_id"] for event in told}) == (0, {"first"})
    assert [event["event"] for event in told if event["cycle"] == 0] == [
        "run.started",
        "run.phase_started",
        "run.planned",
        "run.phase_started",
        "run.proposed",
        "run.proposed",
        "run.acted",
        "run.phase_started",
        "run.reflected",
    ]
    again = documents(pmll("replay", "runs", "first", "--json", cwd=here).stdout)
    passing = ("run.phase_started", "run.proposed")
    lasting = [event for event in told if event["event"] not in passing]
    for event in (*lasting, *again):
        assert event.pop("at") > 1_700_000_000
    assert again == lasting
    acted = next(event for event in again if event["event"] == "run.acted")
    assert list(acted["branches"].values()) == [0.5]


def test_quietly_only_the_text_is_printed(here: Path) -> None:
    done = pmll("run", "agent:made", "count", "--quiet", cwd=here)
    assert (done.returncode, done.stdout) == (0, "reached 4\nand more\n")


def test_a_wrong_name_says_what_is_wanted(here: Path) -> None:
    done = pmll("run", "agent:nothing", "count", cwd=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no 'nothing' in the module 'agent'" in done.stderr
    assert 'RTMController(Lattice.open("memory", dim=384)' in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_module_itself_cannot_import_shows_as_such(here: Path) -> None:
    done = pmll("run", "broken:controller", "count", cwd=here)
    assert done.returncode == 1
    assert "No module named 'no_such_package'" in done.stderr
    assert "broken.py" in done.stderr


def test_ways_to_tell_exclude_each_other(here: Path) -> None:
    done = pmll("run", "agent:controller", "count", "--json", "--quiet", cwd=here)
    assert (done.returncode, "exclude each other" in done.stderr) == (2, True)


def test_a_run_id_is_used_once(here: Path) -> None:
    for code in (0, 1):
        done = pmll("run", "agent:controller", "count", "--run-id", "first", cwd=here)
        assert done.returncode == code
    assert done.stderr.startswith("pmll: run 'first' is on the chain already")


def test_a_failed_run_shows_the_steps_error_and_how_to_go_on(here: Path) -> None:
    done = pmll("run", "agent:controller", "fail", "--run-id", "first", cwd=here)
    assert done.returncode == 1
    assert "failed    after 1 cycle: ValueError: no\\u001b[2Jidea" in done.stdout
    assert 'raise ValueError("no\\x1b[2Jidea")' in done.stderr
    assert done.stderr.endswith("tried again by: pmll resume agent:controller first\n")
    assert "\x1b" not in done.stderr
    again = pmll("replay", "runs", "first", cwd=here)
    assert again.stdout.splitlines()[-1][10:] == (
        "failed    after 1 cycle: ValueError: no\\u001b[2Jidea"
    )


def test_a_limit_has_a_code_of_its_own(here: Path) -> None:
    done = pmll("run", "agent:short", "count", cwd=here)
    assert done.returncode == 4
    assert done.stdout.endswith("exhausted after 1 cycle: 1 cycles are over\n")


@pytest.mark.parametrize(("answer", "reached"), [("7", "reached 7"), ("a lot", "reached a lot")])
def test_a_paused_run_waits_for_its_answer(here: Path, answer: str, reached: str) -> None:
    done = pmll("run", "agent:controller", "ask", "--run-id", "first", "--quiet", cwd=here)
    assert (done.returncode, done.stdout) == (3, "")
    assert "pmll: the run asks: how many? [1,2]\n" in done.stderr
    assert done.stderr.endswith("with: pmll resume agent:controller first --answer TEXT\n")
    done = pmll("resume", "agent:controller", "first", cwd=here)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pmll: run 'first' waits for an answer (--answer) to 'how many?'\n"
    done = pmll("resume", "agent:controller", "fi", "--answer", answer, "-q", cwd=here)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, reached)
    # A run that is done tells how it ended, and nothing is done again.
    done = pmll("resume", "agent:controller", "first", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert without_times(done.stdout) == [f"done      after 1 cycle: {reached} and more"]


# --- interrupted -------------------------------------------------------------------------------


def started(here: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*PMLL, *arguments]
    return subprocess.Popen(
        command,
        cwd=here,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def read_until(lines: IO[str] | None, words: str) -> str:
    assert lines is not None
    for line in lines:
        if words in line:
            return line
    raise AssertionError(f"there was no line with {words!r}")


@pytest.fixture
def waiting(here: Path) -> Iterator[subprocess.Popen[str]]:
    """A run whose second race waits for a file."""
    with started(here, "run", "agent:controller", "wait", "--run-id", "first", "--json") as process:
        read_until(process.stdout, '"event":"run.reflected"')
        read_until(process.stdout, '"event":"run.proposed"')
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_is_journaled_and_says_how_to_go_on(
    here: Path, waiting: subprocess.Popen[str]
) -> None:
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=TIMEOUT)
    assert waiting.returncode == 130
    assert said.splitlines()[-1] == (
        "pmll: interrupted; the run goes on with: pmll resume agent:controller first"
    )
    assert "Traceback" not in said
    assert "first  cancelled " in pmll("runs", "runs", cwd=here).stdout
    (here / "gate").touch()
    done = pmll("resume", "agent:controller", "first", cwd=here)
    assert done.returncode == 0
    told = unanchored(without_times(pmll("replay", "runs", "first", cwd=here).stdout))
    changed = [line for line in told if line not in TOLD]
    assert changed == [
        "run       wait (run first)",
        "cancelled after 2 cycles: on",
        "resumed   wait (run first, resume 1)",
    ]


def test_a_reader_that_is_gone_stops_the_run_resumably(
    here: Path, waiting: subprocess.Popen[str]
) -> None:
    assert waiting.stdout is not None
    waiting.stdout.close()
    (here / "gate").touch()
    assert waiting.wait(TIMEOUT) == 141
    assert "first  cancelled " in pmll("runs", "runs", cwd=here).stdout


# --- looking -----------------------------------------------------------------------------------


def test_replay_beside_the_process_that_runs_it(here: Path, waiting: subprocess.Popen[str]) -> None:
    done = pmll("replay", "runs", "first", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    so_far = unanchored(without_times(done.stdout))
    assert so_far == ["run       wait (run first)", *TOLD[1:6]]
    listed = documents(pmll("runs", "runs", "--json", cwd=here).stdout)
    assert [(run["run_id"], run["goal"], run["status"]) for run in listed] == [
        ("first", "wait", "open")
    ]
    with started(here, "replay", "runs", "first", "--follow") as follower:
        read_until(follower.stdout, "cycle 1: count on")
        (here / "gate").touch()
        rest, _ = follower.communicate(timeout=TIMEOUT)
        assert follower.returncode == 0
    assert unanchored([line[10:] for line in rest.splitlines()]) == TOLD[6:]
    waiting.communicate(timeout=TIMEOUT)
    assert waiting.returncode == 0


async def make_runs(path: Path) -> None:
    async with Lattice.open(path, dim=2) as lattice:
        asking = RTMController(lattice, **steps(plan=lambda ctx: Pause("what?")))
        await RTMController(lattice, **steps()).run("count", run_id="a-1")
        await asking.run("ask", run_id="a-2")
        await RTMController(lattice, **steps()).run("two\nlines", run_id="b\x1b[2J")


def test_runs_are_listed_and_found_by_how_they_begin(tmp_path: Path) -> None:
    path = tmp_path / "runs"
    asyncio.run(make_runs(path))
    rows = [line.split() for line in pmll("runs", path).stdout.splitlines()]
    assert [(row[0], row[1], *row[4:]) for row in rows] == [
        ("b\\u001b[2J", "done", "two", "lines"),
        ("a-2", "paused", "ask"),
        ("a-1", "done", "count"),
    ]
    (only,) = documents(pmll("runs", path, "-n", "1", "--json").stdout)
    assert (only["run_id"], only["goal"]) == ("b\x1b[2J", "two\nlines")
    assert pmll("replay", path, "b").stdout.count("\n") == 6
    for wanted, sentence in (
        ("a", "pmll: more than one run begins with 'a': a-2, a-1\n"),
        ("c", "pmll: no run 'c' is on the chain; there are: b\\u001b[2J, a-2, a-1\n"),
    ):
        done = pmll("replay", path, wanted)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)


def test_where_there_are_no_runs(tmp_path: Path) -> None:
    async def make() -> None:
        async with Lattice.open(tmp_path / "empty", dim=2, integrity_key=b"key"):
            pass

    asyncio.run(make())
    (tmp_path / "key").write_bytes(b"key")
    key = ("--key-file", tmp_path / "key")
    assert pmll("runs", tmp_path / "empty", *key).stdout == ""
    done = pmll("replay", tmp_path / "empty", "x", *key)
    assert done.stderr == "pmll: no run 'x' is on the chain; there are: none\n"
    wrong = pmll("runs", tmp_path / "empty")
    assert (wrong.returncode, "--key-file" in wrong.stderr) == (1, True)
    missing = pmll("runs", tmp_path / "nowhere")
    assert missing.stderr == f"pmll: {tmp_path / 'nowhere'} is not a store\n"


@pytest.mark.parametrize("command", ["run", "resume", "runs", "replay"])
def test_the_help_of_each_command_gives_an_example(command: str) -> None:
    done = pmll(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"\n    pmll {command} " in done.stdout


def test_the_help_of_run_names_its_exit_codes() -> None:
    told = pmll("run", "--help").stdout
    assert [code for code in (0, 1, 2, 3, 4, 130) if f"\n    {code} " not in told] == []


# --- on a terminal -----------------------------------------------------------------------------


def test_watching_on_a_terminal_draws_in_place(here: Path) -> None:
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [*PMLL, "run", "agent:controller", "count", "--watch", "--run-id", "first"],
        cwd=here,
        env=environment(TERM="xterm-256color", COLUMNS="80", LINES="24"),
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
    )
    os.close(secondary)
    shown = b""
    with process:
        while chunk := _read(primary):
            shown += chunk
    os.close(primary)
    assert process.returncode == 0
    text = shown.decode()
    assert "DONE" in text
    assert text.count("a step prints") == 2
    assert text.rstrip().endswith("\x1b[?25h")  # the cursor is back
    last = text.rpartition("╭─")[2]
    assert "→ chain" in last
    assert "reached 4 and more" in last


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux tells that nobody writes any more
        return b""
