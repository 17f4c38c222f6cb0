"""`pmll reembed`: a text memory with the vectors of another embedder."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pmll_async.cli.secrets import opened_by
from pmll_async.cli.terminal import progress, show_json
from pmll_async.moving.files import replacing

if TYPE_CHECKING:
    from pmll_async.integrity.secrets import Passphrase, RawKey
    from pmll_async.moving.transfer import Progress
    from pmll_async.protocols import AsyncEmbedder, Embedder, Store


def reembed(
    path: Path,
    target: Path,
    embedder: Embedder | AsyncEmbedder,
    key: bytes | None,
    anchors: Path | None,
    secret: Passphrase | RawKey | None = None,
    *,
    as_json: bool,
) -> None:
    """Write the memory at `path` into `target` anew, and the map of anchors to a file."""
    with progress("embedding") as tell:
        source = opened_by(path, secret, read_only=True)
        # An encrypted memory has no copy in clear.
        made = asyncio.run(_copied(source, opened_by(target, secret), embedder, key, tell))
    if anchors is not None:
        with replacing(anchors) as file:
            file.writelines(
                json.dumps({"old": old, "new": new}).encode() + b"\n" for old, new in made.items()
            )
    if as_json:
        facts = {"path": str(path), "target": str(target), "embedder": embedder.id}
        show_json(facts | {"lines": len(made), "map": None if anchors is None else str(anchors)})
    else:
        sys.stdout.write(f"wrote {len(made)} lines of {path} to {target} with {embedder.id}\n")


async def _copied(
    source: Store,
    target: Store,
    embedder: Embedder | AsyncEmbedder,
    key: bytes | None,
    tell: Progress,
) -> dict[str, str]:
    from pmll_async.moving.reembed import reembed as copy

    try:
        return await copy(source, target, embedder, integrity_key=key, progress=tell)
    finally:
        # Whoever made it has no more use of it: with this the process ends.
        close = getattr(embedder, "aclose", None)
        if close is not None:
            await close()
