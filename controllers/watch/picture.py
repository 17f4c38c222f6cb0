"""A view as a picture: a pure function of it, of the time, and of the room there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rich.box import ROUNDED
from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.panel import Panel
from rich.text import Text

from ..policies import Usage
from ..reports.documents import verdict_name
from ..reports.plain import conclusion, counted, duration, labelled, one_line
from ..steps import Continue, Done, GoalResult
from .entrants import Entrant
from .view import Cycle, Effect, View

WIDEST: Final = 100  # columns: longer lines are hard to follow with the eye
FRAMES_PER_SECOND: Final = 8  # enough to look alive, and little to draw
_BORDERS: Final = 2  # rows: the one above and the one below
_LEAST_ROWS: Final = 8  # with fewer, nothing of a race would be left
_LABEL: Final = 9  # columns: the longest labels, EXHAUSTED and CANCELLED, fill it
_LONGEST_NAME: Final = 24  # columns: score and fate must find room beside it
_SHORT_ID: Final = 8  # characters: `pmll resume` takes the beginning of an id
_STYLES: Final = {
    "done": "green",
    "failed": "red",
    "exhausted": "yellow",
    "paused": "yellow",
    "cancelled": "yellow",
}


@dataclass(frozen=True, slots=True)
class _Signs:
    """What is drawn beside the words."""

    spinner: str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
    won: str = "✔"
    lost: str = "✗"
    late: str = "◌"
    here: str = "●"
    arrow: str = "→"
    under: str = "/"
    more: str = "…"
    dot: str = "·"


_ASCII: Final = _Signs("|/-\\", "+", "x", "~", "o", "->", "/", "...", "-")


def drawn(
    view: View, *, now: float, width: int = 80, height: int = 24, plain: bool = False
) -> Panel:
    """The view at `now`, at most `width` columns and `height` rows, whatever it holds.

    Below ten rows it is cut by whoever shows it. `plain` is for terminals with ASCII alone.
    """
    return _Drawing(view, now, _ASCII if plain else _Signs()).panel(min(width, WIDEST), height)


@dataclass(frozen=True, slots=True)
class _Drawing:
    view: View
    now: float
    signs: _Signs

    def panel(self, width: int, height: int) -> Panel:
        rows = self._rows(max(height - _BORDERS, _LEAST_ROWS))
        # A row that wrapped would push the newest ones off the picture.
        for row in rows:
            row.no_wrap, row.overflow = True, "ellipsis"
        inner = width - 6  # what the corners, and the blanks around a title, leave of it
        goal = one_line(self.view.goals[0]) if self.view.goals else ""
        status = "" if self.view.result is None else self.view.result.status
        return Panel(
            Group(*rows),
            box=ROUNDED,
            width=width,
            title=Text(_cut(goal, inner, self.signs.more), "bold"),
            title_align="left",
            subtitle=Text(_cut(self._counts(), inner, self.signs.more), "dim"),
            subtitle_align="right",
            border_style=_STYLES.get(status, "cyan" if self.view.ended is None else "yellow"),
        )

    # --- rows ----------------------------------------------------------------------------------

    def _rows(self, most: int) -> list[Text]:
        """What is going on; of what is over as much as there is room for."""
        head, tail = self._head(), self._tail()
        race = self._race(max(3, most - len(head) - len(tail) - 1))
        now = [*head, *race, *tail]
        room = most - len(now) - 1
        past = self._past(room) if room > 0 else []
        rows = [*past, Text(), *now] if past else now
        if not self.view.run_id and self.view.ended is None:
            rows.append(Text("waiting for the run to begin", "dim"))
        return rows

    def _past(self, room: int) -> list[Text]:
        past, dropped = self.view.past, self.view.dropped
        # What is left out is counted in a row of its own.
        if len(past) > room or (dropped and len(past) == room):
            shown = past[len(past) - (room - 1) :] if room > 1 else ()
            dropped += len(past) - len(shown)
        else:
            shown = past
        earlier = [Text(f"{self.signs.more} {dropped} earlier", "dim")] if dropped else []
        return [*earlier, *map(self._over, shown)]

    def _over(self, past: Cycle | GoalResult) -> Text:
        if isinstance(past, GoalResult):
            said = one_line(conclusion(past))
            ended = f"{one_line(past.goal)}: {past.status}" + (f", {said}" if said else "")
            return _labelled("goal", Text(ended, _STYLES[past.status]), "dim")
        told = Text("  " * past.depth)
        winner = next((each for each in past.entrants if each.fate == "winner"), None)
        if winner is not None:
            score = _number(winner.score)
            told.append(f"{self.signs.won} {one_line(winner.name)} {score}", "green")
            told.append(f" of {len(past.entrants)}" if len(past.entrants) > 1 else "")
        elif past.trouble:
            told.append(f"{self.signs.lost} {one_line(past.trouble)}", "red")
        elif past.plan:
            told.append(one_line(past.plan))
        if past.verdict is not None:
            told.append("  ")
            told.append_text(_verdict(past))
        return _labelled(_cycle_name(past), told, "dim")

    def _head(self) -> list[Text]:
        cycle, view = self.view.cycle, self.view
        rows = []
        if len(view.goals) > 1:
            path = f" {self.signs.under} ".join(map(one_line, view.goals[1:]))
            rows.append(_labelled("goal", Text(path, "magenta"), "bold"))
        if view.run_id:
            limit = "" if view.max_cycles is None else f"of at most {view.max_cycles}"
            again = f"resumed {counted(view.times, 'time')}" if view.times else ""
            told = f" {self.signs.dot} ".join(filter(None, (limit, again)))
            rows.append(_labelled(_cycle_name(cycle), Text(told, "dim"), "bold"))
        if cycle.plan is not None or view.stage == "plan":
            rows.append(self._phase("PLAN", "plan", one_line(cycle.plan or "")))
        if cycle.goals:
            told = f"{counted(len(cycle.goals), 'sub-goal')} first"
            rows.append(_labelled("", Text(told, "dim")))
        return rows

    def _tail(self) -> list[Text]:
        cycle, view = self.view.cycle, self.view
        rows = []
        if cycle.revised:
            told = f"{counted(cycle.revised, 'line')} revised: strength halved"
            rows.append(_labelled("TRACE", Text(told), "bold"))
        if cycle.trouble:
            rows.append(_labelled("", Text(f"{self.signs.lost} {one_line(cycle.trouble)}", "red")))
        if cycle.verdict is not None or view.stage == "reflect":
            said = Text() if cycle.verdict is None else _verdict(cycle)
            rows.append(self._phase("REFLECT", "reflect", said))
        if cycle.effects:
            rows.append(_labelled("ONCE", self._effects(cycle.effects), "bold"))
        if view.missed:
            told = f"{counted(view.missed, 'event')} missed: this reader was slow"
            rows.append(_labelled("", Text(told, "yellow")))
        if view.ended is not None:
            rows.append(self._end())
        return rows

    def _race(self, room: int) -> list[Text]:
        entrants = self.view.cycle.entrants
        if not entrants:
            return []
        told = counted(len(entrants), "candidate")
        rows = [self._phase("ACT", "act", told)]
        shown = entrants if len(entrants) < room else entrants[: max(1, room - 2)]
        width = max(cell_len(one_line(entrant.name)) for entrant in shown)
        rows += [self._entrant(entrant, min(width, _LONGEST_NAME)) for entrant in shown]
        if len(shown) < len(entrants):
            left = len(entrants) - len(shown)
            rows.append(_labelled("", Text(f"{self.signs.more} {left} more", "dim")))
        return rows

    def _entrant(self, entrant: Entrant, width: int) -> Text:
        sign, style, told = self._fate(entrant)
        name = _cut(one_line(entrant.name), width, self.signs.more)
        row = Text(f"{sign} {set_cell_size(name, width)}  ", style)
        if entrant.score is not None or entrant.fate in ("proposed", "running"):
            row.append(f"{_number(entrant.score):>6}  ")
        if entrant.confidence is not None and entrant.fate in ("proposed", "judged"):
            row.append(f"confidence {entrant.confidence:.2f}")
        row.append(told)
        return _labelled("", row)

    def _fate(self, entrant: Entrant) -> tuple[str, str, str]:
        """Its sign, its style, and what became of it."""
        signs = self.signs
        match entrant.fate:
            case "running" if self.view.ended is None:
                return self._spinner(), "", ""
            case "running" | "unfinished":
                return signs.late, "dim", "unfinished"
            case "proposed" | "judged":
                return signs.here, "cyan", ""
            case "winner":
                return signs.won, "bold green", f"{signs.arrow} chain {entrant.anchor}"
            case "branch":
                strength = "" if entrant.strength is None else f", strength {entrant.strength:g}"
                return " ", "", f"{signs.arrow} branch{strength}"
            case "same":
                return " ", "dim", "same content as a better one"
            case "failed":
                return signs.lost, "red", one_line(entrant.reason)

    def _effects(self, effects: tuple[Effect, ...]) -> Text:
        told = Text()
        # The newest first: the end of a long row is cut.
        for effect in reversed(effects):
            sign = self.signs.won if effect.is_done else self._spinner()
            name = one_line(effect.name) + (" (known)" if effect.is_known else "")
            told.append(f"{sign} {name}  ", "" if effect.is_done else "cyan")
        return told

    def _end(self) -> Text:
        result = self.view.result
        if result is None:
            return _labelled("STOPPED", Text("the run can be resumed", "yellow"), "bold yellow")
        style = _STYLES[result.status]
        after = f"after {counted(result.cycles, 'cycle')}"
        told = Text(labelled(after, conclusion(result)), style)
        return _labelled(result.status.upper(), told, f"bold {style}")

    # --- parts ---------------------------------------------------------------------------------

    def _phase(self, label: str, stage: str, said: str | Text) -> Text:
        told = said if isinstance(said, Text) else Text(said)
        if self.view.stage == stage and self.view.ended is None:
            waited = duration(self.now - self.view.since)
            working = f"{self._spinner()} {waited}" + ("  " if told.plain else "")
            told = Text.assemble((working, "cyan"), told)
        return _labelled(label, told, "bold")

    def _spinner(self) -> str:
        if self.view.ended is not None:
            return self.signs.late
        frames = self.signs.spinner
        return frames[int(self.now * FRAMES_PER_SECOND) % len(frames)]

    def _counts(self) -> str:
        view = self.view
        told = [f"run {one_line(view.run_id)[:_SHORT_ID]}" if view.run_id else ""]
        told += [duration(view.elapsed(self.now)), spent(view.usage)]
        return f" {self.signs.dot} ".join(filter(None, told))


def spent(usage: Usage) -> str:
    """What the steps have spent, in words; empty for nothing."""
    told = []
    if usage.calls:
        told.append(counted(usage.calls, "call"))
    if usage.input_tokens or usage.output_tokens:
        told.append(f"{usage.input_tokens:,} + {usage.output_tokens:,} tokens")
    if usage.cost:
        told.append(f"cost {usage.cost:.4g}")
    return ", ".join(told)


def _labelled(label: str, told: Text, style: str = "") -> Text:
    return Text.assemble((f"{label:<{_LABEL}}", style), told)


def _cycle_name(cycle: Cycle) -> str:
    return f"cycle {cycle.number}" + (f".{cycle.attempt}" if cycle.attempt else "")


def _verdict(cycle: Cycle) -> Text:
    verdict = cycle.verdict
    assert verdict is not None  # noqa: S101  # for mypy; both callers have looked
    style = {Done: "green", Continue: "magenta"}.get(type(verdict), "yellow")
    return Text(labelled(verdict_name(verdict), verdict.text), style)


def _number(score: float | None) -> str:
    return "" if score is None else f"{score:.3f}"


def _cut(text: str, width: int, more: str) -> str:
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - cell_len(more))) + more
