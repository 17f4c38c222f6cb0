"""`pmll info`: what a lattice holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmll_async.cli.terminal import facts, moment, show, show_json, size
from pmll_async.engine.assembly import Shape, load
from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.indexes.exact import ExactIndex
from pmll_async.protocols import Recovery, StoreHeader
from pmll_async.records.blocks import BRANCH, NOTE
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.folder import FORMAT
from pmll_async.stores.jsonl.lock import Holder, has_writer, heir_of, read_holder
from pmll_async.values.anchors import Hasher


@dataclass(frozen=True, slots=True)
class Description:
    """Everything that `pmll info` tells."""

    path: Path
    header: StoreHeader
    snapshot: Snapshot
    recovery: Recovery
    segments: list[tuple[str, int]]
    torn: list[tuple[str, int]]
    written: bool
    holder: Holder | None
    heir: int | None

    @property
    def branches(self) -> int:
        """Branches that are part of this state, dormant ones included."""
        snapshot = self.snapshot
        return int(np.count_nonzero((snapshot.kinds == BRANCH) & snapshot.alive))

    @property
    def notes(self) -> int:
        """Notes on the chain."""
        return int(np.count_nonzero(self.snapshot.kinds[self.snapshot.chain] == NOTE))


def info(path: Path, hasher: Hasher, *, as_json: bool) -> None:
    """Print the description of the lattice at `path`."""
    description = describe(path, hasher)
    if as_json:
        show_json(_document(description))
    else:
        show(facts(_rows(description)))


def describe(path: Path, hasher: Hasher) -> Description:
    """Read the lattice at `path` without a lock, also beside a writer."""
    store = JsonlStore(path, read_only=True)
    loaded = load(store, ExactIndex(), Shape(None, None), hasher)
    folder = Directory(path)
    try:
        holder = read_holder(folder)
        return Description(
            path=path,
            header=loaded.header,
            snapshot=loaded.ledger.snapshot,
            recovery=store.recovery,
            segments=_files(path, "log-*.jsonl"),
            torn=_files(path, "*.torn-*"),
            written=has_writer(folder),
            holder=holder,
            heir=None if holder is None else heir_of(folder, holder),
        )
    finally:
        folder.close()
        store.close()


def _files(path: Path, pattern: str) -> list[tuple[str, int]]:
    return [(file.name, file.stat().st_size) for file in sorted(path.glob(pattern))]


def _document(it: Description) -> dict[str, Any]:
    header, snapshot = it.header, it.snapshot
    holder = it.holder if it.written else None
    return {
        "path": str(it.path),
        "format": FORMAT,
        "store": header.store_id,
        "dim": header.dim,
        "value_dim": header.value_dim,
        "keyed": bool(header.key_check),
        "pins": header.pins,
        "lines": len(snapshot.chain),
        "notes": it.notes,
        "branches": it.branches,
        "revision": snapshot.revision,
        "head": snapshot.head,
        "digest": snapshot.digest.hex(),
        "created": header.created,
        "last_commit": snapshot.committed_at if snapshot.revision else None,
        "bytes": sum(count for _, count in it.segments),
        "segments": [{"file": name, "bytes": count} for name, count in it.segments],
        "torn": [{"file": name, "bytes": count} for name, count in it.torn],
        "open_for_writing": it.written,
        "writer": holder
        and {"pid": it.heir or holder.pid, "host": holder.host, "started": holder.started},
        "clean": it.recovery.clean,
    }


def _rows(it: Description) -> list[tuple[str, str]]:
    header, snapshot = it.header, it.snapshot
    keyed = "with an integrity key" if header.key_check else "without an integrity key"
    log = f"{size(sum(count for _, count in it.segments))} in {_counted(it.segments, 'segment')}"
    rows = [
        ("path", str(it.path)),
        ("dimensions", f"keys {header.dim}, values {header.value_dim}"),
        ("lines", f"{len(snapshot.chain)} on the chain, of these notes {it.notes}"),
        ("branches", str(it.branches)),
        ("revision", str(snapshot.revision)),
        ("head", snapshot.head),
        ("digest", snapshot.digest.hex()),
        ("hashes", keyed),
        ("log", log),
        *(("", f"{name}  {size(count)}") for name, count in it.segments),
        ("created", moment(header.created)),
        ("last commit", moment(snapshot.committed_at) if snapshot.revision else "none yet"),
        ("writer", _writer(it)),
        ("recovery", _recovery(it)),
    ]
    rows += [("moved aside", f"{name}  {size(count)}") for name, count in it.torn]
    rows += [(f"pin {name}", value) for name, value in header.pins.items()]
    return rows


def _counted(items: list[tuple[str, int]], what: str) -> str:
    return f"{len(items)} {what}" if len(items) == 1 else f"{len(items)} {what}s"


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
    if it.recovery.clean:
        return "not needed; the last writer closed it"
    return "the last writer did not close it; the next one will check its end and mend it"
