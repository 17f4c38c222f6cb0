"""Telling a person, on a terminal as wide as it is, or a program, as one JSON document."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

import typer
from rich.box import ROUNDED
from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .account import Answered, PlanMade, Race, Racer, Teller, VerdictGiven
from .loop import GOOD, POOR

_WIDEST_PANEL: Final = 90  # columns: a passage is there to be read
_NAMES: Final = {
    "remembered": "remembered",
    "whole_question": "whole question",
    "word_votes": "word votes",
    "topic_first": "topic first",
    "feedback": "feedback",
}


@dataclass(frozen=True, slots=True)
class OpenedMemory:
    """The memory as the demo found it, and what it had to add."""

    path: str
    lines: int
    new_lines: int
    passages: int
    topics: int
    runs: int
    recovered: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """What checking every byte of the closed memory gave."""

    path: str
    records: int
    head: str
    findings: tuple[str, ...] = ()


class Narrator(Teller, Protocol):
    """A teller of the whole demo."""

    def opened(self, opened: OpenedMemory) -> None:
        """The memory is ready."""

    def verified(self, verified: Verified) -> None:
        """The memory is closed and checked."""


@dataclass(slots=True)
class JsonNarrator:
    """Collects everything, to print it as one JSON document at the end."""

    opened_as: dict[str, Any] = field(default_factory=dict)
    questions: list[dict[str, Any]] = field(default_factory=list)

    def opened(self, opened: OpenedMemory) -> None:
        """What the memory holds."""
        self.opened_as = asdict(opened)

    def asked(self, question: str, run_id: str) -> None:
        """Another question."""
        self.questions.append({"question": question, "run_id": run_id, "cycles": []})

    def planned(self, plan: PlanMade) -> None:
        """Another cycle."""
        self.questions[-1]["cycles"].append({"plan": asdict(plan)})

    def raced(self, race: Race) -> None:
        """The cycle's race."""
        self.questions[-1]["cycles"][-1]["race"] = asdict(race)

    def reflected(self, verdict: VerdictGiven) -> None:
        """The cycle's verdict."""
        self.questions[-1]["cycles"][-1]["reflect"] = asdict(verdict)

    def answered(self, answer: Answered) -> None:
        """The question's answer."""
        self.questions[-1]["answer"] = asdict(answer)

    def verified(self, verified: Verified) -> None:
        """Print the document."""
        told = {
            "memory": self.opened_as,
            "questions": self.questions,
            "verified": asdict(verified) | {"clean": not verified.findings},
        }
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))


