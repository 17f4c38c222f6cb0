"""Plain puts read together: the same columns as one by one, and nothing that would be refused."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from make_records import Chain

from pmll_async.records.blocks import Block
from pmll_async.records.chain import Chain as Following
from pmll_async.records.chain import Dimensions
from pmll_async.records.content import LineContent
from pmll_async.records.record import PutRecord, Record, leaf
from pmll_async.stores.jsonl.folder import FolderHeader
from pmll_async.stores.jsonl.frames import (
    BadFrameError,
    check_frame,
    close_line,
    decode_exact_frame,
    encode_frame,
)
from pmll_async.stores.jsonl.pieces import Piece, Run, difference
from pmll_async.stores.jsonl.puts import Before, Puts, read_puts, runs
from pmll_async.values.anchors import ROOT_ANCHOR, ROOT_DIGEST
from pmll_async.values.concert import Float32, exact_norm
from pmll_async.values.contexts import encode_context

START: Final = 1000
"""Where the first line lies; what lies before does not matter."""


class PutChain(Chain):
    """A chain of puts with the value dimension and contexts of a test."""

    def __init__(self, value_dim: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.value_dim = self.dim if value_dim is None else value_dim

    def header_of(self, *, packed: bool) -> FolderHeader:
        return FolderHeader(dim=self.dim, value_dim=self.value_dim, packed=packed)

    def line(self, key: Float32, value: bytes, context: bytes, timestamp: float | None) -> Record:
        raw = key.astype("<f4").tobytes()
        content = LineContent.of(self.hasher, raw, value or raw, context, exact_norm(key))
        if self.value_dim == 0:
            content = LineContent.of(self.hasher, raw, b"", context, exact_norm(key))
        line = self._line("line", {})._replace(content=content, timestamp=timestamp)
        line = line._replace(anchor=self.hasher.anchor(self.heads[-1], content.digests))
        return self.add(PutRecord(t=self._time(), line=line))


def several(chain: PutChain, count: int = 6) -> None:
    """Puts that pack and that do not, with values and timestamps of their own and without."""
    for i in range(count):
        key = chain._packable() if i % 2 else chain._any_vector()
        own = chain.value_dim and (i % 3 == 1 or chain.value_dim != chain.dim)
        value = np.arange(1, chain.value_dim + 1, dtype="<f4").tobytes() if own else b""
        context = encode_context({"i": i, "text": "grüße ∑ 😀\n", "x": 0.5, "deep": [{"a": None}]})
        chain.line(key, value, context, 1.5e9 if i % 2 else None)


def written(chain: PutChain, header: FolderHeader) -> list[bytes]:
    return [encode_frame(r, n, n, header.write_vector) for n, r in enumerate(chain.records)]


def together(chain: PutChain, header: FolderHeader, lines: Sequence[bytes]) -> Puts | None:
    """What is read of lines that are all plain; None also where some are not."""
    read = list(runs(lines))
    if len(read) > 1 or read[0][1] is None:
        return None
    before = Before(0, START, ROOT_ANCHOR, ROOT_DIGEST)
    return read_puts(lines, read[0][1], before, header, chain.hasher)


def one_by_one(chain: PutChain, header: FolderHeader, lines: Sequence[bytes]) -> Piece:
    """What is read record by record; `BadFrameError` where one is refused."""
    following = Following(chain.hasher, Dimensions(header.dim, header.value_dim))
    records = list[Record]()
    for n, line in enumerate(lines):
        head = check_frame(line)
        records.append(decode_exact_frame(line, head, chain.hasher, header.write_vector))
        if reason := following.flaw(records[-1]) or (head.n != n and "its number"):
            raise BadFrameError(str(reason))
        following.add(records[-1])
    block = Block.of(records, 0, ROOT_DIGEST, header.dim)
    return Run(records, block, lines, START).piece(packed=header.packed)


@pytest.mark.parametrize("value_dim", [None, 0, 2])
@pytest.mark.parametrize("packed", [False, True], ids=["raw", "packed"])
@pytest.mark.parametrize("key", [None, b"0123456789abcdef"], ids=["plain", "keyed"])
@pytest.mark.parametrize("dim", [3, 4, 384])
def test_they_are_what_they_are_one_by_one(
    value_dim: int | None, packed: bool, key: bytes | None, dim: int
) -> None:
    chain = PutChain(value_dim, dim=dim, key=key)
    several(chain)
    header = chain.header_of(packed=packed)
    lines = written(chain, header)
    puts = together(chain, header, lines)
    assert puts is not None
    assert difference(puts.piece, one_by_one(chain, header, lines)) == ""
    assert list(puts.leaves) == [leaf(record) for record in chain.records]
    assert puts.digests[-1] == puts.piece.block.digest


def test_the_others_are_left_out() -> None:
    chain = PutChain(dim=3)
    several(chain, 5)
    chain.note()
    chain.put()
    chain.put(idempotency_key="once")
    several(chain, 4)
    chain.decay()
    header = chain.header_of(packed=True)
    read = list(runs(written(chain, header)))
    assert [(len(lines), texts is not None) for lines, texts in read] == [
        (5, True),
        # One plain put between others is not worth it.
        *[(1, False)] * 3,
        (4, True),
        (1, False),
    ]


def test_groups_are_told() -> None:
    chain = PutChain(dim=3)
    several(chain, 4)
    chain.records = [replace(r, following=3 - i) for i, r in enumerate(chain.records)]
    [(_, texts)] = runs(written(chain, chain.header_of(packed=True)))
    assert texts is not None
    assert [(head.n, head.d, head.g) for head in texts.heads] == [(i, i, 3 - i) for i in range(4)]


def base64_of(*numbers: float) -> bytes:
    return base64.b64encode(np.array(numbers, "<f4").tobytes())


RIGHT = encode_context({"a": 1})
CONTEXTS = [
    *(b'{"a": 1}', b'{"a":1,"a":1}', b'{"b":1,"a":1}', b'{"a":1.0}', b'{"a":1e5}', b'{"a":1E5}'),
    *(b'{"a":-0}', b'{"a":-0.0}', b'{"a":0.10}', b'{"a":9007199254740993}', b'{"a":NaN}'),
    *(b'{"a":1}{"b":2}', b'{"a":1},{"b":2}', b'{"a":{}', b'{"a":1}}', b"{}}", b'{"a":[1,]}'),
    *(
        rb'{"a":"\/"}',
        rb'{"a":"\u0041"}',
        rb'{"a":"\u00E9"}',
        rb'{"a":"\ud800"}',
        rb'{"a":"\u001F"}',
    ),
    *(b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', '{"\ue000":1,"\U0001f600":1}'.encode()),
    b'{"a":' + b"[" * 70 + b"]" * 70 + b"}",
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("context", CONTEXTS, ids=range(len(CONTEXTS)))
def test_contexts_that_we_do_not_write_are_refused(context: bytes) -> None:
    chain = PutChain(dim=3)
    for _ in range(2):
        chain.line(chain._any_vector(), b"", RIGHT, None)
    chain.line(chain._any_vector(), b"", context, None)
    chain.line(chain._any_vector(), b"", RIGHT, None)
    header = chain.header_of(packed=True)
    lines = [close_line(text_of(chain, n, header)) for n in range(4)]
    assert together(chain, header, lines) is None
    with pytest.raises(BadFrameError):
        one_by_one(chain, header, lines)


def text_of(chain: PutChain, n: int, header: FolderHeader) -> bytes:
    """A record's line up to its checksum, whatever bytes its context is of."""
    record = chain.records[n]
    context = record.lines[0].content.context
    content = record.lines[0].content._replace(context=RIGHT)
    as_right = replace(record, line=record.lines[0]._replace(content=content))
    line = encode_frame(as_right, n, n, header.write_vector)
    return line.rpartition(b',"c":"')[0].replace(b'"ctx":' + RIGHT, b'"ctx":' + context)


