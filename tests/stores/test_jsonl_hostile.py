"""Files with right checksums and wrong content: told in our errors, alike by all who look."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jsonl_tools import LOG, opened, quick_folder
from make_records import Chain, small_history

from pmll_async.cli.info import describe
from pmll_async.engine.assembly import load
from pmll_async.engine.shape import Shape
from pmll_async.errors import CorruptionError, PmllError
from pmll_async.indexes.exact import ExactIndex
from pmll_async.moving.transfer import export_records
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl import store as store_module
from pmll_async.stores.jsonl.frames import close_line
from pmll_async.stores.jsonl.verify import store as verify_module
from pmll_async.stores.jsonl.verify import verify
from pmll_async.values.anchors import Hasher

VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 2, 10**19, 10**400, 0.5, 1e300, float("inf"), float("nan")),
    *("", "x", "0", "../../x", "\ud800", "00" * 32, [], [None], [1, 2], {}, {"x": 1}),
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader need not look again for a writer that may be recovering."""
    monkeypatch.setattr(store_module, "_ATTEMPTS", 0)
    monkeypatch.setattr(verify_module, "_ATTEMPTS", 1)
    monkeypatch.setattr(verify_module, "_PAUSE", 0)


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder


def closed(folder: Path, history: Callable[[Chain, JsonlStore], object] = small_history) -> Path:
    chain = Chain(dim=2)
    with opened(folder / "memory", chain) as store:
        history(chain, store)
    return folder / "memory"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a JSON value has values."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


def changed(line: bytes, place: tuple[Any, ...], value: Any) -> bytes:
    """The line of a JSON object with another value there, and with the checksum for it."""
    fields = json.loads(line)
    del fields["c"]
    inner = fields
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii="\ud800" in str(value))
    return close_line(text[:-1].encode())


def opens(path: Path, *, read_only: bool = True) -> bool:
    """Whether it opens, down to the last effect; nothing but our errors may come out."""
    store = JsonlStore(path, read_only=read_only)
    try:
        load(store, ExactIndex(), Shape(None, None), Hasher())
    except PmllError:
        return False
    finally:
        store.close()
    return True


def looks(path: Path) -> list[Callable[[], object]]:
    return [
        lambda: verify(path),
        lambda: asyncio.run(describe(path, None)),
        lambda: list(export_records(JsonlStore(path, read_only=True), Hasher())),
    ]


def looked_at(path: Path) -> None:
    for look in looks(path):
        with suppress(PmllError):
            look()


@pytest.mark.parametrize("name", ["store.json", "MANIFEST.json", "LOCK"])
def test_any_value_anywhere(folder: Path, name: str) -> None:
    path = closed(folder)
    chain = Chain(dim=2)
    if name == "LOCK":
        store = JsonlStore(path)
        store.open(chain.header, chain.hasher)
        list(store.load())
        right = (path / name).read_bytes()
        store.close()
    else:
        right = (path / name).read_bytes()
    fields = json.loads(right)
    del fields["c"]
    for place in places(fields):
        for value in VALUES:
            (path / name).write_bytes(changed(right, place, value))
            looked_at(path)
            opens(path)
    for text in (b"[]", b"null", b"{}", b'{"c":1}', b"\xff", b"", b"{" * 5000):
        (path / name).write_bytes(close_line(text[:-1]))
        looked_at(path)
        opens(path)


@pytest.mark.usefixtures("both_formats")
def test_any_value_anywhere_in_a_record(folder: Path) -> None:
    """Opening without a cache refuses what `verify` finds, and nothing else."""
    path = closed(folder)
    shutil.rmtree(path / "cache")
    lines = (path / LOG).read_bytes().splitlines(keepends=True)
    rng = random.Random(0)
    told = 0
    for n, line in enumerate(lines):
        fields = json.loads(line)
        del fields["c"]
        for place in places(fields):
            for value in rng.sample(VALUES, 3):
                forged = [*lines[:n], changed(line, place, value), *lines[n + 1 :]]
                (path / LOG).write_bytes(b"".join(forged))
                told += agree(path)
    assert told


def agree(path: Path) -> bool:
    """Opening and verifying say the same; whether that is damage."""
    try:
        damaged = verify(path).status == "damaged"
    except PmllError:
        damaged = True
    assert opens(path) is not damaged, (path / LOG).read_bytes()
    return damaged


def test_any_two_records_swapped(folder: Path) -> None:
    """With their numbers put right, so that only what they say tells."""
    path = closed(folder)
    shutil.rmtree(path / "cache")
    lines = (path / LOG).read_bytes().splitlines(keepends=True)
    for i in range(len(lines)):
        for j in range(i):
            order = list(range(len(lines)))
            order[i], order[j] = j, i
            renumbered = [changed(lines[k], ("n",), n) for n, k in enumerate(order)]
            renumbered = [changed(line, ("d",), 0) for line in renumbered]
            (path / LOG).write_bytes(b"".join(renumbered))
            assert agree(path), (i, j)


def test_an_effect_before_its_line(folder: Path) -> None:
    """Without a manifest that knows the digest, only the effect itself tells."""

    def history(chain: Chain, store: JsonlStore) -> None:
        chain.append(store, chain.put)
        chain.append(store, chain.note)
        anchor = chain.heads[-1]
        chain.append(store, chain.decay)
        assert anchor == chain.heads[-1]

    path = closed(folder, history)
    first = (path / "MANIFEST.json").read_bytes()
    lines = (path / LOG).read_bytes().splitlines(keepends=True)
    order = [lines[0], lines[2], lines[1]]
    order = [changed(line, ("d",), 0) for line in order]
    (path / LOG).write_bytes(b"".join(changed(line, ("n",), n) for n, line in enumerate(order)))
    segment = json.loads(first)["segments"][0]
    empty = segment | {"records": 0, "bytes": 0, "h": "00" * 32}
    (path / "MANIFEST.json").write_bytes(changed(first, ("segments",), [empty]))
    shutil.rmtree(path / "cache")
    report = verify(path)
    assert report.status == "damaged"
    assert "which no line has then" in report.findings[0].reason
    with pytest.raises(CorruptionError, match="which no line has then"):
        load(JsonlStore(path), ExactIndex(), Shape(None, None), Hasher())


def test_an_effect_on_a_line_that_a_rollback_took_away(folder: Path) -> None:
    def history(chain: Chain, store: JsonlStore) -> None:
        for _ in range(3):
            chain.append(store, chain.put)
        gone = chain.heads[-1]
        chain.append(store, lambda: chain.rollback(2))
        chain.heads[-1] = gone
        chain.append(store, chain.forget)

    path = closed(folder, history)
    shutil.rmtree(path / "cache")
    assert verify(path).status == "damaged"
    with pytest.raises(CorruptionError, match="which no line has then"):
        load(JsonlStore(path), ExactIndex(), Shape(None, None), Hasher())
