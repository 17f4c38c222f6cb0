"""`verify`: what it finds, where it says it is, and that it leaves everything alone."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from jsonl_tools import LOG, copy_as_killed, opened
from make_records import Chain, small_history

from pmll_async.errors import FormatError, StoreError, WrongKeyError
from pmll_async.stores.jsonl.frames import close_line, decode_object, encode_object
from pmll_async.stores.jsonl.verify import Report, verify

pytestmark = pytest.mark.usefixtures("both_formats")


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def read_store_id(path: Path) -> str:
    store_id: str = json.loads((path / "store.json").read_bytes())["store"]
    return store_id


def findings(report: Report) -> list[tuple[str, int, int | None]]:
    return [(finding.file, finding.offset, finding.n) for finding in report.findings]


def test_a_sound_store(path: Path, chain: Chain) -> None:
    with opened(path, chain, segment_bytes=900, cache_records=5) as store:
        small_history(chain, store)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    progress: list[tuple[int, int]] = []
    report = verify(path, progress=lambda done, total: progress.append((done, total)))
    store_id = read_store_id(path)
    assert report == Report((), 12, 6, chain.heads[-1], chain.digest.hex(), "clean", store_id)
    assert (
        progress[-1][0]
        == progress[-1][1]
        == sum(file.stat().st_size for file in path.glob("log-*"))
    )
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_an_empty_store(path: Path, chain: Chain) -> None:
    with opened(path, chain):
        pass
    report = verify(path)
    assert (report.status, report.records, report.lines, report.head) == ("clean", 0, 0, "0" * 16)


def test_no_store(path: Path) -> None:
    for _ in range(2):
        with pytest.raises(StoreError, match="is not a store"):
            verify(path)
        path.mkdir(exist_ok=True)


def test_a_keyed_store_needs_its_key(path: Path) -> None:
    chain = Chain(key=b"secret")
    with opened(path, chain) as store:
        small_history(chain, store)
    assert verify(path, b"secret").status == "clean"
    for wrong in (None, b"other"):
        with pytest.raises(WrongKeyError):
            verify(path, wrong)


def test_a_later_format_is_said_to_be_one(path: Path, chain: Chain) -> None:
    with opened(path, chain):
        pass
    fields = decode_object((path / "store.json").read_bytes())
    (path / "store.json").write_bytes(encode_object(fields | {"requires": ["erasure"]}))
    with pytest.raises(FormatError, match="erasure"):
        verify(path)


def test_every_damage_is_found_with_its_place(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
    (path / "cache/blocks.bin").unlink()
    lines = (path / LOG).read_bytes().splitlines(keepends=True)
    for n in (1, 4, 10):
        lines[n] = lines[n].replace(b'"t":1', b'"t":2')
    (path / LOG).write_bytes(b"".join(lines))
    report = verify(path)
    assert report.status == "damaged"
    places = [sum(map(len, lines[:n])) for n in (1, 4, 10)]
    assert findings(report) == [
        (LOG, place, n) for place, n in zip(places, (1, 4, 10), strict=True)
    ]
    assert report.records == 1


def forge(line: bytes, old: bytes, new: bytes) -> bytes:
    """The line with other content and a checksum that holds."""
    assert old in line
    return close_line(line[: line.rindex(b',"c":"')].replace(old, new, 1))


@pytest.mark.parametrize(
    ("n", "old", "new", "reason"),
    [
        (0, b'"x":1.5', b'"x":1.6', "anchor"),
        (0, b'"x":1.5', b'"x":1.50', "not written as"),
        (0, b'"op":"put"', b'"op":"put","op":"put"', "not written as"),
        (7, b'"revises":["', b'"revises":[ "', "not written as"),
        (6, b'"factor":0.75', b'"factor":0.5', "digest"),
        (6, b'"n":6', b'"n":7', "stands where record 6 is due"),
        (6, b'"d":6', b'"d":7', "durable"),
        (6, b'"op":"decay"', b'"op":"merge"', "merge"),
        (6, b'"factor":0.75', b'"factor":NaN', "not"),
        (8, b'"revision":4', b'"revision":44', "revision 44"),
        (8, b'"revision":4', b'"revision":5', "digest"),
        (3, b'"g":2,', b'"g":1,', "group"),
        (3, b'"g":2,', b"", ""),
    ],
)
def test_forged_records_are_found(
    path: Path, chain: Chain, n: int, old: bytes, new: bytes, reason: str
) -> None:
    """Their checksums hold; the anchors, digests and exact bytes do not."""
    with opened(path, chain) as store:
        small_history(chain, store)
    (path / "cache/blocks.bin").unlink()
    lines = (path / LOG).read_bytes().splitlines(keepends=True)
    lines[n] = forge(lines[n], old, new)
    log = b"".join(lines)
    (path / LOG).write_bytes(log)
    fields = decode_object((path / "MANIFEST.json").read_bytes())
    fields["segments"][0]["bytes"] = len(log)
    (path / "MANIFEST.json").write_bytes(encode_object(fields))
    report = verify(path)
    if not reason:
        assert report.status == "clean", "grouping belongs to the writing, not to what was written"
        return
    assert report.status == "damaged"
    assert any(reason in finding.reason for finding in report.findings), report.findings
    with pytest.raises(StoreError), opened(path, chain):
        pass
    with pytest.raises(StoreError), opened(path, chain, read_only=True):
        pass


def test_a_forged_cache_is_found(path: Path, chain: Chain) -> None:
    """A cache of another history with the same sizes, and checksums that hold."""
    other = Chain(seed=1)
    for place, history in ((path, chain), (path.parent / "other", other)):
        with opened(place, history) as store:
            small_history(history, store)
    ids = [
        decode_object((p / "store.json").read_bytes())["store"]
        for p in (path, path.parent / "other")
    ]
    forged = (path.parent / "other/cache/blocks.bin").read_bytes()
    (path / "cache/blocks.bin").write_bytes(
        forged.replace(bytes.fromhex(ids[1]), bytes.fromhex(ids[0]))
    )
    assert verify(path).status == "damaged"
    (path / "cache/blocks.bin").write_bytes(forged)
    assert verify(path).status == "damaged"
    with opened(path, chain) as store:
        assert store.recovery.replayed == 12
    assert verify(path).status == "clean"


def test_a_torn_store_is_told_from_a_damaged_one(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
        killed = copy_as_killed(path, path.parent / "killed")
    assert verify(killed).status == "clean"
    log = killed / LOG
    size = log.stat().st_size
    os.truncate(log, size - 10)
    report = verify(killed)
    last = sum(map(len, (path / LOG).read_bytes().splitlines(keepends=True)[:11]))
    assert report.status == "torn"
    assert findings(report) == [(LOG, last, 11)]
    assert report.records == 11
    assert len(report.digest) == 64


def test_a_cache_ahead_of_its_log_is_torn(path: Path, chain: Chain) -> None:
    with opened(path, chain, cache_records=2) as store:
        first = (path / "MANIFEST.json").read_bytes()
        small_history(chain, store)
        killed = copy_as_killed(path, path.parent / "killed")
    (killed / LOG).write_bytes(b"")
    assert verify(killed).status == "damaged", "its manifest covers what is lost"
    (killed / "MANIFEST.json").write_bytes(first)
    assert verify(killed).status == "torn"
    with opened(killed, chain) as store:
        assert store.recovery.records == 0
    assert verify(killed).status == "clean"


def test_an_unfinished_block_of_the_cache_is_torn(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
    cache = path / "cache/blocks.bin"
    size = cache.stat().st_size
    for cut in (size - 1, size // 2, 30):
        os.truncate(cache, cut)
        assert verify(path).status == "torn"
    with opened(path, chain):
        pass
    assert verify(path).status == "clean"


def test_beside_a_live_writer(path: Path, chain: Chain) -> None:
    """What is being written is no damage; what was durable is checked."""
    stop = threading.Event()
    with opened(path, chain, cache_records=8, segment_bytes=5000) as store:
        small_history(chain, store)

        def write() -> None:
            # Without a pause there would be ever more for each look to go through.
            while not stop.wait(0.002):
                chain.append(store, lambda: chain.group(3))

        thread = threading.Thread(target=write)
        thread.start()
        reports = [verify(path) for _ in range(12)]
        stop.set()
        thread.join()
        assert [report.findings for report in reports] == [()] * 12
        records = [report.records for report in reports]
        assert records == sorted(records)
        assert records[0] < records[-1], "it wrote meanwhile"
        with (path / LOG).open("r+b") as file:
            file.seek(40)
            file.write(b"#")
        assert verify(path).status == "damaged"
