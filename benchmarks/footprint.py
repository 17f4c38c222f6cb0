"""`python -m benchmarks.footprint result.json picture.svg`: what a conversation takes, as SVG.

The result is what `pmll eval models --footprint --json` has printed: the NLL of answers against the
bytes of the KV cache, and how large the lattice with the same lines is.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.picture import DARK, STYLE, Point, line, text

WIDTH, HEIGHT = 900, 380
LEFT, RIGHT, TOP, BOTTOM = 62, 190, 52, 52
MEBI = 1 << 20
# Where a name would meet another one it goes to the left, or a little up or down.
LEFTWARD = {"window, 512 tokens"}
MOVED = {"5 recalled lines": -3, "5 recalled lines and bias": 7}
OURS = "recalled"
COLOURS = """
    .dot { fill: #57606a } .bar { stroke: #57606a; stroke-width: 1.5 }
    .own.dot { fill: #1a7f37 } .own.bar { stroke: #1a7f37 }
    .mark { stroke: #1a7f37; stroke-dasharray: 5 4 }
"""
DARK_COLOURS = """
      .dot { fill: #8b949e } .bar { stroke: #8b949e }
      .own.dot { fill: #3fb950 } .own.bar { stroke: #3fb950 } .mark { stroke: #3fb950 }
"""


class Plot:
    """NLL upwards, bytes to the right, by powers of ten of a mebibyte."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found
        self._kept: Sequence[Mapping[str, Any]] = found["kept"]
        smallest = min(found["disk"], *(each["cache"] / 2 for each in self._kept)) / MEBI
        largest = max(each["cache"] / 2 for each in self._kept) / MEBI
        self._low, self._high = math.floor(math.log10(smallest)), math.ceil(math.log10(largest))
        self._top = math.ceil(max(each["nll"]["high"] for each in self._kept))

    def place(self, size: float, nll: float) -> Point:
        """Where bytes and nats are drawn."""
        across = (math.log10(size / MEBI) - self._low) / (self._high - self._low)
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - nll / self._top * (HEIGHT - TOP - BOTTOM),
        )

    def draw(self) -> list[str]:
        """All of its elements."""
        points = [element for each in self._kept for element in self._point(each)]
        heading = text(LEFT, 30, "NLL a token of the answer, less is better", "heading")
        return [heading, *self._grid(), *self._lattice(), *points]

    def _grid(self) -> list[str]:
        made = []
        for power in range(self._low, self._high + 1):
            x, y = self.place(10.0**power * MEBI, 0)
            made += [
                line((x, TOP), (x, y)),
                text(x, y + 18, f"{10.0**power:g} MiB", anchor="middle"),
            ]
        for nll in range(self._top + 1):
            start, end = (
                self.place(10.0**self._low * MEBI, nll),
                self.place(10.0**self._high * MEBI, nll),
            )
            made += [line(start, end), text(start[0] - 8, start[1] + 4, str(nll), anchor="end")]
        middle = (LEFT + WIDTH - RIGHT) / 2
        return [
            *made,
            text(middle, HEIGHT - 12, "KV cache of the prompt, 16 bits a number", anchor="middle"),
        ]

    def _lattice(self) -> list[str]:
        x, y = self.place(self._found["disk"], 0)
        taken = f"{self._found['disk'] / 1024:.0f} KiB on disk"
        words = f"the lattice, {self._found['lines']} lines: {taken}"
        return [line((x, TOP), (x, y), "mark"), text(x + 8, TOP + 14, words, "label")]

    def _point(self, it: Mapping[str, Any]) -> list[str]:
        nll, own = it["nll"], " own" if OURS in it["name"] else ""
        x, y = self.place(it["cache"] / 2, nll["mean"])
        ends = [self.place(it["cache"] / 2, nll[end]) for end in ("low", "high")]
        aside, anchor = (-10, "end") if it["name"] in LEFTWARD else (10, "start")
        moved = 4 + MOVED.get(it["name"], 0)
        return [
            line(*ends, f"bar{own}"),
            f'<circle class="dot{own}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
            text(x + aside, y + moved, it["name"], "label", anchor),
        ]


def described(found: Mapping[str, Any]) -> str:
    """What the picture shows, in words."""
    each = "; ".join(
        f"{it['name']} {it['cache'] / 2 / MEBI:.1f} MiB, NLL {it['nll']['mean']:.2f}"
        for it in found["kept"]
    )
    return (
        f"KV cache of 16 bits a number and NLL a token: {each}. The lattice: {found['disk']} bytes."
    )


def picture(found: Mapping[str, Any]) -> str:
    """The picture as SVG."""
    body = "\n  ".join(Plot(found).draw())
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" \
width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="title what" \
font-family="system-ui, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="12">
  <title id="title">What a conversation takes, and how well it is answered from</title>
  <desc id="what">{escape(described(found))}</desc>
  <style>{STYLE}{COLOURS}
    @media (prefers-color-scheme: dark) {{{DARK}{DARK_COLOURS}    }}
  </style>
  <rect class="panel" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="10"/>
  {body}
</svg>
"""


def main(result: str, drawn: str) -> None:
    """Draw what was measured."""
    found = json.loads(Path(result).read_text(encoding="utf-8"))
    Path(drawn).write_text(picture(found["footprint"]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:3])
