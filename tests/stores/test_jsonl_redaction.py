"""Redacted lines: a plain put takes a short way, to the same bytes as through its record."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pmll_async.records.content import packed_text
from pmll_async.records.record import Record
from pmll_async.stores.jsonl.folder import FolderHeader
from pmll_async.stores.jsonl.frames import BadFrameError, checked_body, close_line, encode_frame
from pmll_async.stores.jsonl.keys import PackedKeys
from pmll_async.stores.jsonl.redaction import Redaction
from pmll_async.testing import ChainBuilder

DIM = 9
HEADER = FolderHeader(DIM, DIM, packed=True)
PACKS = [0, 3, 0, 0, -4, 0, 0, 0, 0]
TRAP = ',"anchor":"0123456789abcdef","prev":"0123456789abcdef","similarity":1'


def puts(chain: ChainBuilder) -> list[Record]:
    first = chain.put({"n": 1})
    return [
        first,
        chain.put({"text": TRAP, "anchor": "0123456789abcdef"}, value=[1.5] * DIM),
        chain.put({}, key=PACKS, timestamp=1.25e-7),
        chain.put({}, key=PACKS, value=[2 * each for each in PACKS], revises=[first.line.anchor]),
        chain.put({"n": 2}, idempotency_key=TRAP),
        chain.note({"text": "a note"}),
        chain.note(idempotency_key="note"),
    ]


@pytest.mark.parametrize("secret", [None, bytes(32)], ids=["plain", "keyed"])
def test_the_short_way_leads_to_what_is_left_of_the_record(secret: bytes | None) -> None:
    chain = ChainBuilder(dim=DIM, value_dim=DIM, integrity_key=secret)
    hasher, records = chain.hasher, puts(chain)
    places = {n: {0} for n in range(len(records))}
    short = Redaction(HEADER, hasher, places, None)
    long = Redaction(HEADER, hasher, places, lambda _, record: record.erased({0}))
    for n, record in enumerate(records):
        line = encode_frame(record, n, n, packed_text)
        wanted = encode_frame(record.erased({0}), n, n, packed_text)
        assert short.line(n, line) == long.line(n, line) == wanted
        # Again is the same.
        assert short.line(n, wanted) == wanted
    assert short.done == long.done


def swap(line: bytes) -> bytes:
    return close_line(checked_body(line).replace(b"secret", b"Secret"))


@pytest.mark.parametrize(
    "damage",
    [
        swap,
        lambda line: line.replace(b"secret", b"Secret"),
        lambda line: line[:-1],
        lambda line: close_line(checked_body(line).replace(b'"n":0', b'"n":1')),
        lambda _: b"",
    ],
    ids=["another content", "a flipped bit", "torn", "another number", "nothing"],
)
def test_what_is_damaged_is_not_taken_for_what_was_erased(
    damage: Callable[[bytes], bytes],
) -> None:
    chain = ChainBuilder(dim=DIM, value_dim=DIM)
    line = encode_frame(chain.put({"text": "secret"}), 0, 0, packed_text)
    with pytest.raises(BadFrameError):
        Redaction(HEADER, chain.hasher, {0: {0}}, None).line(0, damage(line))


def test_of_packed_keys_those_that_stay_are_as_if_they_were_alone() -> None:
    rng = np.random.default_rng(0)
    rows = [
        (rng.standard_normal(20) if n % 4 == 1 else _hashed(rng)).astype("<f4") for n in range(40)
    ]
    texts = [packed_text(row.tobytes()).encode() for row in rows]
    assert 0 < sum(text.startswith(b"~") for text in texts) < 40
    for stays in (
        rng.random(40) < 0.6,
        np.arange(40) % 4 == 1,
        np.zeros(40, bool),
        np.ones(40, bool),
    ):
        left = [text for text, stay in zip(texts, stays.tolist(), strict=True) if stay]
        assert PackedKeys.of_texts(texts).where(stays) == PackedKeys.of_texts(left)
    assert PackedKeys().where(np.ones(3, bool)) == PackedKeys()


def _hashed(rng: np.random.Generator) -> np.ndarray:
    """A row as hashing makes it, with small numbers and large ones."""
    whole = rng.integers(-3, 4, 20) * np.where(rng.random(20) < 0.2, 100, 1)
    whole[:2] = 1, 0
    return whole / np.sqrt(float(whole @ whole))
