"""The command: ``pmll demo``, ``python -m controllers``."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Annotated, Final

from pmll_async import CorruptionError, FormatError, Lattice, PmllError, StoreError
from pmll_async.stores.jsonl.verify import verify
from pmll_async.text import HashingEmbedder
from pmll_async.values.extras import missing

from ..calling import in_thread
from .account import answer
from .library import Corpus, Library

try:
    import typer
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
except ModuleNotFoundError as exc:
    raise missing("the demo", "cli", exc) from exc

from .report import ConsoleNarrator, JsonNarrator, Narrator, OpenedMemory, Verified

QUESTIONS: Final = (
    "How are class attributes looked up?",
    "What happens to an exception in a finally clause?",
    "When is the default value of a parameter evaluated?",
)
FOLDER: Final = Path(".demo")
DAMAGED: Final = 1
INTERRUPTED: Final = 130  # what shells say of a program that Ctrl-C ended


def demo(
    questions: Annotated[
        list[str] | None, typer.Argument(help="Questions about Python.", show_default=False)
    ] = None,
    path: Annotated[Path, typer.Option(help="The folder that remembers.")] = FOLDER,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the folder first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Answer questions about Python from its own language reference, and remember the answers.

    The first run reads the reference into a folder; the next ones use what is there. Exit codes: 0,
    1 for damage or a folder that cannot be used, 130 for Ctrl-C, after which the folder is whole.
    """
    errors = Console(stderr=True, highlight=False)
    console = Console(highlight=False)
    narrator: Narrator = JsonNarrator() if as_json else ConsoleNarrator(console)
    quiet = as_json or not errors.is_terminal
    try:
        if fresh:
            _forget(path)
        asyncio.run(_tell(questions or list(QUESTIONS), path, narrator, quiet=quiet))
        checked = _verified(path)
    except KeyboardInterrupt:
        errors.print(f"Interrupted; what {path} remembers is whole.", markup=False)
        raise typer.Exit(INTERRUPTED) from None
    except (PmllError, OSError) as exc:
        errors.print(f"pmll demo: {exc}", markup=False)
        raise typer.Exit(DAMAGED) from exc
    narrator.verified(checked)
    if checked.findings:
        raise typer.Exit(DAMAGED)


async def _tell(questions: list[str], path: Path, narrator: Narrator, *, quiet: bool) -> None:
    embedder = HashingEmbedder()
    async with Lattice.open(path, dim=embedder.dim) as lattice:
        new = await _remembered(lattice, embedder, quiet=quiet)
        library = await Library.read(lattice, embedder)
        narrator.opened(await _opened(lattice, library, path, new))
        for question in questions:
            await answer(lattice, library, question, narrator)


async def _remembered(lattice: Lattice, embedder: HashingEmbedder, *, quiet: bool) -> int:
    """Have the reference on the chain; returns how many lines that took."""
    corpus = await in_thread(Corpus.of_this_python)
    if await corpus.is_remembered(lattice):
        return 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # On stderr, so that what the demo says can be piped.
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("remembering", total=corpus.size)
        return await corpus.remember(
            lattice, embedder, lambda stored: bar.update(task, completed=stored)
        )


async def _opened(lattice: Lattice, library: Library, path: Path, new: int) -> OpenedMemory:
    started = {"pmll.stage": "run", "pmll.status": "started"}
    found = lattice.recovery
    moved = f"A torn tail of {found.moved_bytes} bytes was moved to {found.moved_to}."
    return OpenedMemory(
        path=str(path),
        lines=len(lattice),
        new_lines=new,
        passages=len(library.pages),
        topics=len({page.topic for page in library.pages.values()}),
        runs=len([line async for line in lattice.rewind(where=started)]),
        recovered=moved if found.moved_bytes else "",
    )


def _forget(path: Path) -> None:
    """Remove a memory that nobody uses; anything else stays."""
    if not path.exists():
        return
    if not (path / "store.json").exists():
        raise StoreError(f"{path} is no memory of this package, so --fresh leaves it alone")
    asyncio.run(_probe(path))
    shutil.rmtree(path)


async def _probe(path: Path) -> None:
    """Raise if another process writes there."""
    try:
        async with Lattice.open(path):
            pass
    except (CorruptionError, FormatError):
        # Unreadable, and in nobody's use: all the more reason to start anew.
        pass


def _verified(path: Path) -> Verified:
    report = verify(path)
    findings = tuple(
        f"{finding.file} at byte {finding.offset}: {finding.severity}, {finding.reason}"
        for finding in report.findings
    )
    return Verified(str(path), report.records, report.head, findings)


def main() -> None:
    """Run the demo as a program of its own."""
    typer.run(demo)
