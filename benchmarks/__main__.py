"""`python -m benchmarks`: measures, prints one table, and writes JSON if asked to."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import table
from benchmarks.growth import growth
from benchmarks.plan import QUICK, Plan, Sizes
from benchmarks.rows import plans
from benchmarks.run import run
from benchmarks.subjects import PEERS


def parser() -> argparse.ArgumentParser:
    """The command line."""
    names = ", ".join(spec.name for plan in plans(Sizes()) for spec in plan.specs)
    made = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog=f"Rows: {names}."
    )
    made.add_argument(
        "--quick",
        action="store_true",
        help="small sizes: shows that everything runs, measures nothing",
    )
    made.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="a row, or the beginning of rows' names; repeatable",
    )
    made.add_argument(
        "--most", type=int, metavar="LINES", help="leave out what needs stores with more lines"
    )
    made.add_argument(
        "--peers",
        metavar="NAMES",
        default=",".join(PEERS),
        help="comma-separated; empty for none (%(default)s)",
    )
    made.add_argument("--rounds", type=int, metavar="N", help="rounds of every row")
    made.add_argument(
        "--json", type=Path, metavar="FILE", help="write the rows, with every round's figures"
    )
    made.add_argument("--plain", action="store_true", help="the table in Markdown")
    made.add_argument("--strict", action="store_true", help="exit with 1 unless all is reached")
    return made


def chosen(options: argparse.Namespace) -> list[Plan]:
    """The plans that were asked for, at the sizes that were asked for."""
    sizes = QUICK if options.quick else Sizes()
    if options.rounds:
        sizes = replace(sizes, rounds=options.rounds, imports=options.rounds)
    # The largest stores go through the same code as large ones.
    most = options.most or (sizes.large if options.quick else sizes.huge)
    return [
        plan
        for plan in plans(sizes)
        if plan.params.lines <= most and is_asked_for(plan, options.only or [""])
    ]


def is_asked_for(plan: Plan, names: Sequence[str]) -> bool:
    """Whether a row of the plan begins with one of the names."""
    return any(spec.name.startswith(name) for spec in plan.specs for name in names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs; exits with 0, 1 for an unreached bound with --strict, 2 for a wrong call."""
    command = parser()
    options = command.parse_args(arguments)
    peers = [name for name in options.peers.split(",") if name]
    if unknown := set(peers) - set(PEERS):
        command.error(f"no such peer: {', '.join(sorted(unknown))}")
    selected = chosen(options)
    if not selected:
        command.error(f"no row begins with {' or '.join(options.only)}")
    rows = asyncio.run(run(selected, peers))
    rows += growth(rows)
    if options.json:
        asked = {"quick": options.quick, "rounds": options.rounds, "peers": peers}
        table.save(rows, options.json, asked)
    table.show(rows, options.plain)
    verdicts = [verdict.reached for row in rows for verdict in row.verdicts]
    return int(options.strict and not all(verdicts))


if __name__ == "__main__":
    sys.exit(main())
