"""Bytes that no version has written: found when read, when loaded and by `verify`, never served."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import pytest
from jsonl_tools import quick_folder
from lmdb_tools import LmdbStore, frames_of, key_of, load, opened, replace_frame, table
from make_records import Chain, small_history

from pmll_async.errors import CorruptionError, FormatError, StoreError
from pmll_async.records.record import PutRecord
from pmll_async.stores.lmdb import rows, verify
from pmll_async.stores.lmdb.frames import decode_exactly, encode_frame

HERE = Path(__file__).parent


@pytest.fixture
def path() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder / "memory.lmdb"


def closed(path: Path, chain: Chain, *, more: int = 0) -> list[bytes]:
    """The frames of a closed store with a small history, and more records."""
    with opened(path, chain) as store:
        small_history(chain, store)
        if more:
            chain.append(store, lambda: chain.group(more))
    return frames_of(path)


def sealed(body: bytes) -> bytes:
    """A frame with these bytes and the checksum that they have."""
    return body + int(google_crc32c.value(body)).to_bytes(4, "little")


def refused(path: Path, chain: Chain, n: int) -> None:
    """The store is refused, and `verify` tells of the record, or of its batch by the last one."""
    refused_to_load(path, chain)
    report = verify(path)
    assert report.status == "damaged"
    assert min(f.n for f in report.findings if f.n is not None) <= n + 2


def refused_to_load(path: Path, chain: Chain) -> Exception:
    """What loading raises; the store is closed then."""
    store = LmdbStore(path)
    try:
        with pytest.raises((CorruptionError, FormatError)) as caught:
            load(store, chain)
    finally:
        store.close()
    return caught.value


def test_frames_round_trip(path: Path) -> None:
    chain = Chain()
    frames = closed(path, chain)
    for n, frame in enumerate(frames):
        record, head = decode_exactly(frame, n, chain.hasher)
        assert record == chain.records[n]
        assert encode_frame(record, n, head.digest) == frame


@pytest.mark.parametrize("seed", range(30))
def test_a_bit_that_flips(path: Path, seed: int) -> None:
    chain, rng = Chain(), random.Random(seed)
    frames = closed(path, chain)
    n = rng.randrange(len(frames))
    frame = bytearray(frames[n])
    frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
    replace_frame(path, n, bytes(frame))
    refused(path, chain, n)


@pytest.mark.parametrize("seed", range(60))
def test_a_byte_that_is_changed_with_its_checksum(path: Path, seed: int) -> None:
    chain, rng = Chain(), random.Random(seed)
    frames = closed(path, chain)
    n = rng.randrange(len(frames))
    body = bytearray(frames[n][:-4])
    place = rng.randrange(len(body))
    body[place] ^= rng.randrange(1, 256)
    replace_frame(path, n, sealed(bytes(body)))
    refused(path, chain, n)


@pytest.mark.parametrize("key", [None, b"key"])
def test_content_in_a_row_that_is_changed(path: Path, key: bytes | None) -> None:
    """Opening finds keys, reading finds all, and a filter never sees a changed context."""
    chain = Chain(key=key)
    frames = closed(path, chain, more=rows.ROW_RECORDS)
    n = 100
    record = chain.records[n]
    assert isinstance(record, PutRecord)
    context = record.line.content.context
    frame = frames[n].replace(context, context.replace(b"1", b"2"))
    assert frame != frames[n]
    replace_frame(path, n, sealed(frame[:-4]))
    store = LmdbStore(path)
    load(store, chain)
    with pytest.raises(CorruptionError):
        store.read(n)
    with pytest.raises(CorruptionError):
        list(store.contexts(90, 110))
    assert store.read(n + 1) == chain.records[n + 1]
    store.close()
    assert verify(path, key).status == "damaged"
    vector = record.line.content.key
    replace_frame(path, n, sealed(frames[n][:-4].replace(vector, vector[::-1])))
    assert isinstance(refused_to_load(path, chain), CorruptionError)


@pytest.mark.parametrize("frame", [b"", b"\x01", bytes(100), b"x" * 30, b"\x01" * 80])
def test_what_is_no_frame(path: Path, frame: bytes) -> None:
    chain = Chain()
    closed(path, chain)
    replace_frame(path, 3, frame)
    refused(path, chain, 3)
    replace_frame(path, 3, sealed(frame))
    refused(path, chain, 3)


def test_records_that_are_missing_or_in_another_place(path: Path) -> None:
    chain = Chain()
    frames = closed(path, chain)
    with table(path, b"records", write=True) as records:
        records.delete(key_of(4))
    refused(path, chain, 5)
    with table(path, b"records", write=True) as records:
        records.put(key_of(4), frames[5])
        records.put(key_of(5), frames[4])
    refused(path, chain, 4)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_frame_of_a_later_version(path: Path, place: int) -> None:
    chain = Chain()
    frame = bytearray(closed(path, chain)[2][:-4])
    frame[place] = 200
    replace_frame(path, 2, sealed(bytes(frame)))
    assert isinstance(refused_to_load(path, chain), FormatError)
    assert verify(path).status == "damaged"


@pytest.mark.parametrize("header", [b"", b"{}", b'{"format":1}\n'])
def test_a_header_that_is_damaged(path: Path, header: bytes) -> None:
    chain = Chain()
    closed(path, chain)
    with table(path, b"meta", write=True) as meta:
        meta.put(b"store", header)
    with pytest.raises(StoreError):
        LmdbStore(path).open(None, chain.hasher)
    assert verify(path).status == "damaged"


FLIPS = """
    import random, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from pmll_async.stores.lmdb import verify

    path, rng = Path(sys.argv[1]), random.Random(1)
    whole = (path / "data.mdb").read_bytes()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 3])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (path / "data.mdb").write_bytes(data)
        verify(path)
    (path / "data.mdb").write_bytes(whole)
    assert verify(path).status == "clean"
"""


def test_verify_survives_any_page(path: Path) -> None:
    """It looks at the pages before LMDB does, in a process that a crash would end."""
    import textwrap

    closed(path, Chain())
    command = [sys.executable, "-c", textwrap.dedent(FLIPS), path, HERE]
    subprocess.run(command, check=True, timeout=200)
