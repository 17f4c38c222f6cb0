"""`python -m benchmarks.attacks`: how often poisoned lines are recalled, and what defences cost.

Everything is made up from seeds, so that a run can be repeated: `pmll_async.evaluation.attacks`
says how. One line a measurement, means over the seeds; `--json` has every one of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from pmll_async.evaluation.attacks import ATTACKS, DEFENCES, Flooded, Suffered, Town, flood, suffer
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder

FLOOD_DIM = 64


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__)
    made.add_argument("--facts", type=int, default=800, help="facts in a town (%(default)s)")
    made.add_argument("--voices", type=int, default=3, help="residents who say each (%(default)s)")
    made.add_argument("--victims", type=int, default=16, help="poisoned facts (%(default)s)")
    made.add_argument("--seeds", type=int, default=3, help="towns (%(default)s)")
    made.add_argument("--long", action="store_true", help="lines of some forty words")
    made.add_argument("--flood", type=int, default=100_000, help="lines of a flood (%(default)s)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    return made


async def measured(options: argparse.Namespace) -> list[Suffered]:
    """Every attack in every town."""
    found = []
    for seed in range(options.seeds):
        town = Town(
            facts=options.facts,
            voices=options.voices,
            victims=options.victims,
            seed=seed,
            long_lines=options.long,
        )
        for attack in ATTACKS:
            found += await suffer(MemoryStore(), HashingEmbedder(), town, attack)
    return found


def told(found: Sequence[Suffered]) -> str:
    """The table: means over the towns."""
    heads = ("attack", "defence", "lines", "hijacked", "recalled", "lost")
    rows = ["{:10} {:28} {:>6} {:>9} {:>9} {:>6}".format(*heads)]
    for attack in ATTACKS:
        for defence in DEFENCES:
            each = [one for one in found if (one.attack, one.defence) == (attack, defence)]
            bare = [one for one in found if (one.attack, one.defence) == (attack, "none")]
            poisoned, hijacked, recall = (
                fmean(getattr(one, name) for one in each)
                for name in ("poisoned", "hijacked", "recall")
            )
            lost = fmean(one.recall for one in bare) - recall
            shares = f"{poisoned:6.2%} {hijacked:9.1%} {recall:9.1%} {lost:6.1%}"
            rows.append(f"{attack:10} {defence:28} {shares}")
    return "\n".join(rows)


def told_of_flood(found: Sequence[Flooded]) -> str:
    """What a flood has of an answer."""
    return "\n".join(
        f"{each.lines} near-duplicates, diversity={each.diversity}: {each.share:.0%} of the answer"
        for each in found
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write if asked to."""
    options = parser().parse_args(arguments)
    suffered = asyncio.run(measured(options))
    print(told(suffered))
    floods: list[Flooded] = []
    if options.flood:
        floods = asyncio.run(flood(MemoryStore(), HashingEmbedder(FLOOD_DIM), options.flood))
        print(told_of_flood(floods))
    if options.json is not None:
        written: dict[str, Any] = {"attacks": [asdict(each) for each in suffered]}
        written["floods"] = [asdict(each) for each in floods]
        options.json.write_text(json.dumps(written, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
