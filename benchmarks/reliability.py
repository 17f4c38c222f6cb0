"""How far scores are from the share of answers among them, as SVG: docs/reliability.svg.

    python -m benchmarks.reliability docs/reliability.svg

It asks the questions of `pmll eval words` with every preset, without a model and with MiniLM.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.picture import DARK, STYLE, line, text
from pmll_async.evaluation.methods import PRESETS
from pmll_async.evaluation.words import Asked, Bin, ask_words, reliability
from pmll_async.protocols import Embedder
from pmll_async.text import HashingEmbedder

SIDE, LEFT, TOP, GAP, BELOW = 300, 56, 44, 76, 46
# The area of a dot says how many lines it stands for: so many pixels across for a thousand.
ACROSS = 36
COLOURS = (("#1a7f37", "#3fb950"), ("#0969da", "#58a6ff"))


def place(panel: int, score: float, share: float) -> tuple[float, float]:
    """Where a score and a share of answers meet in a panel."""
    return LEFT + panel * (SIDE + GAP) + score * SIDE, TOP + (1 - share) * SIDE


def drawn(panel: int, title: str, bins: Sequence[Bin]) -> list[str]:
    """One panel: the line that scores should lie on, and a dot for each bin."""
    made = [text(*place(panel, 0.0, 1.06), title, "heading")]
    for tenth in range(0, 11, 2):
        value = tenth / 10
        made.append(line(place(panel, value, 0.0), place(panel, value, 1.0)))
        made.append(line(place(panel, 0.0, value), place(panel, 1.0, value)))
        x, y = place(panel, value, 0.0)
        made.append(text(x, y + 18, f"{value:g}", anchor="middle"))
        x, y = place(panel, 0.0, value)
        made.append(text(x - 8, y + 4, f"{value:g}", anchor="end"))
    (x1, y1), (x2, y2) = place(panel, 0.0, 0.0), place(panel, 1.0, 1.0)
    made.append(f'<line class="ideal" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    for each in bins:
        x, y = place(panel, each.score, each.answers)
        radius = max(2.5, ACROSS / 2 * (each.count / 1000) ** 0.5)
        made.append(f'<circle class="dot{panel}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
    x, y = place(panel, 0.5, 0.0)
    return [*made, text(x, y + 38, "score", anchor="middle")]


def picture(panels: Sequence[tuple[str, Sequence[Bin]]]) -> str:
    """The whole SVG."""
    width = LEFT + len(panels) * (SIDE + GAP) - GAP + 24
    height = TOP + SIDE + BELOW
    inside = [each for number, panel in enumerate(panels) for each in drawn(number, *panel)]
    dots = "".join(f".dot{n} {{ fill: {c[0]}; opacity: .85 }}\n" for n, c in enumerate(COLOURS))
    dark = "".join(f".dot{n} {{ fill: {c[1]} }}\n" for n, c in enumerate(COLOURS))
    style = f"{STYLE}{dots}.ideal {{ stroke: #8b949e; stroke-dasharray: 5 4 }}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" '
        'font-family="system-ui, \'Segoe UI\', Helvetica, Arial, sans-serif" font-size="13">'
    )
    return "\n".join(
        [
            head,
            "<title>Share of answers against score</title>",
            f"<style>{style}@media (prefers-color-scheme: dark) {{{DARK}{dark}}}</style>",
            f'<rect class="panel" width="{width}" height="{height}" rx="6"/>',
            *inside,
            "</svg>\n",
        ]
    )


async def asked_with(embedder: Embedder) -> list[Asked]:
    """What every preset answers, one after another."""
    with TemporaryDirectory(prefix="pmll-reliability-") as folder:
        return [
            each
            for name, preset in PRESETS.items()
            for each in await ask_words(embedder, Path(folder) / name, preset=preset)
        ]


def main() -> None:
    """Draw into the file that is named."""
    from pmll_async.text.embedders.minilm import MiniLMEmbedder  # an extra

    embedders: dict[str, Embedder] = {
        "without a model": HashingEmbedder(),
        "with MiniLM": MiniLMEmbedder(),
    }
    panels = [
        (f"{name}: share of answers", reliability(asyncio.run(asked_with(embedder))))
        for name, embedder in embedders.items()
    ]
    Path(sys.argv[1]).write_text(picture(panels), encoding="utf-8")


if __name__ == "__main__":
    main()
