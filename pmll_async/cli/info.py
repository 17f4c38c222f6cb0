"""`pmll info`: what a lattice holds."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmll_async.cli.secrets import opened_by
from pmll_async.cli.terminal import facts, moment, show, show_json, size
from pmll_async.integrity.secrets import Passphrase, RawKey
from pmll_async.lattice import Lattice
from pmll_async.protocols import StoreHeader
from pmll_async.stores.choice import is_lmdb
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.folder import FORMAT
from pmll_async.stores.jsonl.lock import Holder, has_writer, heir_of, read_holder
from pmll_async.values.anchors import Hasher
from pmll_async.views import Survey


@dataclass(frozen=True, slots=True)
class Description:
    """Everything that `pmll info` tells."""

    path: Path
    header: StoreHeader
    survey: Survey
    lines: int
    head: str
    digest: str
    is_clean: bool
    segments: list[tuple[str, int]]
    torn: list[tuple[str, int]]
    written: bool
    holder: Holder | None
    heir: int | None
    suite: str | None

    @property
    def bytes(self) -> int:
        """Of all segments."""
        return sum(count for _, count in self.segments)

    @property
    def last_commit(self) -> float | None:
        """None before the first."""
        return self.survey.committed_at if self.survey.revision else None


def info(
    path: Path, key: bytes | None, secret: Passphrase | RawKey | None = None, *, as_json: bool
) -> None:
    """Print the description of the lattice at `path`."""
    description = asyncio.run(describe(path, key, secret))
    if as_json:
        show_json(_document(description))
    else:
        show(facts(_rows(description)))


async def describe(
    path: Path, key: bytes | None, secret: Passphrase | RawKey | None = None
) -> Description:
    """Read the lattice at `path` without a lock, also beside a writer."""
    store = opened_by(path, secret, read_only=True)
    header = store.open(None, Hasher(key))
    store.close()
    async with Lattice(store, integrity_key=key) as lattice:
        # As it is now: the lock and the files may change while a reader looks.
        with closing(Directory(path)) as folder:
            holder = read_holder(folder)
            return Description(
                path=path,
                header=header,
                survey=await lattice.survey(),
                lines=len(lattice),
                head=lattice.head,
                digest=lattice.digest,
                is_clean=lattice.recovery.clean,
                segments=_files(path, "data.mdb" if is_lmdb(path) else "log-*.jsonl"),
                torn=_files(path, "*.torn-*"),
                written=has_writer(folder),
                holder=holder,
                heir=None if holder is None else heir_of(folder, holder),
                # Of an encrypted store alone, whose class needs packages that others do not.
                suite=getattr(store, "suite", None),
            )


def _files(path: Path, pattern: str) -> list[tuple[str, int]]:
    return [(file.name, file.stat().st_size) for file in sorted(path.glob(pattern))]


def _document(it: Description) -> dict[str, Any]:
    header, survey, holder = it.header, it.survey, it.holder if it.written else None
    return {
        "path": str(it.path),
        "format": FORMAT,
        "store": header.store_id,
        "dim": header.dim,
        "value_dim": header.value_dim,
        "novelty_window": header.novelty_window,
        "keyed": bool(header.key_check),
        "encrypted": it.suite,
        "pins": header.pins,
        "lines": it.lines,
        "notes": survey.notes,
        "branches": survey.branches,
        "revision": survey.revision,
        "head": it.head,
        "digest": it.digest,
        "created": header.created,
        "last_commit": it.last_commit,
        "bytes": it.bytes,
        "segments": [{"file": name, "bytes": count} for name, count in it.segments],
        "torn": [{"file": name, "bytes": count} for name, count in it.torn],
        "open_for_writing": it.written,
        "writer": holder
        and {"pid": it.heir or holder.pid, "host": holder.host, "started": holder.started},
        "clean": it.is_clean,
    }


def _rows(it: Description) -> list[tuple[str, str]]:
    header, survey = it.header, it.survey
    keyed = "with an integrity key" if header.key_check else "without an integrity key"
    log = f"{size(it.bytes)} in {len(it.segments)} segment{'s' * (len(it.segments) != 1)}"
    rows = [
        ("path", str(it.path)),
        ("dimensions", f"keys {header.dim}, values {header.value_dim}"),
        ("novelty", _novelty(header)),
        ("lines", f"{it.lines} on the chain, of these notes {survey.notes}"),
        ("branches", str(survey.branches)),
        ("revision", str(survey.revision)),
        ("head", it.head),
        ("digest", it.digest),
        ("hashes", keyed),
        ("encryption", it.suite or "none: whoever can read the files can read the memory"),
        ("log", log),
        *(("", f"{name}  {size(count)}") for name, count in it.segments),
        ("created", moment(header.created)),
        ("last commit", "none yet" if it.last_commit is None else moment(it.last_commit)),
        ("writer", _writer(it)),
        ("recovery", _recovery(it)),
    ]
    rows += [("moved aside", f"{name}  {size(count)}") for name, count in it.torn]
    rows += [(f"pin {name}", value) for name, value in header.pins.items()]
    return rows


def _novelty(header: StoreHeader) -> str:
    window = header.novelty_window
    return "of all lines" if window is None else f"of the newest {window} live lines"


def _writer(it: Description) -> str:
    if not it.written:
        return "none"
    if it.holder is None:
        return "a process that is opening it"
    process = f"process {it.holder.pid} on {it.holder.host} since {moment(it.holder.started)}"
    if it.heir is None:
        return process
    return f"process {it.heir}, left behind by {process}, which has ended"


def _recovery(it: Description) -> str:
    if it.written:
        return "not needed; what the writer made durable is shown"
    if it.is_clean:
        return "not needed; the last writer closed it"
    return "the last writer did not close it; the next one will check its end and mend it"
