"""The live picture: redrawn a few times a second, by a thread of its own, from the newest view."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live

from pmll_async import EventsMissed

from ..events import Event
from .picture import FRAMES_PER_SECOND, drawn
from .view import View


class Screen:
    """Shows a run on a terminal for as long as its block lasts; what is printed goes above it.

    An event costs the reducer and nothing else. Without a terminal only the last picture is shown.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        view: View | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.view = View() if view is None else view
        self._clock = clock
        self._live = Live(
            console=Console() if console is None else console,
            get_renderable=lambda: self,
            refresh_per_second=FRAMES_PER_SECOND,
            # What steps print goes above the picture, unless it goes elsewhere anyway.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.view = self.view.stopped(self._clock())
        self._live.stop()

    def take(self, event: Event | EventsMissed) -> None:
        """Show the next event, with the next picture."""
        self.view = self.view.after(event, self._clock())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # One row stays for the cursor, or each picture would scroll the terminal.
        height = max(1, console.height - 1)
        width, plain = options.max_width, options.ascii_only
        yield drawn(self.view, now=self._clock(), width=width, height=height, plain=plain)


async def watch(
    events: AsyncIterator[Event | EventsMissed] | AsyncIterator[Event],
    *,
    console: Console | None = None,
    max_cycles: int | None = None,
) -> View:
    """Show events until there are no more; returns the last view, whose `result` is the run's.

    Takes what ``controller.stream(goal)`` gives, or a `listen()` of it. `max_cycles` is shown.
    """
    with Screen(console, view=View(max_cycles=max_cycles)) as screen:
        async for event in events:
            screen.take(event)
    return screen.view
