"""`python -m benchmarks.research --data FILE`: what research finds, beside a single recall.

FILE is LoCoMo's, which is not part of this project: https://github.com/snap-research/locomo has it.
Every question is a whole run of the controller, with its commits, in a memory of the conversation
that also holds the runs before it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from controllers.research import ResearchController
from pmll_async.errors import InvalidInputError
from pmll_async.evaluation.locomo import first_questions, read_conversations
from pmll_async.evaluation.measures import DEPTH
from pmll_async.evaluation.methods import METHODS, TURN, Ask, Method, Setting
from pmll_async.evaluation.runs import Evaluation, Result, evaluate
from pmll_async.protocols import Embedder
from pmll_async.text import HashingEmbedder, TextMemory

MEASURE: Final = "recall@10"
SINGLE: Final = "single recall"
RESEARCH: Final = "research"


@asynccontextmanager
async def research(setting: Setting) -> AsyncIterator[Ask]:
    """The controller without a model, as a method of the evaluation."""
    async with TextMemory.open(setting.folder, setting.embedder) as memory:
        controller = ResearchController(memory, k=DEPTH)

        async def ask(question: str, k: int) -> list[str]:
            found = await controller.evidence(question)
            return [str(each.context[TURN]) for each in found[:k]]

        yield ask


COMPARED: Final[Mapping[str, Method]] = {SINGLE: METHODS["dialogue"], RESEARCH: research}


async def measured(data: Path, embedder: Embedder, questions: int | None) -> Evaluation:
    """Both ways on the first `questions`, or on all."""
    conversations = read_conversations(data)
    if questions is not None:
        conversations = first_questions(conversations, questions)
    with tempfile.TemporaryDirectory() as folder:
        return await evaluate(conversations, COMPARED, embedder, Path(folder))


def table(found: Evaluation) -> str:
    """The evaluation in Markdown."""
    single, researched = found.results
    rows = [
        f"{MEASURE}, {found.questions} questions, {found.embedder}",
        "",
        "| questions | number | single recall | research |",
        "|---|---|---|---|",
    ]
    for one, other in zip(single.groups, researched.groups, strict=True):
        before, after = one.measures[MEASURE], other.measures[MEASURE]
        told = " | ".join(
            f"{it.mean:.3f} ({it.low:.3f} to {it.high:.3f})" for it in (before, after)
        )
        rows.append(f"| {one.name} | {one.questions} | {told} |")
    rows.append(f"| milliseconds, p50 (p95) | | {_time(single)} | {_time(researched)} |")
    return "\n".join(rows)


def _time(result: Result) -> str:
    return f"{result.p50_ms:.0f} ({result.p95_ms:.0f})"


def embedder_of(name: str) -> Embedder:
    """An embedder by its name on the command line."""
    if name == "minilm":
        from pmll_async.text.embedders.minilm import MiniLMEmbedder

        return MiniLMEmbedder()
    return HashingEmbedder()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exits with 0, or 2 for a wrong call or file."""
    command = argparse.ArgumentParser(prog="python -m benchmarks.research", description=__doc__)
    command.add_argument("--data", type=Path, required=True, metavar="FILE")
    command.add_argument("--embedder", choices=("hashing", "minilm"), default="hashing")
    command.add_argument("--limit", type=int, metavar="N", help="only the first N questions")
    command.add_argument("--json", type=Path, metavar="FILE", help="write all measures")
    options = command.parse_args(arguments)
    try:
        found = asyncio.run(measured(options.data, embedder_of(options.embedder), options.limit))
    except InvalidInputError as exc:
        command.error(str(exc))
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
