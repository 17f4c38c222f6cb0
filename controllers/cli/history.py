"""`pmll runs` and `pmll replay`: what the chain tells of runs, also beside a live writer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import anyio

from pmll_async import Lattice
from pmll_async.integrity import Passphrase, RawKey
from pmll_async.values.extras import missing

from ..events import Event, RunEnded, RunInfo
from ..journal.history import replay as replayed
from ..journal.history import runs as runs_of
from ..reports.plain import clock_time, one_line

try:
    import typer
except ModuleNotFoundError as exc:
    raise missing("`pmll replay`", "cli", exc) from exc

from .output import as_json as json_text
from .output import chosen, teller_of, writer

POLL_SECONDS: Final = 0.25
"""How often `--follow` looks: soon enough for a person, and nothing beside what a step costs."""
_LONGEST_KEY: Final = 64  # bytes: BLAKE2b takes no more

LatticePath = Annotated[
    Path, typer.Argument(metavar="PATH", help="The folder of a lattice.", show_default=False)
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        envvar="PMLL_INTEGRITY_KEY_FILE",
        help="The integrity key of a keyed lattice: all bytes of this file, 1 to 64.",
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        envvar="PMLL_PASSPHRASE_FILE",
        help="The passphrase of an encrypted lattice: the first line of this file.",
    ),
]
SecretKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--secret-key-file",
        metavar="FILE",
        envvar="PMLL_SECRET_KEY_FILE",
        help="The raw key of an encrypted lattice: the 32 bytes of this file.",
    ),
]


def runs(
    path: LatticePath,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=0, help="So many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each.")] = False,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """List the runs in a lattice, those that changed last first.

    Reads only, also beside a writer. `open` is a run without an end: it goes on in another process,
    or was interrupted by a crash.

    \b
    Example:
      pmll runs memory --limit 10
    """  # noqa: D301  # typer's mark for lines that stay as they are
    key, secret = _key(key_file), _secret(passphrase_file, secret_key_file)

    async def work() -> list[RunInfo]:
        opening = Lattice.open(path, read_only=True, integrity_key=key, secret=secret)
        async with opening as lattice:
            return await runs_of(lattice, limit=limit)

    write, found = writer(sys.stdout), asyncio.run(work())
    if as_json:
        for info in found:
            write(json_text(asdict(info) | {"status": _status(info)}))
        return
    width = max((len(one_line(info.run_id)) for info in found), default=0)
    for info in found:
        write(_row(info, width))


def replay(
    path: LatticePath,
    run: Annotated[str, typer.Argument(help="The run's id, or how it begins.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each event.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run ends or pauses.")
    ] = False,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """Tell a run from the chain, as it was told when it ran.

    Reads only, also while another process is running it; what is not on the chain, such as a judge
    at work, is missing.

    \b
    Example:
      pmll replay memory 9f2c1ab4 --json | jq 'select(.event == "run.acted")'
    """  # noqa: D301  # typer's mark for lines that stay as they are
    key, secret = _key(key_file), _secret(passphrase_file, secret_key_file)
    teller = teller_of(writer(sys.stdout), as_json=as_json)

    async def work() -> None:
        opening = Lattice.open(path, read_only=True, integrity_key=key, secret=secret)
        async with opening as lattice:
            run_id = chosen([info.run_id for info in await runs_of(lattice)], run)
            async for event, at in _dated_events(lattice, run_id, follow=follow):
                teller.tell(event, at)

    asyncio.run(work())


async def _dated_events(
    lattice: Lattice, run_id: str, *, follow: bool
) -> AsyncIterator[tuple[Event, float]]:
    """The run's events and when they happened; with `follow` until the newest is an end."""
    count, newest = 0, ""
    # Each look replays the run from its start, for an event may need what earlier entries say.
    while True:
        event: Event | None = None
        seen = 0
        async for event in replayed(lattice, run_id):
            seen += 1
            if seen > count:
                yield event, (await lattice.get(event.anchor)).committed_at
        count = max(count, seen)
        if not follow or isinstance(event, RunEnded):
            return
        newest = await _changed(lattice, run_id, newest)


async def _changed(lattice: Lattice, run_id: str, newest: str) -> str:
    """Wait until the run's newest entry is another one, and return its anchor."""
    while True:
        # Cheap beside a replay: one line, and none of what the run said.
        async for entry in lattice.rewind(where={"pmll.run": run_id}, limit=1):
            if entry.anchor != newest:
                return entry.anchor
        await anyio.sleep(POLL_SECONDS)


def _row(info: RunInfo, width: int) -> str:
    day, time = clock_time(info.changed_at)
    times = f"  (resumed {info.resumed})" if info.resumed else ""
    goal = one_line(info.goal)
    return f"{one_line(info.run_id):<{width}}  {_status(info):<9}  {day} {time}  {goal}{times}"


def _status(info: RunInfo) -> str:
    # Nobody runs it in this process, which cannot know of others.
    return "open" if info.status == "interrupted" else info.status


def _key(file: Path | None) -> bytes | None:
    if file is None:
        return None
    with file.open("rb") as opened:
        key = opened.read(_LONGEST_KEY + 1)
    if not 1 <= len(key) <= _LONGEST_KEY:
        reason = f"{file} must hold 1 to {_LONGEST_KEY} bytes, and all of them are the key"
        raise typer.BadParameter(reason, param_hint="--key-file")
    return key


def _secret(passphrase: Path | None, key: Path | None) -> Passphrase | RawKey | None:
    if passphrase is not None and key is not None:
        raise typer.BadParameter("give --passphrase-file or --secret-key-file, not both")
    if passphrase is not None:
        return Passphrase.read(passphrase)
    return None if key is None else RawKey.read(key)
