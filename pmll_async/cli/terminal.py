"""Talking to a person or to a program: results on stdout, everything else on stderr.

rich is imported where it draws: for a program that reads JSON that is a quarter of the start.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

# Nothing is wrapped or cut where a program or a file reads.
_UNBOUNDED: Final = 100_000
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def say(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"pmll: {printable(' '.join(text.split()))}\n")


def show(*renderables: RenderableType, crop: bool = False) -> None:
    """Write to stdout, as wide as the terminal and without colours where there is none.

    Too long lines are folded, or with `crop` end in an ellipsis.
    """
    from rich.console import Console

    console = Console(
        width=None if is_terminal() else _UNBOUNDED, markup=False, highlight=False, emoji=False
    )
    # Captured, because rich would end the process when nobody reads any more.
    with console.capture() as captured:
        for renderable in renderables:
            console.print(renderable, no_wrap=crop, overflow="ellipsis" if crop else None)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def show_json(value: Any) -> None:
    """One JSON document on a line of its own; UTF-8 whatever the locale says."""
    write_bytes(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def write_bytes(data: bytes) -> None:
    """Write to stdout as it is."""
    # Text that was written before comes before.
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """A table of names and what they are."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(printable(name), Text(printable(value)))
    return table


def listing(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table with a line of titles; the last column takes what room there is."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def printable(text: str) -> str:
    """The text with every control and formatting character spelled out.

    Stored text must not be able to steer the terminal that it is shown on.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def moment(seconds: float, *, zone: bool = True) -> str:
    """A time of the clock in the local time zone; the number itself when no calendar has it."""
    try:
        there = datetime.fromtimestamp(seconds).astimezone()
        return (there if zone else there.replace(tzinfo=None)).isoformat(" ", "seconds")
    except (OverflowError, OSError, ValueError):
        return f"{seconds:g}"


def size(count: float) -> str:
    """A number of bytes for a person."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.0f} bytes" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, told how much is done and how much there is; nothing without a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    parts = (BarColumn(), TaskProgressColumn(), Rate(), TimeRemainingColumn())
    columns = (TextColumn(label), *parts)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield tell
