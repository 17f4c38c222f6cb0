"""Bytes that somebody rewrote with right checksums: none of them is served."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from jsonl_tools import LOG, copy_as_killed

from pmll_async import CorruptionError, Lattice, Limits
from pmll_async.moving.transfer import export_records
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.blockfile import HEADER_BYTES
from pmll_async.stores.jsonl.compression import compress, decompress
from pmll_async.stores.jsonl.frames import close_line, crc32c, decode_object, encode_object
from pmll_async.stores.jsonl.verify import verify
from pmll_async.values.anchors import Hasher
from pmll_async.values.lines import Candidate

pytestmark = pytest.mark.usefixtures("both_formats")

KEY = b"0123456789abcdef"
CACHE = "cache/blocks.bin"
LINES = 20


@pytest.fixture(params=[None, KEY], ids=["plain", "keyed"])
def key(request: pytest.FixtureRequest) -> bytes | None:
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def vector(i: int) -> list[float]:
    return [1.0, i / 10]


async def filled(path: Path, key: bytes | None) -> list[str]:
    """A closed lattice with lines of two users, one of which is forgotten, and a race."""
    async with Lattice.open(path, dim=2, integrity_key=key) as lattice:
        anchors = [
            await lattice.put(vector(i), None, {"user": "anna" if i % 2 else "otto", "i": i})
            for i in range(LINES)
        ]
        await lattice.forget(anchors[3])

        async def candidate(_: object) -> Candidate:
            return Candidate(key=[0.5, 1.0], context={"user": "anna", "raced": 1})

        async def loser(_: object) -> Candidate:
            return Candidate(key=[1.0, 0.5], context={"user": "otto", "raced": 2}, confidence=0.5)

        outcome = await lattice.race([candidate, loser])
        await lattice.note({"end": True})
    return [*anchors, outcome.winner.anchor]


def edit(path: Path, old: bytes, new: bytes) -> None:
    """Rewrite one line of the log in place, its checksum included."""
    assert len(old) == len(new)
    log = (path / LOG).read_bytes()
    lines = log.splitlines(keepends=True)
    [n] = [n for n, line in enumerate(lines) if old in line]
    body = lines[n].rpartition(b',"c":"')[0].replace(old, new)
    lines[n] = close_line(body)
    assert len(b"".join(lines)) == len(log)
    (path / LOG).write_bytes(b"".join(lines))


FORGERIES = [
    (b'"i":7,"user":"anna"', b'"i":7,"user":"otto"'),
    (b'"i":7,"user":"anna"', b'"i":8,"user":"anna"'),
    (b'"raced":2', b'"raced":3'),
]


@pytest.mark.parametrize(("old", "new"), FORGERIES)
async def test_a_line_edited_in_the_log(path: Path, key: bytes | None, old: bytes, new) -> None:
    """Opening goes by the cache, and the read that meets the line refuses it."""
    anchors = await filled(path, key)
    anchor = anchors[-1 if b"raced" in old else 7]
    edit(path, old, new)
    async with Lattice.open(path, integrity_key=key, limits=Limits(cached_lines=0)) as lattice:
        for _ in range(2):
            with pytest.raises(CorruptionError):
                await (lattice.outcome if b"raced" in old else lattice.get)(anchor)
            with pytest.raises(CorruptionError):
                await lattice.query([1.0, 0.5], k=50, min_similarity=-1)
            with pytest.raises(CorruptionError):
                [line async for line in lattice.rewind()]
        assert (await lattice.get(anchors[0])).context["i"] == 0, "the others are read"
    assert verify(path, key).status == "damaged"


@pytest.mark.parametrize("cached", [True, False])
async def test_an_edited_line_is_not_exported(path: Path, key: bytes | None, cached: bool) -> None:
    await filled(path, key)
    edit(path, b'"i":7,"user":"anna"', b'"i":7,"user":"otto"')
    if not cached:
        shutil.rmtree(path / "cache")
    with pytest.raises(CorruptionError):
        list(export_records(JsonlStore(path, read_only=True), Hasher(key)))


async def test_an_edited_effect_is_not_exported(path: Path, key: bytes | None) -> None:
    """No anchor covers what stands beside the content; the digest does."""
    anchors = await filled(path, key)
    forgotten = b'"op":"forget","t":'
    [line] = [x for x in (path / LOG).read_bytes().splitlines(keepends=True) if forgotten in x]
    other = line.rpartition(b',"c":"')[0].replace(anchors[3].encode(), anchors[4].encode())
    (path / LOG).write_bytes((path / LOG).read_bytes().replace(line, close_line(other)))
    with pytest.raises(CorruptionError, match="the digest differs"):
        list(export_records(JsonlStore(path, read_only=True), Hasher(key)))


async def test_a_line_replaced_with_another_anchor(path: Path) -> None:
    """Without a key anybody can compute an anchor, which then is not the one that is known."""
    anchors = await filled(path, None)
    line = (path / LOG).read_bytes().splitlines(keepends=True)[7]
    store = JsonlStore(path, read_only=True)
    store.open(None, Hasher())
    list(store.load())
    content = store.read(7).lines[0].content
    forged = content.context.replace(b"anna", b"otto")
    other = type(content).of(Hasher(), content.key, content.value, forged, content.norm)
    anchor = Hasher().anchor(anchors[6], other.digests)
    store.close()
    body = line.rpartition(b',"c":"')[0].replace(content.context, forged)
    swapped = close_line(body.replace(anchors[7].encode(), anchor.encode()))
    (path / LOG).write_bytes((path / LOG).read_bytes().replace(line, swapped))
    async with Lattice.open(path) as lattice:
        with pytest.raises(CorruptionError):
            await lattice.get(anchors[7])


def with_right_checksums(cache: bytes, old: bytes, new: bytes) -> bytes:
    """The cache with other bytes in its sections, and the header that a writer would have written.

    Whoever has no integrity key writes what an unkeyed lattice would have.
    """
    from pmll_async.stores.jsonl import blockfile as module

    header, rest = cache[: module.HEADER_BYTES], cache[module.HEADER_BYTES :]
    fields = list(module._HEADER.unpack(header))
    sections, found = [], False
    for i in (10, 12, 14):
        section, rest = rest[: fields[i]], rest[fields[i] :]
        # Keys have parts that are not compressed, and no texts.
        packed = fields[0] == b"PMLLBLK4" and i != 12
        plain = decompress(section) if packed else section
        found = found or old in plain
        forged = plain.replace(old, new)
        sections.append(compress(forged) if packed else forged)
        fields[i : i + 2] = len(sections[-1]), Hasher().section(sections[-1])
    assert found
    raw = module._HEADER.pack(*fields[:-1], 0)[:-4]
    return raw + crc32c(raw).to_bytes(4, "little") + b"".join(sections) + rest


async def test_a_cache_with_other_contexts(path: Path, key: bytes | None) -> None:
    await filled(path, key)
    forged = with_right_checksums((path / CACHE).read_bytes(), b'"user":"otto"', b'"user":"anna"')
    (path / CACHE).write_bytes(forged)
    async with Lattice.open(path, integrity_key=key) as lattice:
        lines = await lattice.query([1, 0.5], k=50, where={"user": "anna"}, min_similarity=-1)
        assert {line.context["user"] for line in lines} == {"anna"}
        assert len(lines) == LINES // 2
    assert verify(path, key).status == "clean", "the cache was made anew"


async def test_a_cache_without_a_mark(path: Path, key: bytes | None) -> None:
    """A forgotten line does not come back."""
    anchors = await filled(path, key)
    forged = with_right_checksums(
        (path / CACHE).read_bytes(), b'"kind":"forget"', b'"kind":"revise"'
    )
    (path / CACHE).write_bytes(forged)
    for read_only in (True, False):
        async with Lattice.open(path, integrity_key=key, read_only=read_only) as lattice:
            lines = await lattice.query(vector(3), k=50, min_similarity=-1)
            assert anchors[3] not in {line.anchor for line in lines}


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    """The cache with other bytes, and the manifest for it."""
    forged = with_right_checksums((path / CACHE).read_bytes(), old, new)
    (path / CACHE).write_bytes(forged)
    manifest = decode_object((path / "MANIFEST.json").read_bytes())
    root = Hasher().section(bytes(32) + forged[:HEADER_BYTES]).hex()
    (path / "MANIFEST.json").write_bytes(encode_object(manifest | {"cache": [[1, root]]}))


async def test_cache_and_manifest_rewritten_together(path: Path, key: bytes | None) -> None:
    """With a key that is found; without one only `verify` finds it, as the documentation says."""
    await filled(path, key)
    rewrite(path, b'"user":"otto"', b'"user":"anna"')
    assert verify(path, key).status == "damaged"
    async with Lattice.open(path, integrity_key=key, read_only=True) as lattice:
        found = await lattice.query([1, 0.5], k=50, where={"user": "anna"}, min_similarity=-1)
        if key is not None:
            assert len(found) == LINES // 2
        assert all(line.context["user"] in ("anna", "otto") for line in found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"kind":"forget"', b'"kind":"rollbk"'),
        (b'"kind":"forget"', b'"kind":{"x":1} '),
        (b'{"n":20,"kind":"forget"', b'{"n":99,"kind":"forget"'),
        (b'"factor":1.0', b'"factor":"x"'),
        (b'"revision":0', b'"revision":{'),
        (b'"key_uses":[]', b'"key_uses":17'),
        (b'"marks":[{"n":20', b'"marks":[[{"n":0'),
    ],
)
async def test_a_cache_that_makes_no_sense(path: Path, old: bytes, new: bytes) -> None:
    """Whoever rewrote cache and manifest: it is made anew, or refused in our words."""
    anchors = await filled(path, None)
    rewrite(path, old, new)
    async with Lattice.open(path) as lattice:
        assert lattice.recovery.replayed == LINES + 3
        assert [line.anchor async for line in lattice.rewind()][-1] == anchors[0]


async def test_a_mark_in_the_cache_on_a_line_that_is_not_there(path: Path) -> None:
    anchors = await filled(path, None)
    rewrite(path, anchors[3].encode(), b"0123456789abcdef")
    with pytest.raises(CorruptionError, match="which no line has then"):
        await Lattice.open(path)


async def test_after_a_crash_the_listed_blocks_are_used(tmp_path: Path, key: bytes | None) -> None:
    """What the manifest vouches for is not parsed again; what came after it is."""
    store = JsonlStore(tmp_path / "live", cache_records=4)
    async with Lattice(store, dim=2, integrity_key=key) as lattice:
        for i in range(11):
            await lattice.put(vector(i))
        copy_as_killed(tmp_path / "live", tmp_path / "killed")
    async with Lattice.open(tmp_path / "killed", integrity_key=key) as lattice:
        assert len(lattice) == 11
        assert 0 < lattice.recovery.replayed <= 7


async def test_a_store_of_the_release_before(path: Path, key: bytes | None) -> None:
    """Its manifest vouches for no cache: the log is read once, and then there are roots."""
    await filled(path, key)
    manifest = decode_object((path / "MANIFEST.json").read_bytes())
    del manifest["cache"]
    (path / "MANIFEST.json").write_bytes(encode_object(manifest))
    for replayed in (LINES + 3, 0):
        async with Lattice.open(path, integrity_key=key) as lattice:
            assert lattice.recovery.replayed == replayed
    assert verify(path, key).status == "clean"
