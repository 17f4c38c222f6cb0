"""`pmll eval`: how well text recall finds what it should, on data sets that anyone can get."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from pmll_async.cli.embedders import EmbedderName, EmbedderOption, embedder_named
from pmll_async.cli.evaluate_models import models
from pmll_async.cli.terminal import facts, listing, progress, show, show_json
from pmll_async.evaluation.turns import Of

if TYPE_CHECKING:
    from rich.table import Table

    from pmll_async.evaluation.measures import Estimate
    from pmll_async.evaluation.methods import Method
    from pmll_async.evaluation.precision import Precision
    from pmll_async.evaluation.runs import Evaluation
    from pmll_async.evaluation.words import WordGroup, WordsFound

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure how well text recall finds what it should, and what a model makes of it.",
    short_help="Measure recall, and what a memory does to a model's answers.",
)

_DAY: Final = 86400.0
Named = TypeVar("Named")


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


@app.command(
    epilog="\b\nExamples:\n"
    "  pmll eval locomo --data locomo10.json\n"
    "  pmll eval locomo --data locomo10.json --method dialogue --method bm25 --limit 200\n"
    "  pmll eval locomo --data locomo10.json --of observations --method notes\n"
    "  pmll eval locomo --data locomo10.json --method specification --now-after 3600 --json"
)
def locomo(
    data: Annotated[Path, typer.Option(metavar="FILE", help="The data set, a JSON file.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A preset of text memory (dialogue, notes, assistant) or a baseline: "
            "specification, cosine, bm25, rrf, zsum. Give it again for more; all without it.",
        ),
    ] = None,
    embedder: EmbedderOption = EmbedderName.hashing,
    of: Annotated[
        Of,
        typer.Option(help="What becomes a line: turns, observations (notes), or summaries."),
    ] = Of.turns,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap intervals.")] = 0,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N questions.")
    ] = None,
    now_after: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0.0,
            help="How long after a conversation's last turn `specification` is asked.",
        ),
    ] = _DAY,
    as_json: AsJson = False,
) -> None:
    """Ask LoCoMo's questions and see whether the turns with the answers are found.

    Each conversation becomes a lattice of its own in a temporary folder (under TMPDIR), every turn,
    observed fact or summary of a session a line. Prints Recall@5, @10, @20, MRR and nDCG@10 by
    category of question, with 95 % bootstrap intervals, and how long remembering and recalling
    took. No model judges anything. The data set is at https://github.com/snap-research/locomo.
    """
    # Only who evaluates waits for what it needs.
    from pmll_async.evaluation.locomo import first_questions, read_conversations
    from pmll_async.evaluation.runs import evaluate

    methods, chosen = _methods(method), embedder_named(embedder)
    conversations = read_conversations(data, of)
    if limit is not None:
        conversations = first_questions(conversations, limit)
    with progress("evaluating") as tell, TemporaryDirectory(prefix="pmll-eval-") as folder:
        place = Path(folder)
        work = evaluate(
            conversations, methods, chosen, place, now_after=now_after, seed=seed, progress=tell
        )
        found = asyncio.run(work)
    if as_json:
        rate = {"lines_per_second": found.lines_per_second}
        show_json({"data": str(data), "of": of} | asdict(found) | rate)
    else:
        show(facts(_rows(data, found)), "", _over_all(found), "", _by_kind(found))


@app.command(
    epilog="\b\nExamples:\n"
    "  pmll eval precision --data precisionMemBench/fixtures\n"
    "  pmll eval precision --data fixtures --embedder minilm --min-score 0.2 --json"
)
def precision(
    data: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="It has beliefs.seed.json and retrieval.cases.json."),
    ],
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="dialogue, notes or assistant.")
    ] = "notes",
    embedder: EmbedderOption = EmbedderName.hashing,
    min_score: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The least score of a relevant belief.")
    ] = 0.3,
    as_json: AsJson = False,
) -> None:
    """Put the cases of PrecisionMemBench, which name what may be found and what not.

    Beliefs become lines of a text memory in a temporary folder. Prints how each case ended, and
    why it failed or cannot be expressed. Where nothing is to be found, finding nothing passes: the
    cases with something to find are counted apart. The data set is the folder `fixtures` of
    https://github.com/tenurehq/precisionMemBench.
    """
    from pmll_async.evaluation.beliefs import read_beliefs, read_cases
    from pmll_async.evaluation.methods import PRESETS
    from pmll_async.evaluation.precision import run

    chosen, weighing = embedder_named(embedder), _named(preset, PRESETS, "preset")
    beliefs, cases = read_beliefs(data), read_cases(data)
    with progress("evaluating") as tell, TemporaryDirectory(prefix="pmll-eval-") as folder:
        work = run(
            beliefs,
            cases,
            chosen,
            Path(folder),
            preset=weighing,
            min_score=min_score,
            progress=tell,
        )
        found = asyncio.run(work)
    if as_json:
        show_json({"data": str(data)} | asdict(found) | _totals(found))
    else:
        show(facts(_about(data, found)), "", _by_category(found), "", _by_case(found))


@app.command(
    epilog="\b\nExamples:\n"
    "  pmll eval words\n"
    "  pmll eval words --preset dialogue --embedder minilm --min-score 0.3 --json"
)
def words(
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="dialogue, notes or assistant.")
    ] = "notes",
    embedder: EmbedderOption = EmbedderName.hashing,
    min_score: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The least score of an answer.")
    ] = 0.2,
    as_json: AsJson = False,
) -> None:
    """Ask questions of many languages, and about code, and see whether their lines are found.

    The lines and the questions come with this program: one memory of short facts in a temporary
    folder. Prints by kind of question and by language how often the answer is the first found,
    among the first five, and found with the least score; for questions that no line answers, how
    often nothing is. Then how far scores are from the share of answers among them.
    """
    from pmll_async.evaluation.methods import PRESETS
    from pmll_async.evaluation.words import ask_words, summed_up

    chosen, weighing = embedder_named(embedder), _named(preset, PRESETS, "preset")
    with progress("evaluating") as tell, TemporaryDirectory(prefix="pmll-eval-") as folder:
        asked = asyncio.run(ask_words(chosen, Path(folder), preset=weighing, progress=tell))
    found = summed_up(asked, preset=preset, embedder=chosen.id, min_score=min_score)
    if as_json:
        show_json(asdict(found) | {"calibration_error": found.calibration_error})
    else:
        tables = (_shares("kind", found.kinds), "", _shares("language", found.languages))
        show(facts(_about_words(found)), "", *tables, "", _reliability(found))


def _about_words(it: WordsFound) -> list[tuple[str, str]]:
    return [
        ("preset", it.preset),
        ("embedder", it.embedder),
        ("least score", f"{it.min_score:g}"),
        ("lines", str(it.lines)),
        ("questions", str(sum(each.questions for each in it.kinds))),
        ("calibration error", f"{it.calibration_error:.3f}"),
    ]


def _shares(title: str, groups: Iterable[WordGroup]) -> Table:
    return listing(
        (title, "questions", "hit@1", "hit@5", "passed"),
        (
            (
                each.name,
                str(each.questions),
                *("" if hit is None else f"{hit:.2f}" for hit in (each.hit_at_1, each.hit_at_5)),
                f"{each.passed:.2f}",
            )
            for each in groups
        ),
    )


def _reliability(it: WordsFound) -> Table:
    return listing(
        ("score from", "found", "mean score", "answers"),
        (
            (f"{each.low:.1f}", str(each.count), f"{each.score:.2f}", f"{each.answers:.2f}")
            for each in it.reliability
        ),
    )


app.command(
    epilog="\b\nExamples:\n"
    "  OMP_NUM_THREADS=1 pmll eval models\n"
    "  pmll eval models --footprint --json\n"
    "  pmll eval models --limit 6"
)(models)


def _named(name: str, known: Mapping[str, Named], what: str) -> Named:
    if name not in known:
        reason = f"no {what} is called {name!r}; there are {', '.join(known)}"
        raise typer.BadParameter(reason, param_hint=f"--{what}")
    return known[name]


def _methods(names: Iterable[str] | None) -> dict[str, Method]:
    from pmll_async.evaluation.methods import METHODS

    return {name: _named(name, METHODS, "method") for name in names or METHODS}


def _rows(data: Path, it: Evaluation) -> list[tuple[str, str]]:
    return [
        ("data", str(data)),
        ("conversations", str(it.conversations)),
        ("questions", f"{it.questions}, and {it.skipped} without evidence left out"),
        ("embedder", it.embedder),
        (
            "remembering",
            f"{it.lines} lines in {it.seconds:.1f} s, {it.lines_per_second:.0f} a second",
        ),
        ("intervals", f"95 %, by bootstrap over questions, seed {it.seed}"),
        ("asked", f"{it.now_after:g} s after the last turn"),
    ]


def _over_all(it: Evaluation) -> Table:
    return listing(
        ("method", *it.results[0].over_all.measures, "p50 ms", "p95 ms"),
        (
            (
                result.method,
                *map(_interval, result.over_all.measures.values()),
                f"{result.p50_ms:.1f}",
                f"{result.p95_ms:.1f}",
            )
            for result in it.results
        ),
    )


def _by_kind(it: Evaluation) -> Table:
    return listing(
        ("method", "questions", "", *it.results[0].over_all.measures),
        (
            (
                result.method,
                group.name,
                str(group.questions),
                *map(_interval, group.measures.values()),
            )
            for result in it.results
            for group in result.groups
            if group != result.over_all
        ),
    )


def _interval(it: Estimate) -> str:
    return f"{it.mean:.3f} {it.low:.2f}–{it.high:.2f}"


def _totals(it: Precision) -> dict[str, float | None]:
    from pmll_async.evaluation.precision import PASSED, STATUSES

    return {
        **{status.replace(" ", "_"): it.count(status) for status in STATUSES},
        "finding": len(it.finding),
        "finding_passed": sum(each.status == PASSED for each in it.finding),
        "mean_precision": it.mean_precision,
        "mean_recall": it.mean_recall,
    }


def _about(data: Path, it: Precision) -> list[tuple[str, str]]:
    totals = _totals(it)
    return [
        ("data", str(data)),
        ("preset", it.preset),
        ("embedder", it.embedder),
        ("least score", f"{it.min_score:g}"),
        ("passed", f"{totals['passed']} of {len(it.outcomes)} cases"),
        ("", f"{totals['finding_passed']} of the {totals['finding']} with something to find"),
        ("not expressible", str(totals["not_expressible"])),
        ("precision", _share(it.mean_precision)),
        ("recall", _share(it.mean_recall)),
    ]


def _share(value: float | None) -> str:
    return "nothing to find" if value is None else f"{value:.3f}"


def _by_category(it: Precision) -> Table:
    from pmll_async.evaluation.precision import STATUSES

    return listing(
        ("category", *STATUSES),
        (
            (category, *(str(it.count(status, category)) for status in STATUSES))
            for category in it.categories
        ),
    )


def _by_case(it: Precision) -> Table:
    return listing(
        ("case", "", "why"),
        ((each.case, each.status, "; ".join(each.reasons)) for each in it.outcomes),
    )