class ConsoleNarrator:
    """Prints as things happen; colours and width are the console's affair."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def opened(self, opened: OpenedMemory) -> None:
        """How much is remembered, and whether anything had to be read."""
        out = self._console
        place = escape(opened.path)
        if opened.recovered:
            out.print(f"[yellow]{escape(opened.recovered)}[/]")
        if opened.new_lines:
            out.print(
                f"Read Python's language reference into [bold]{place}[/]: {opened.passages}"
                f" passages of {opened.topics} topics, {opened.new_lines} new lines on the chain."
            )
            out.print("[dim]Run it again to see what it remembers; --fresh starts anew.[/]")
        else:
            out.print(
                f"[bold]{place}[/] remembers the language reference: {opened.passages} passages of"
                f" {opened.topics} topics, and {opened.runs} earlier runs. Nothing to read again."
            )

    def asked(self, question: str, run_id: str) -> None:
        """A rule with the question on it."""
        self._console.print()
        self._console.rule(f"[bold cyan]{escape(_plain(question))}[/]", align="left", style="cyan")
        self._console.print(f"[dim]run {run_id}[/]")

    def planned(self, plan: PlanMade) -> None:
        """The look-ups, as a list."""
        told = Text(", ".join(plan.look_ups))
        if plan.learned:
            told.append(f"; learned: {', '.join(plan.learned)}", style="magenta")
        if plan.known_run:
            told.append(f"; run {plan.known_run[:8]} answered this before", style="green")
        self._console.print()
        self._line(f"cycle {plan.cycle}", "PLAN", told)

    def raced(self, race: Race) -> None:
        """A row for each candidate, the best first, and what became of it."""
        table = Table.grid(padding=(0, 2, 0, 0))
        for entrant in race.entrants:
            table.add_row(*_row(entrant))
        self._line("", "ACT", Text(f"{len(race.entrants)} candidates raced on one snapshot"))
        self._console.print(Padding(table, (0, 0, 0, 16)))
        self._line("", "TRACE", _trace(race))

    def reflected(self, verdict: VerdictGiven) -> None:
        """The verdict and its reason."""
        style = "green" if verdict.verdict == "done" else "magenta"
        self._line("", "REFLECT", Text(f"{verdict.verdict}: {verdict.text}", style=style))

    def answered(self, answer: Answered) -> None:
        """The passage in a frame, and the bias vector of what is near the question."""
        out = self._console
        out.print()
        if not answer.anchor:
            out.print("[yellow]Nothing is remembered that could answer this.[/]")
            return
        if answer.score < POOR:
            out.print("[yellow]No passage answers this well; the nearest is:[/]")
        out.print(_panel(answer), width=min(_WIDEST_PANEL, out.width))
        numbers = ", ".join(f"{number:+.3f}" for number in answer.bias)
        out.print(f"[dim]bias vector: {answer.bias_length:.3f} long, \\[{numbers}, …][/]")

    def verified(self, verified: Verified) -> None:
        """Whether every byte is what was written."""
        out = self._console
        out.print()
        if verified.findings:
            out.print(f"[bold red]{escape(verified.path)} is damaged:[/]")
            for finding in verified.findings:
                out.print(f"  {escape(finding)}")
            return
        out.print(
            f"[green]✔[/] The chain verifies: {verified.records} records, head {verified.head},"
            f" every byte of {escape(verified.path)} checked."
        )

    def _line(self, cycle: str, phase: str, told: Text) -> None:
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(width=7, style="dim")
        grid.add_column(width=7, style="bold")
        grid.add_column()
        grid.add_row(cycle, phase, told)
        self._console.print(grid)


def _row(entrant: Racer) -> tuple[Text, ...]:
    name = Text(_NAMES.get(entrant.name, entrant.name))
    if entrant.score is None:
        return Text("–"), name, Text(""), Text(_plain(entrant.reason), style="dim")
    won = entrant.fate == "chain"
    style = "bold green" if won else "dim" if entrant.fate == "same" else ""
    fate = {"chain": "→ chain", "branch": "→ branch", "same": "  same passage"}[entrant.fate]
    return (
        Text("✔" if won else " ", style="green"),
        Text.assemble((name.plain, style)),
        Text(f"{entrant.score:.3f}", style=style),
        Text(f"{fate}  {_plain(entrant.title.rpartition(' > ')[2])}", style=style),
    )


def _plain(text: str) -> str:
    """Nothing that is remembered may steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def _trace(race: Race) -> Text:
    if not race.winner:
        return Text("nothing to commit", style="yellow")
    told = Text.assemble("committed ", (race.winner, "bold green"))
    if race.branches:
        told.append(f"; decayed to {race.branch_strength:g}: {', '.join(race.branches)}")
    if race.revised:
        told.append(f"; earlier answers halved: {', '.join(race.revised)}")
    return told


def _panel(answer: Answered) -> Panel:
    cycles = "1 cycle" if answer.cycles == 1 else f"{answer.cycles} cycles"
    told = f"score {answer.score:.2f} after {cycles}"
    if answer.known_run:
        told += f", remembered from run {answer.known_run[:8]}"
    return Panel(
        Group(Text(_plain(answer.title), style="dim italic"), Text(), Text(_plain(answer.text))),
        title=f"[bold]help({answer.topic!r})[/]",
        title_align="left",
        subtitle=f"[dim]{told}[/]",
        subtitle_align="right",
        border_style="green" if answer.score >= GOOD else "yellow",
        box=ROUNDED,
        padding=(0, 1),
    )
