"""How a run is told: live on a terminal, in lines, as JSON, or by its result alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TextIO

import typer
from rich.console import Console

from pmll_async import PmllError

from ..events import Event, RunEnded
from ..reports.documents import document
from ..reports.plain import printable
from ..watch import Screen, View
from .lines import Lines

INTERRUPTED: Final = 130  # what shells say of a program that Ctrl-C ended
EXIT_CODES: Final = {"done": 0, "failed": 1, "paused": 3, "exhausted": 4, "cancelled": INTERRUPTED}

Write = Callable[[str], None]


class RunTeller(Protocol):
    """Is told every event of a run."""

    def take(self, event: Event) -> None:
        """Tell it, now or with the next picture."""


@dataclass(slots=True)
class LineTeller:
    """Writes the lines of each event at once."""

    write: Write
    lines_of: Callable[[Event, float], Iterable[str]]

    def take(self, event: Event) -> None:
        """An event that happened now."""
        self.tell(event, time.time())

    def tell(self, event: Event, at: float) -> None:
        """An event that happened at another time."""
        for line in self.lines_of(event, at):
            self.write(line)


def teller_of(write: Write, *, as_json: bool) -> LineTeller:
    """A JSON document a line, or else a line a fact."""
    return LineTeller(write, _json_line if as_json else Lines().of)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a run is told."""

    watch: bool
    as_json: bool
    quiet: bool

    def __post_init__(self) -> None:
        if self.watch + self.as_json + self.quiet > 1:
            raise typer.BadParameter("--watch, --json and --quiet exclude each other")

    @contextmanager
    def teller(self, out: TextIO, view: View) -> Iterator[RunTeller]:
        """Whom to tell, while the block lasts."""
        if self.quiet:
            yield LineTeller(writer(out), _text_at_the_end)
        elif self.watch and out.isatty():
            with Screen(Console(file=out), view=view) as screen:
                yield screen
        else:
            yield teller_of(writer(out), as_json=self.as_json)


def writer(out: TextIO) -> Write:
    """Writes lines to `out`, so that whoever reads it knows as soon as we do."""

    def write(line: str) -> None:
        out.write(f"{line}\n")
        out.flush()

    return write


def as_json(value: Any) -> str:
    """JSON on one line, in letters that every terminal and locale has."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _json_line(event: Event, at: float) -> Iterator[str]:
    yield as_json(document(event, at))


def _text_at_the_end(event: Event, _: float) -> Iterator[str]:
    if isinstance(event, RunEnded) and event.result.status in ("done", "exhausted"):
        yield from map(printable, event.result.text.splitlines())


def chosen(known: list[str], wanted: str) -> str:
    """The run that `wanted` names, or begins; `PmllError` with some of the ids otherwise."""
    if wanted in known:
        return wanted
    found = [run for run in known if wanted and run.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise PmllError(f"more than one run begins with {wanted!r}: {_some(found)}")
    raise PmllError(f"no run {wanted!r} is on the chain; there are: {_some(known) or 'none'}")


def _some(runs: list[str], most: int = 5) -> str:
    more = len(runs) - most
    return ", ".join(runs[:most]) + (f", and {more} more" if more > 0 else "")
