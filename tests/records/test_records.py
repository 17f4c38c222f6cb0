"""Records as JSON and as digests, against a simple implementation written from the format alone."""

from __future__ import annotations

import base64
import json
import struct
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from pmll_async.records.blocks import Block
from pmll_async.records.chain import anchors_hold
from pmll_async.records.changes import DecayRecord, ForgetRecord, RollbackRecord
from pmll_async.records.content import LineContent, LineRecord
from pmll_async.records.parser import (
    RecordFormatError,
    UnknownOperationError,
    decode_record,
    parse_object,
)
from pmll_async.records.record import (
    PutRecord,
    RaceRecord,
    Record,
    encode_record,
    leaf,
)
from pmll_async.testing import ChainBuilder
from pmll_async.values.anchors import ROOT_ANCHOR, Hasher, fold
from pmll_async.values.concert import exact_norm
from pmll_async.values.contexts import StampedContext, encode_context
from pmll_async.values.lines import CandidateFailure, CandidateScore

KEYS = [None, b"k", bytes(range(64))]


# --- the simple implementation -----------------------------------------------------------------


def simple_digest(encoded: bytes, key: bytes | None) -> str:
    return blake2b(encoded, digest_size=32, key=key or b"").hexdigest()


def simple_vector(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    return struct.pack("<I", len(raw) // 4) + raw


def simple_line(line: dict[str, Any], key: bytes | None) -> dict[str, Any]:
    context = rfc8785.dumps(line["ctx"])
    return {
        **line,
        "key": simple_digest(simple_vector(line["key"]), key),
        # A value that is the key is left out of the log, and not out of what is hashed.
        "value": simple_digest(simple_vector(line.get("value", line["key"])), key),
        "ctx": simple_digest(struct.pack("<I", len(context)) + context, key),
    }


def as_doubles(value: Any) -> Any:
    """A whole number beyond 2^53 in canonical JSON is a double, not an integer."""
    if isinstance(value, dict):
        return {name: as_doubles(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_doubles(item) for item in value]
    is_large = isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53
    return float(value) if is_large else value


def simple_leaf(text: str, key: bytes | None) -> bytes:
    """L of a log line, from its text alone."""
    fields = as_doubles(json.loads(text))
    # `g` says how it was written together with others, as `n` and `d` do.
    for name in ("n", "d", "g", "c"):
        fields.pop(name, None)
    if fields["op"] == "put":
        fields = simple_line(fields, key)
    if fields["op"] == "race":
        fields["lines"] = [simple_line(line, key) for line in fields["lines"]]
    return blake2b(rfc8785.dumps(fields), digest_size=32).digest()


# --- strategies --------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
seconds = st.floats(-1e12, 1e12) | st.integers(0, 2**31).map(float)
fractions = st.floats(0, 1)
components = st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)
anchors = st.binary(min_size=8, max_size=8).map(bytes.hex)
plain = st.dictionaries(texts, st.none() | st.booleans() | st.floats(-1e9, 1e9) | texts, max_size=3)
several_anchors = st.lists(anchors, max_size=2).map(tuple)
keys_or_none = st.none() | texts.filter(bool)


@st.composite
def contents(draw: st.DrawFn, hasher: Hasher, *, note: bool = False) -> LineContent:
    vectors = [b"", b""]
    if not note:
        for place, least in ((0, 1), (1, 0)):
            numbers = draw(st.lists(components, min_size=least, max_size=3))
            vectors[place] = np.array(numbers, dtype="<f4").tobytes()
    norm = exact_norm(np.frombuffer(vectors[0], dtype="<f4"))
    context = encode_context(StampedContext(draw(plain)))
    return LineContent.of(hasher, vectors[0], vectors[1], context, norm)


@st.composite
def line_records(draw: st.DrawFn, hasher: Hasher, kind: str, strength: float = 1.0) -> LineRecord:
    is_note = kind == "note"
    return LineRecord(
        content=draw(contents(hasher, note=is_note)),
        anchor=draw(anchors),
        prev_anchor=draw(anchors),
        kind=kind,
        similarity=0.0 if is_note else draw(st.floats(-1, 1)),
        novelty=0.0 if is_note else draw(fractions),
        timestamp=draw(st.none() | seconds),
        strength=strength,
    )


@st.composite
def puts(draw: st.DrawFn, hasher: Hasher) -> Record:
    kind = draw(st.sampled_from(["line", "note"]))
    line = draw(line_records(hasher, kind))
    return PutRecord(
        t=draw(seconds),
        line=line,
        revises=draw(several_anchors),
        idempotency_key=draw(keys_or_none),
    )


@st.composite
def races(draw: st.DrawFn, hasher: Hasher) -> Record:
    decay = draw(fractions)
    losers = draw(st.lists(line_records(hasher, "branch", decay), max_size=2))
    # A race makes 0.0 of -0.0 before it is recorded.
    points = st.floats(-1e9, 1e9).map(lambda score: score + 0.0)
    scores = st.builds(CandidateScore, name=texts, score=points, anchor=anchors)
    failures = st.builds(CandidateFailure, name=texts, error=texts, message=texts)
    return RaceRecord(
        t=draw(seconds),
        entries=(draw(line_records(hasher, "line")), *losers),
        decay=decay,
        scores=tuple(draw(st.lists(scores, max_size=3))),
        failures=tuple(draw(st.lists(failures, max_size=2))),
        unfinished=tuple(draw(st.lists(texts, max_size=2))),
        revises=draw(several_anchors),
        idempotency_key=draw(keys_or_none),
    )


def records(hasher: Hasher) -> st.SearchStrategy[Record]:
    factors = st.floats(0, 1e9) | st.just(0.5)
    return st.one_of(
        puts(hasher),
        races(hasher),
        st.builds(DecayRecord, t=seconds, anchor=anchors, factor=factors),
        st.builds(ForgetRecord, t=seconds, anchor=anchors),
        st.builds(RollbackRecord, t=seconds, revision=st.integers(0, 2**40)),
    )


keyed_records = st.sampled_from(KEYS).flatmap(
    lambda key: st.tuples(st.just(key), records(Hasher(key)))
)


# --- tests -------------------------------------------------------------------------------------


@given(keyed_records)
def test_records_come_back(keyed: tuple[bytes | None, Record]) -> None:
    key, record = keyed
    text = encode_record(record, '"n":3,"d":2,') + "}"
    decoded = decode_record(parse_object(text), Hasher(key))
    assert decoded == record
    assert encode_record(decoded, '"n":3,"d":2,') + "}" == text


@given(keyed_records)
def test_the_digest_is_that_of_the_simple_implementation(
    keyed: tuple[bytes | None, Record],
) -> None:
    key, record = keyed
    text = encode_record(record, '"n":3,"d":2,') + "}"
    assert leaf(record) == simple_leaf(text, key)


@pytest.mark.parametrize("key", KEYS)
def test_a_chain_of_every_operation(key: bytes | None) -> None:
    chain = ChainBuilder(value_dim=2, integrity_key=key)
    digest = bytes(32)
    for n, record in enumerate(chain.one_of_each()):
        text = encode_record(record, f'"n":{n},"d":{n},') + "}"
        assert decode_record(parse_object(text), chain.hasher) == record
        assert leaf(record) == simple_leaf(text, key)
        digest = blake2b(digest + simple_leaf(text, key), digest_size=32).digest()
    assert digest == chain.digest == chain.block().digest


def test_how_records_are_grouped_is_in_no_digest() -> None:
    chain = ChainBuilder()
    record = chain.put({"a": 1})
    grouped = PutRecord(t=record.t, line=record.line, following=7)
    assert leaf(grouped) == leaf(record)
    text = encode_record(grouped, "") + "}"
    assert decode_record(parse_object(text), chain.hasher) == grouped


def test_the_context_is_written_as_it_was_hashed() -> None:
    chain = ChainBuilder()
    record = chain.put({"😀": 1, "\uffff": 2, "x": 1e21, "t": "é\u2028"})
    text = encode_record(record, "")
    assert f'"ctx":{record.line.content.context.decode()},' in text


def test_a_block_of_blocks_has_the_same_digest() -> None:
    chain = ChainBuilder()
    chain.one_of_each()
    digest = bytes(32)
    for n, record in enumerate(chain.records):
        block = Block.of([record], n, digest, chain.dim)
        assert block.digest == fold(digest, leaf(record))
        digest = block.digest
    assert digest == chain.block().digest


def test_anchors_hold_only_on_their_head() -> None:
    chain = ChainBuilder()
    put, race = chain.put(), chain.race()
    assert anchors_hold(put, ROOT_ANCHOR, chain.hasher)
    assert anchors_hold(race, put.line.anchor, chain.hasher)
    assert not anchors_hold(race, ROOT_ANCHOR, chain.hasher)
    assert not anchors_hold(put, ROOT_ANCHOR, Hasher(b"another"))


def test_what_is_no_record() -> None:
    chain = ChainBuilder()
    good = parse_object(encode_record(chain.put(), "") + "}")
    changes: list[dict[str, Any]] = [
        {"anchor": good["anchor"].upper()},
        {"anchor": good["anchor"][:-1]},
        {"key": good["key"][:-4] + "AA"},
        {"key": "!" + good["key"][1:]},
        {"t": "soon"},
        {"ctx": [1]},
        {"value": None},
        # One record is written in one way only.
        {"value": good["key"]},
    ]
    for change in changes:
        with pytest.raises(RecordFormatError):
            decode_record({**good, **change}, chain.hasher)
    for missing in ("t", "key", "ctx", "anchor", "prev"):
        fields = {name: value for name, value in good.items() if name != missing}
        with pytest.raises(RecordFormatError):
            decode_record(fields, chain.hasher)
    for op in ("compact", None, 1, [], {}):
        with pytest.raises((UnknownOperationError, RecordFormatError)):
            decode_record({**good, "op": op}, chain.hasher)
