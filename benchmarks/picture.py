"""Time against the number of lines, both logarithmic, as SVG: a panel an operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from benchmarks.plan import SCALES, spaced
from benchmarks.results import Row
from benchmarks.subjects import COLUMNS, OURS, WRITE

Point = tuple[float, float]

PANELS = (("query", "query, median"), ("put", "durable put, one caller"))
WIDTH, HEIGHT = 480, 440
LEFT, RIGHT, TOP, BOTTOM = 62, 126, 52, 46
LABEL, GAP = 15, 11
# How far a name may be moved up or down.
MOVES = range(-48, 52, 4)
# Ours, then peers and floors in the order of the columns, on white and on black.
COLOURS = {
    OURS: ("#1a7f37", "#3fb950"),
    f"{OURS}, LMDB": ("#4a9a5f", "#7ee787"),
    f"{OURS}, window": ("#4a9a5f", "#7ee787"),
    f"{OURS}, mmap": ("#4a9a5f", "#7ee787"),
    f"{OURS}, FaissIndex": ("#4a9a5f", "#7ee787"),
    "langgraph": ("#cf222e", "#ff7b72"),
    "aiosqlite+numpy": ("#0969da", "#58a6ff"),
    "chromadb": ("#bf6b00", "#f0a34a"),
    "lancedb": ("#8250df", "#bc8cff"),
    "mem0": ("#7d5a00", "#d2a820"),
    "duckdb": ("#b02a7b", "#f778ba"),
    "sqlite-vec": ("#1b7c83", "#39c5cf"),
    "zvec": ("#57606a", "#b1bac4"),
}
FLOOR = ("#6e7781", "#8b949e")
STYLE = """
    .panel { fill: #ffffff; stroke: #d0d7de }
    .grid { stroke: #d8dee4; stroke-width: 1 }
    .curve { fill: none; stroke-width: 1.75; stroke-linejoin: round }
    .ours { stroke-width: 3 }
    .floor { stroke-dasharray: 5 4 }
    text { fill: #57606a }
    .heading { fill: #1f2328; font-size: 15px; font-weight: 600 }
    .label { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round }
    .bold { font-weight: 700 }
"""
DARK = """
      .panel { fill: #0d1117; stroke: #30363d }
      .grid { stroke: #21262d }
      text { fill: #8b949e }
      .heading { fill: #e6edf3 }
      .label { stroke: #0d1117 }
"""


@dataclass(frozen=True)
class Curve:
    """A subject's points: lines and seconds, with more lines from point to point."""

    subject: str
    points: list[Point]


def curves(rows: Sequence[Row], operation: str) -> list[Curve]:
    """What a panel shows, in the order of the columns."""
    wanted = {f"{operation}-{scale}" for scale in SCALES}
    found = sorted((row for row in rows if row.name in wanted), key=lambda row: row.lines)
    made = []
    for subject in (*COLUMNS, WRITE):
        values = [(float(row.lines), row.value(subject)) for row in found]
        points = [(lines, value) for lines, value in values if value is not None]
        if points:
            made.append(Curve(subject, points))
    return made


def decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around some figures, two different ones."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


class Panel:
    """One operation: maps figures to places, and draws."""

    def __init__(self, left: float, title: str, shown: Sequence[Curve]) -> None:
        self._left, self._title, self._curves = left + LEFT, title, shown
        points = [point for curve in shown for point in curve.points]
        self._across = decades([lines for lines, _ in points])
        self._up = decades([seconds for _, seconds in points])

    def place(self, point: Point) -> Point:
        """Where a figure is drawn."""
        (low, high), (bottom, top) = self._across, self._up
        across = (math.log10(point[0]) - low) / (high - low)
        up = (math.log10(point[1]) - bottom) / (top - bottom)
        return (
            self._left + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
        )

    def draw(self) -> list[str]:
        """The panel's elements, what is above the others last."""
        heading = text(self._left, 30, self._title, "heading")
        drawn = [stroke(curve, self.place) for curve in reversed(self._curves)]
        return [heading, *self._grid(), *drawn, *self._labels()]

    def _grid(self) -> list[str]:
        (low, high), (bottom, top) = self._across, self._up
        made = []
        for power in range(low, high + 1):
            x, y = self.place((10.0**power, 10.0**bottom))
            made.append(line((x, TOP), (x, y)))
            made.append(text(x, y + 18, spaced(10.0**power), anchor="middle"))
        for power in range(bottom, top + 1):
            start = self.place((10.0**low, 10.0**power))
            made.append(line(start, (self.place((10.0**high, 1.0))[0], start[1])))
            made.append(text(start[0] - 8, start[1] + 4, seconds_named(power), anchor="end"))
        x = (self._left + WIDTH + self._left - LEFT - RIGHT) / 2
        return [*made, text(x, HEIGHT - 10, "lines", anchor="middle")]

    def _labels(self) -> list[str]:
        """Each curve's name beside its end: in the margin, or where fewest curves pass."""
        margin = max(self.place(curve.points[-1])[0] for curve in self._curves)
        ended = [curve for curve in self._curves if self.place(curve.points[-1])[0] < margin]
        whole = [curve for curve in self._curves if curve not in ended]
        whole.sort(key=lambda curve: -curve.points[-1][1])
        ends = [self.place(curve.points[-1]) for curve in whole]
        placed = list(zip(whole, ends, spread([y for _, y in ends]), strict=True))
        taken: list[Point] = []
        for curve in ended:
            x, y = self.place(curve.points[-1])
            free = min(MOVES, key=lambda move: self._met(curve, (x, y + move), taken) + abs(move))
            placed.append((curve, (x, y), y + free))
            taken.append((x, y + free))
        return [element for one in placed for element in label(*one)]

    def _met(self, named: Curve, place: Point, taken: Sequence[Point]) -> float:
        """How much a curve's name at a place would meet curves and the names that are there."""
        x, y = place
        across = [x + GAP + step * 8 for step in range(len(short(named.subject)))]
        curves_met = sum(
            max(0.0, LABEL - abs(at - y))
            for curve in self._curves
            for at in heights([self.place(point) for point in curve.points], across)
        )
        near = [at for left, at in taken if abs(left - x) < 8 * len(named.subject)]
        return curves_met + sum(100.0 for at in near if abs(at - y) < LABEL)


def heights(places: Sequence[Point], across: Sequence[float]) -> list[float]:
    """How high a curve through these places is there, as far as it goes."""
    return [
        top + (bottom - top) * (x - left) / (right - left)
        for x in across
        for (left, top), (right, bottom) in pairwise(places)
        if left <= x <= right
    ]


def label(curve: Curve, end: Point, y: float) -> list[str]:
    """A curve's name, and a short line to it if it had to be moved."""
    kind = f"label{' bold' if curve.subject == OURS else ''} {tint(curve.subject)}"
    name = text(end[0] + GAP, y + 4, short(curve.subject), kind)
    if abs(end[1] - y) <= 1:
        return [name]
    return [leader(curve.subject, (end[0] + 2, end[1]), (end[0] + GAP - 2, y)), name]


def short(subject: str) -> str:
    """A subject's name without ours before it."""
    return subject.removeprefix(f"{OURS}, ")


def spread(places: Sequence[float]) -> list[float]:
    """Ascending places moved as little as need be so that labels there do not meet."""
    moved = list(places)
    for _ in range(200):
        for below, (one, other) in enumerate(pairwise(list(moved))):
            lack = LABEL - (other - one)
            if lack > 0:
                moved[below] -= lack / 2
                moved[below + 1] += lack / 2
    over = max(0.0, moved[-1] - (HEIGHT - BOTTOM)) if moved else 0.0
    return [place - over for place in moved]


def seconds_named(power: int) -> str:
    """A power of ten of a second in the unit that it is called by."""
    unit, scale = ("s", 0) if power >= 0 else ("ms", 3) if power >= -3 else ("µs", 6)
    return f"{spaced(10.0 ** (power + scale))} {unit}"


def tint(subject: str) -> str:
    """The class that has a subject's colour."""
    return f"c{list(COLOURS).index(subject)}" if subject in COLOURS else "cf"


def stroke(curve: Curve, place: Callable[[Point], Point]) -> str:
    """A curve with a dot at each point."""
    places = [place(point) for point in curve.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    floor = "" if curve.subject in COLOURS else " floor"
    ours = " ours" if curve.subject == OURS else ""
    colour = tint(curve.subject)
    dots = "".join(
        f'<circle class="d{colour}" cx="{x:.1f}" cy="{y:.1f}" r="{3 if ours else 2.2}"/>'
        for x, y in places
    )
    return f'<polyline class="curve{ours}{floor} s{colour}" points="{path}"/>{dots}'


def leader(subject: str, start: Point, end: Point) -> str:
    """A short line from a curve's end to a label that was moved."""
    return line(start, end, f"curve s{tint(subject)}")


def line(start: Point, end: Point, kind: str = "grid") -> str:
    """A straight line."""
    (left, top), (right, bottom) = start, end
    return (
        f'<line class="{kind}" x1="{left:.1f}" y1="{top:.1f}" x2="{right:.1f}" y2="{bottom:.1f}"/>'
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words at a place."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(words)}</text>'


def colours(shade: int) -> str:
    """The rules that give subjects their colours: strokes, dots and words."""
    named = {**{tint(name): pair for name, pair in COLOURS.items()}, "cf": FLOOR}
    return " ".join(
        f".s{name} {{ stroke: {pair[shade]} }} .d{name}, .{name} {{ fill: {pair[shade]} }}"
        for name, pair in named.items()
    )


def described(panels: Sequence[tuple[str, Sequence[Curve]]]) -> str:
    """What the picture shows, in words, for those who cannot see it."""
    sentences = []
    for title, shown in panels:
        ends = "; ".join(
            f"{curve.subject} {curve.points[-1][1] * 1_000:.3g} ms "
            f"at {spaced(curve.points[-1][0])} lines"
            for curve in shown
        )
        sentences.append(f"{title.capitalize()}: {ends}.")
    return " ".join(sentences)


def picture(rows: Sequence[Row]) -> str:
    """The picture as SVG."""
    panels = [(title, curves(rows, operation)) for operation, title in PANELS]
    panels = [(title, shown) for title, shown in panels if shown]
    width = WIDTH * len(panels)
    drawn = [
        element
        for number, (title, shown) in enumerate(panels)
        for element in Panel(number * WIDTH, title, shown).draw()
    ]
    body = "\n  ".join(drawn)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" \
width="{width}" height="{HEIGHT}" role="img" aria-labelledby="title what" \
font-family="system-ui, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="12">
  <title id="title">Time against the number of lines</title>
  <desc id="what">{escape(described(panels))}</desc>
  <style>{STYLE}    {colours(0)}
    @media (prefers-color-scheme: dark) {{{DARK}      {colours(1)}
    }}
  </style>
  <rect class="panel" x="1" y="1" width="{width - 2}" height="{HEIGHT - 2}" rx="10"/>
  {body}
</svg>
"""
