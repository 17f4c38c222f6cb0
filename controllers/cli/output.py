"""How a run is told: live on a terminal, in lines, as JSON, or by its result alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TextIO

from rich.console import Console

from pmll_async import PmllError

from ..events import Event, RunEnded
from ..reports.documents import document
from ..reports.plain import printable
from ..watch import Screen, View
from .lines import Lines

INTERRUPTED: Final = 130
EXIT_CODES: Final = {"done": 0, "failed": 1, "paused": 3, "exhausted": 4, "cancelled": INTERRUPTED}


class RunTeller(Protocol):
    """Is told every event of a run."""

    def take(self, event: Event) -> None:
        """Tell it, now or with the next picture."""


Writer = Callable[[str], None]


@dataclass(slots=True)
class PlainTeller:
    """A line a fact, each written at once."""

    write: Writer
    lines: Lines = field(default_factory=Lines)
    clock: Callable[[], float] = time.time

    def take(self, event: Event) -> None:
        """See `Teller`."""
        self.tell(event, self.clock())

    def tell(self, event: Event, at: float) -> None:
        """An event that happened at another time."""
        for line in self.lines.of(event, at):
            self.write(line)


@dataclass(slots=True)
class JsonTeller:
    """A JSON document a line, each written at once."""

    write: Writer
    clock: Callable[[], float] = time.time

    def take(self, event: Event) -> None:
        """See `Teller`."""
        self.tell(event, self.clock())

    def tell(self, event: Event, at: float) -> None:
        """An event that happened at another time."""
        self.write(as_json(document(event, at)))


@dataclass(slots=True)
class QuietTeller:
    """Only what the run ends with."""

    write: Writer

    def take(self, event: Event) -> None:
        """See `Teller`."""
        if isinstance(event, RunEnded) and event.result.status in ("done", "exhausted"):
            for line in event.result.text.splitlines():
                self.write(printable(line))


@contextmanager
def told(
    out: TextIO, *, watch: bool, as_json: bool, quiet: bool, view: View
) -> Iterator[RunTeller]:
    """Whom to tell, while the block lasts."""
    write = writer(out)
    if as_json:
        yield JsonTeller(write)
    elif quiet:
        yield QuietTeller(write)
    elif watch and out.isatty():
        with Screen(Console(file=out), view=view) as screen:
            yield screen
    else:
        yield PlainTeller(write)


def writer(out: TextIO) -> Writer:
    """Writes lines to `out`, so that whoever reads it knows as soon as we do."""

    def write(line: str) -> None:
        out.write(f"{line}\n")
        out.flush()

    return write


def as_json(value: Any) -> str:
    """JSON on one line, in letters that every terminal and locale has."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


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