EDITS = {
    "another number": (rb'{"n":2,', rb'{"n":3,'),
    "a number with a zero": (rb'"d":2,', rb'"d":02,'),
    "a time with a zero": (rb'"t":1763816283.125', rb'"t":1763816283.1250'),
    "a time with an exponent": (rb'"t":1763816283.125', rb'"t":1.763816283125e9'),
    "a timestamp like no number": (rb'"timestamp":1.5', rb'"timestamp":1.-5'),
    "an upper-case anchor": (b'"prev":"', b'"prev":"A'),
    "a value that is the key": (b'"ctx":', b'"value":"%b","ctx":'),
    "a blank": (b',"ctx"', b', "ctx"'),
    "another field": (b',"similarity"', b',"other":1,"similarity"'),
    "no novelty": (b',"novelty"', b',"newness"'),
    "not a number in the key": (b"%b", base64_of(1.0, np.nan, 0.5)),
    "an endless key": (b"%b", base64_of(1.0, np.inf, 0.5)),
    "a key of zeros": (b"%b", base64_of(0.0, 0.0, 0.0)),
    "a key of two dimensions": (b"%b", base64_of(1.0, 0.5)),
    "a key of four dimensions": (b"%b", base64_of(1.0, 0.5, 1.0, 1.0)),
    "another key": (b"%b", base64_of(1.0, 0.5, 1.0)),
    "no base64": (b"%b", b"*" * 16),
    "padding in the middle": (b"%b", b"AAA=AAAAAAAAAAAA"),
    "a form that is none": (b"%b", b"~AAAAAAAA"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_lines_that_we_do_not_write_are_refused(edit: tuple[bytes, bytes]) -> None:
    chain = PutChain(dim=3)
    for i in range(4):
        chain.line(chain._any_vector(), b"", RIGHT, 1.5 if i == 2 else None)
    header = chain.header_of(packed=True)
    lines = written(chain, header)
    key = base64_of(*np.frombuffer(chain.records[2].lines[0].content.key, "<f4"))
    old, new = (part.replace(b"%b", key) for part in edit)
    body = lines[2].rpartition(b',"c":"')[0]
    assert body.count(old) == 1
    lines[2] = close_line(body.replace(old, new))
    assert together(chain, header, lines) is None
    with pytest.raises(BadFrameError):
        one_by_one(chain, header, lines)


def test_letters_that_say_more_than_their_bytes_are_refused() -> None:
    chain = PutChain(dim=4)
    several(chain, 4)
    header = chain.header_of(packed=False)
    lines = written(chain, header)
    body = lines[0].rpartition(b',"c":"')[0]
    start = body.index(b'=="')
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    slack = letters[letters.index(body[start - 1]) + 1]
    lines[0] = close_line(body[: start - 1] + bytes([slack]) + body[start:])
    assert together(chain, header, lines) is None
    with pytest.raises(BadFrameError):
        one_by_one(chain, header, lines)


def test_a_key_that_should_have_been_packed_is_refused() -> None:
    chain = PutChain(dim=8)
    several(chain, 4)
    lines = written(chain, chain.header_of(packed=False))
    header = chain.header_of(packed=True)
    assert together(chain, header, lines) is None
    with pytest.raises(BadFrameError):
        one_by_one(chain, header, lines)
    packed = written(chain, header)
    assert together(chain, chain.header_of(packed=False), packed) is None


@pytest.mark.parametrize("seal", [False, True], ids=["as it is", "with its checksum"])
@settings(max_examples=examples(300), deadline=None)
@given(data=st.data())
def test_no_byte_can_be_another(seal: bool, data: st.DataObject) -> None:
    """Whatever is taken together is taken one by one as well, and as the same."""
    chain = PutChain(dim=4)
    several(chain, 4)
    header = chain.header_of(packed=True)
    lines = written(chain, header)
    n = data.draw(st.integers(0, 3))
    line = bytearray(lines[n][: -len(b',"c":"00000000"}\n')] if seal else lines[n])
    place = data.draw(st.integers(0, len(line) - 1))
    line[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[place]))
    lines[n] = close_line(bytes(line)) if seal else bytes(line)
    puts = together(chain, header, lines)
    if puts is not None:
        assert difference(puts.piece, one_by_one(chain, header, lines)) == ""
