"""The chains of an independent implementation, which must come out for ever."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmll_async import Candidate, InvalidVectorError, Lattice
from pmll_async.protocols import Store
from pmll_async.records.content import LineContent
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.values.anchors import ROOT_ANCHOR, Hasher, encode_bytes, encode_vector
from pmll_async.values.contexts import encode_context
from pmll_async.values.vectors import to_vector

GOLDEN = Path(__file__).parent.parent / "golden" / "golden_anchors.json"
CHAINS: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))["chains"]
MakeStore = Callable[[Path], Store]


def vectors(line: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    key, value = (base64.b64decode(line[f"{name}_f32le_b64"]) for name in ("key", "value"))
    return np.frombuffer(key, "<f4"), np.frombuffer(value, "<f4")


# A key of zeros has an anchor but no direction, so that no lattice takes it.
STORABLE = [chain for chain in CHAINS if all(vectors(line)[0].any() for line in chain["lines"])]


@pytest.fixture(params=CHAINS, ids=lambda chain: chain["name"])
def chain(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


@pytest.fixture(params=STORABLE, ids=lambda chain: chain["name"])
def storable(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


@pytest.fixture(params=[lambda _: MemoryStore(), JsonlStore], ids=["memory", "jsonl"])
def make_store(request: pytest.FixtureRequest) -> MakeStore:
    return request.param


def integrity_key(chain: dict[str, Any]) -> bytes | None:
    return bytes.fromhex(chain["key_hex"]) or None


def lattice(chain: dict[str, Any], store: Store) -> Lattice:
    dim, value_dim = chain["dim"], chain["value_dim"]
    return Lattice(store, dim=dim, value_dim=value_dim, integrity_key=integrity_key(chain))


def test_there_are_keyed_and_unkeyed_chains() -> None:
    assert {bool(chain["key_hex"]) for chain in STORABLE} == {True, False}
    assert all(len(chain["lines"]) >= 10 for chain in CHAINS)


def test_the_pure_functions(chain: dict[str, Any]) -> None:
    hasher, head = Hasher(integrity_key(chain)), ROOT_ANCHOR
    for line in chain["lines"]:
        key, value = vectors(line)
        parts = [
            encode_vector(to_vector(key, "key", chain["dim"]).tobytes()),
            encode_vector(to_vector(value, "value", chain["value_dim"]).tobytes()),
            encode_bytes(encode_context(line["ctx"])),
        ]
        assert line["prev_anchor"] == head
        head = hasher.anchor(head, b"".join(hasher.digest(part) for part in parts))
        assert head == line["anchor"]


def test_the_content_of_a_record(chain: dict[str, Any]) -> None:
    hasher, head = Hasher(integrity_key(chain)), ROOT_ANCHOR
    for line in chain["lines"]:
        key, value = (to_vector(vector, "vector", None).tobytes() for vector in vectors(line))
        content = LineContent.of(hasher, key, value, encode_context(line["ctx"]), 1.0)
        head = hasher.anchor(head, content.digests)
        assert head == line["anchor"]


async def test_put(storable: dict[str, Any], make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(tmp_path / "memory")
    async with lattice(storable, store) as opened:
        for line in storable["lines"]:
            assert opened.head == line["prev_anchor"]
            key, value = vectors(line)
            assert await opened.put(key, value, line["ctx"]) == line["anchor"]
        digest = opened.digest
    async with lattice(storable, store) as opened:
        await check_stored(storable, opened)
        assert opened.digest == digest


@pytest.mark.parametrize("batch", [1, 3, 100])
async def test_put_many(
    storable: dict[str, Any], make_store: MakeStore, tmp_path: Path, batch: int
) -> None:
    store = make_store(tmp_path / "memory")
    candidates = [
        Candidate(key=key, value=value, context=line["ctx"])
        for line in storable["lines"]
        for key, value in [vectors(line)]
    ]
    async with lattice(storable, store) as opened:
        assert await opened.put_many(candidates, batch=batch) == len(candidates)
        await check_stored(storable, opened)


async def check_stored(chain: dict[str, Any], opened: Lattice) -> None:
    stored = [line async for line in opened.rewind()][::-1]
    for line, golden in zip(stored, chain["lines"], strict=True):
        assert line.anchor == golden["anchor"]
        key, value = vectors(golden)
        assert line.prev_anchor == golden["prev_anchor"]
        assert line.context == golden["ctx"]
        # As given, with -0.0 as 0.0.
        assert line.key.tobytes() == (key + np.float32(0)).tobytes()
        assert line.value.tobytes() == (value + np.float32(0)).tobytes()


async def test_another_key_gives_other_anchors(storable: dict[str, Any]) -> None:
    other = {**storable, "key_hex": "00" if storable["key_hex"] != "00" else "01"}
    line = storable["lines"][0]
    async with lattice(other, MemoryStore()) as opened:
        assert await opened.put(*vectors(line), line["ctx"]) != line["anchor"]


async def test_a_key_without_direction_is_refused() -> None:
    [chain] = [chain for chain in CHAINS if chain not in STORABLE]
    zero = [line for line in chain["lines"] if not vectors(line)[0].any()]
    assert len(zero) == 4
    async with lattice(chain, MemoryStore()) as opened:
        for line in zero:
            with pytest.raises(InvalidVectorError):
                await opened.put(*vectors(line), line["ctx"])
        assert opened.revision == 0
