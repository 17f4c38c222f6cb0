"""`pmll log`: the chain, newest line first."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from pydantic import JsonValue
from rich.text import Text

from pmll_async.cli.terminal import is_terminal, moment, printable, show, show_json
from pmll_async.integrity.secrets import Passphrase, RawKey
from pmll_async.lattice import Lattice
from pmll_async.values.lines import MemoryLine

_VECTORS = {"key", "value"}


def log(
    path: Path,
    key: bytes | None,
    secret: Passphrase | RawKey | None = None,
    *,
    limit: int | None,
    where: Mapping[str, JsonValue] | None,
    start: str | None,
    as_json: bool,
    vectors: bool,
) -> None:
    """Print the chain of the lattice at `path`, also beside a writer."""

    async def run() -> None:
        opening = Lattice.open(path, read_only=True, integrity_key=key, secret=secret)
        async with opening as lattice:
            printer = _json_printer(vectors) if as_json else _text_printer(len(lattice))
            lines = lattice.rewind(where=where, limit=limit, start=start)
            await _print(lines, printer)

    asyncio.run(run())


async def _print(lines: AsyncIterator[MemoryLine], printer: Callable[[MemoryLine], None]) -> None:
    async for line in lines:
        printer(line)


def _json_printer(vectors: bool) -> Callable[[MemoryLine], None]:
    def write(line: MemoryLine) -> None:
        # A query's weight means nothing in a stored line.
        left_out = {"weight"} if vectors else {"weight", *_VECTORS}
        show_json(line.model_dump(mode="json", exclude=left_out))

    return write


def _text_printer(length: int) -> Callable[[MemoryLine], None]:
    width = len(str(length - 1))
    # A person gets a row that fits; a program gets all of it.
    if is_terminal():
        return lambda line: show(_styled_row(line, width), crop=True)
    return lambda line: _write_row(line, width)


def _cells(line: MemoryLine, width: int) -> tuple[str, str, str]:
    """Up to the anchor, the anchor, and what comes after it."""
    faded = "" if line.strength == 1.0 else f"strength {line.strength:g}  "
    context = json.dumps(line.context, ensure_ascii=False, separators=(",", ":"))
    return (
        f"{line.position:>{width}}  {moment(line.timestamp, zone=False):<19}  ",
        line.anchor,
        f"  {line.kind}  {faded}{printable(context)}",
    )


def _write_row(line: MemoryLine, width: int) -> None:
    sys.stdout.write("".join(_cells(line, width)) + "\n")


def _styled_row(line: MemoryLine, width: int) -> Text:
    before, anchor, after = _cells(line, width)
    return Text.assemble((before, "dim"), (anchor, "cyan"), after)
