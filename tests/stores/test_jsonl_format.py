"""The bytes on disk: formats are for ever."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from jsonl_tools import LOG, contents, load, opened
from make_records import Chain, small_history

from pmll_async.errors import CorruptionError, FormatError
from pmll_async.records.content import LineContent, LineRecord
from pmll_async.records.record import PutRecord
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.frames import (
    BadFrameError,
    check_frame,
    close_line,
    crc32c,
    decode_object,
    encode_object,
)
from pmll_async.values.anchors import ROOT_ANCHOR
from pmll_async.values.contexts import encode_context


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def castagnoli(data: bytes) -> int:
    """CRC-32C bit by bit, as RFC 3720 defines it."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_the_checksum_is_crc_32c() -> None:
    assert castagnoli(b"123456789") == 0xE3069283
    assert crc32c(b"123456789") == 0xE3069283


GOLDEN = (
    b'{"n":0,"d":0,"op":"put","t":1763816281.125,"key":"AACAPwAAAEAAAEBA",'
    b'"value":"AAAAPwAAAAAAAIC/","ctx":{"a":"\xc3\xa9","b":1},"anchor":"b1e4e333047e4db0",'
    b'"prev":"0000000000000000","similarity":0.75,"novelty":0.25,'
    b'"revises":["0000000000000000"],"idempotency_key":"k","c":"32038a1d"}\n'
)


def test_a_log_line(path: Path, chain: Chain) -> None:
    key, value = (np.array(v, dtype="<f4").tobytes() for v in ([1, 2, 3], [0.5, 0, -1]))
    context = encode_context({"b": 1, "a": "é"})
    content = LineContent.of(chain.hasher, key, value, context, norm=14**0.5)
    anchor = chain.hasher.anchor(ROOT_ANCHOR, content.digests)
    line = LineRecord(content, anchor, ROOT_ANCHOR, "line", similarity=0.75, novelty=0.25)
    record = PutRecord(t=1763816281.125, line=line, revises=(ROOT_ANCHOR,), idempotency_key="k")
    with opened(path, chain) as store:
        chain.append(store, lambda: chain.add(record))
        chain.append(store, lambda: chain.group(2))
    first, second, third = (path / LOG).read_bytes().splitlines(keepends=True)
    assert first == GOLDEN
    body, _, rest = first.rpartition(b',"c":"')
    assert rest == b'%08x"}\n' % castagnoli(body)
    assert second.startswith(b'{"n":1,"d":1,"g":1,"op":"put",')
    assert third.startswith(b'{"n":2,"d":1,"op":"put",')


def test_the_other_files(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        chain.append(store, chain.put)
        lock = (path / "LOCK").read_bytes()
    assert re.fullmatch(
        rb'\{"pid":\d+,"host":".*","started":[\d.]+,"durable": {19}1,"c":"[0-9a-f]{8}"\}\n', lock
    )
    store_json, manifest = (path / "store.json").read_bytes(), (path / "MANIFEST.json").read_bytes()
    for line in (lock, store_json, manifest):
        body, _, rest = line.rpartition(b',"c":"')
        assert rest == b'%08x"}\n' % castagnoli(body)
    assert list(json.loads(store_json)) == [
        *("format", "requires", "store", "dim", "value_dim", "keyed", "key_check", "pins"),
        *("created", "c"),
    ]
    entry = json.loads(manifest)["segments"][0]
    size = (path / LOG).stat().st_size
    assert entry == {"file": LOG, "records": 1, "bytes": size, "h": chain.digest.hex()}


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("store.json", {"requires": ["erasure"]}, "erasure"),
        ("store.json", {"format": 2}, "format 2"),
        ("MANIFEST.json", {"format": 2}, "format 2"),
    ],
)
def test_what_a_later_version_wrote_is_refused(
    path: Path, chain: Chain, name: str, change: dict[str, object], said: str, read_only: bool
) -> None:
    with opened(path, chain):
        pass
    (path / name).write_bytes(encode_object(decode_object((path / name).read_bytes()) | change))
    with pytest.raises(FormatError, match=said), opened(path, chain, read_only=read_only):
        pass


@pytest.mark.parametrize("cached", [True, False])
def test_an_unknown_operation_is_refused(path: Path, chain: Chain, cached: bool) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
    if not cached:
        (path / "cache/blocks.bin").unlink()
    line = close_line(b'{"n":12,"d":12,"op":"merge","t":1')
    with (path / LOG).open("ab") as file:
        file.write(line)
    before = (path / LOG).read_bytes()
    for read_only in (True, False):
        store = JsonlStore(path, read_only=read_only)
        if read_only:
            load(store, chain)
            assert contents(store) == chain.records, "it is not durable, so that none sees it"
        else:
            with pytest.raises(FormatError, match="merge"):
                load(store, chain)
        store.close()
    assert (path / LOG).read_bytes() == before


@pytest.mark.parametrize("name", ["store.json", "MANIFEST.json"])
@pytest.mark.parametrize(
    "content", [b"", b"{}", b"{}\n", b"[]\n", close_line(b"{"), close_line(b'{"format":1')]
)
def test_other_contents_are_damage(path: Path, chain: Chain, name: str, content: bytes) -> None:
    with opened(path, chain):
        pass
    (path / name).write_bytes(content)
    with pytest.raises(CorruptionError), opened(path, chain):
        pass


def test_the_manifest_of_another_store_is_damage(tmp_path: Path, chain: Chain) -> None:
    for name in ("a", "b"):
        with opened(tmp_path / name, chain):
            pass
    (tmp_path / "a/MANIFEST.json").write_bytes((tmp_path / "b/MANIFEST.json").read_bytes())
    with pytest.raises(CorruptionError, match="another store"), opened(tmp_path / "a", chain):
        pass


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b'{"n":0,"d":0,"op":"put"}\n',
        close_line(b'{"n":0,"d":0'),
        close_line(b'{"n":00,"d":0,"op":"put"'),
        close_line(b'{"n":0,"d":-1,"op":"put"'),
        close_line(b'{"n":0,"d":0,"g":0,"op":"put"'),
        close_line(b'{"d":0,"n":0,"op":"put"'),
        close_line(b'{"n":0,"d":0,"op":"put"').upper(),
        close_line(b'{"n":0,"d":0,"op":"put"')[:-1],
        close_line(b'{"n":0,"d":0,"op":"put"')[:-1] + b"\r\n",
    ],
)
def test_what_is_no_frame(line: bytes) -> None:
    with pytest.raises(BadFrameError):
        check_frame(line)
