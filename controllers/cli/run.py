"""`pmll run` and `pmll resume`: a controller of the user's, driven from a command line."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
import traceback
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, redirect_stdout
from dataclasses import dataclass, field
from typing import Annotated, Any, TextIO

from pmll_async import PmllError
from pmll_async.values.extras import missing

from ..events import RunEnded, RunResult
from ..journal.history import replay, runs
from ..journal.resume_point import RunPausedError
from ..policies import Allowance
from ..reports.documents import jsonable
from ..reports.plain import printable
from ..run.streams import RunStream

try:
    import typer

    from ..watch import View
except ModuleNotFoundError as exc:
    raise missing("`pmll run`", "cli", exc) from exc

from .output import EXIT_CODES, Manner, RunTeller, chosen
from .output import as_json as json_text
from .targets import attribute, opened

Controller = Annotated[
    str, typer.Argument(metavar="MODULE:CONTROLLER", help="What to run.", show_default=False)
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show it live on a terminal.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the text it ends with.")]


@dataclass(slots=True)
class _RunSession:
    """One call of the command; what is known of its run survives an interruption."""

    name: str
    manner: Manner
    run_id: str = ""
    has_begun: bool = False
    result: RunResult | None = None
    out: TextIO = field(default_factory=lambda: sys.stdout)

    def conclude(self, work: Callable[[object], Coroutine[Any, Any, None]]) -> None:
        """Do the work with what the name names, then exit with the run's code.

        What modules and steps print meanwhile goes to stderr: stdout is the run's own.
        """
        try:
            with redirect_stdout(sys.stderr):
                asyncio.run(work(attribute(self.name)))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._interrupted()) from None
        if self.result is None:
            return
        if self.result.status == "paused":
            self._ask(self.result)
        raise typer.Exit(EXIT_CODES[self.result.status])

    async def drive(self, stream: AbstractAsyncContextManager[RunStream], view: View) -> None:
        """Tell a run's events until there are no more."""
        error: Exception | None = None
        with self.manner.teller(self.out, view) as teller:
            async with stream as run:
                self.has_begun = True
                # Also where Ctrl-C ends it: how the run ended decides what is said.
                try:
                    count, error = await _followed(run, teller)
                finally:
                    self.result = run.result
                if self.result is not None and not count:
                    teller.take(_ended(self.result))
        if error is not None:
            self._failed(error)

    def _ask(self, result: RunResult) -> None:
        about = "" if result.data is None else f" {json_text(jsonable(result.data))}"
        self._say(f"the run asks: {result.text}{about}")
        self._say(f"it goes on with: {self._resume()} --answer TEXT")

    def _failed(self, error: Exception) -> None:
        if isinstance(error, PmllError):
            self._say(str(error))
        else:
            lines = "".join(traceback.format_exception(error)).splitlines()
            sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
        self._say(f"the run failed; its last step is tried again by: {self._resume()}")

    def _interrupted(self) -> str:
        if not self.has_begun:
            return "interrupted before the run began"
        if self.result is not None and self.result.status != "cancelled":
            return f"interrupted; the run was {self.result.status} by then"
        return f"interrupted; the run goes on with: {self._resume()}"

    def _resume(self) -> str:
        return f"pmll resume {shlex.quote(self.name)} {shlex.quote(self.run_id)}"

    def _say(self, text: str) -> None:
        sys.stderr.write(f"pmll: {printable(text)}\n")


async def _followed(run: RunStream, teller: RunTeller) -> tuple[int, Exception | None]:
    """How many events there were, and what the run raised; what telling raises goes through."""
    events, count = aiter(run), 0
    while True:
        try:
            event = await anext(events)
        except StopAsyncIteration:
            return count, None
        # It is the user's code that ran, and the journal has it as well: here it is told.
        except Exception as exc:  # noqa: BLE001
            return count, exc
        teller.take(event)
        count += 1


def _ended(result: RunResult) -> RunEnded:
    """What a run that was over before told last."""
    return RunEnded(
        run_id=result.run_id,
        cycle=max(0, result.cycles - 1),
        anchor=result.anchor,
        goals=(result.goal,),
        usage=result.usage,
        result=result,
    )


def run(
    controller: Controller,
    goal: Annotated[str, typer.Argument(help="What is to be reached.", show_default=False)],
    watch: Watch = False,
    run_id: Annotated[
        str | None, typer.Option("--run-id", metavar="ID", help="Call the run this.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run a controller of yours towards a goal.

    MODULE:CONTROLLER names a controller, or a function without arguments that gives one: with
    my_agent.py in this folder and `controller` in it, my_agent:controller. The run is told on
    stdout, what its steps print goes to stderr. Ctrl-C stops it so that `pmll resume` can go on.

    \b
    Example:
      pmll run my_agent:controller "count to four" --watch

    \b
    Exit codes:
      0    done
      1    failed, or another error
      2    the command was called wrongly, or there is no such controller
      3    paused: a step wants an answer
      4    exhausted: a limit came before the goal was reached
      130  interrupted with Ctrl-C
    """  # noqa: D301  # typer's mark for lines that stay as they are
    session = _RunSession(controller, Manner(watch, as_json, quiet))
    # Known before the run is begun, so that an interruption can say how to go on.
    session.run_id = uuid.uuid4().hex if run_id is None else run_id

    async def work(found: object) -> None:
        async with opened(found) as known:
            stream = known.controller.stream(goal, known.deps, run_id=session.run_id)
            await session.drive(stream, View(max_cycles=known.max_cycles))

    session.conclude(work)


def resume(
    controller: Controller,
    run: Annotated[str, typer.Argument(help="The run's id, or how it begins.", show_default=False)],
    answer: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What a paused run asked for: JSON, or else plain text."),
    ] = None,
    cycles: Annotated[
        int, typer.Option(min=0, metavar="N", help="So many cycles beyond its limits.")
    ] = 0,
    watch: Watch = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a run that was interrupted, failed, paused or exhausted.

    What is on the chain is not done again. A run that is done tells only how it ended. The exit
    codes are those of `pmll run`.

    \b
    Example:
      pmll resume my_agent:controller 9f2c1ab4 --answer yes
    """  # noqa: D301  # typer's mark for lines that stay as they are
    session = _RunSession(controller, Manner(watch, as_json, quiet))

    async def work(found: object) -> None:
        async with opened(found) as known:
            ids = [info.run_id for info in await runs(known.lattice())]
            session.run_id = chosen(ids, run)
            view = View(max_cycles=known.max_cycles)
            async for event in replay(known.lattice(), session.run_id):
                view = view.after(event, 0.0)
            going = known.controller.stream_resumed(
                session.run_id,
                known.deps,
                answer=_answer(answer),
                budget=Allowance(cycles=cycles),
            )
            try:
                await session.drive(going, view)
            except RunPausedError as exc:
                raise PmllError(
                    f"run {exc.run_id!r} waits for an answer (--answer) to {exc.question!r}"
                ) from None

    session.conclude(work)


def _answer(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return text


def _refused(constant: str) -> None:
    # NaN and Infinity, which Python reads and the chain refuses.
    raise ValueError(constant)
