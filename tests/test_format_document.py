"""docs/format.md is true: the log is read here by what it says, not by the library's reader."""

from __future__ import annotations

import base64
import json
import re
import struct
from hashlib import blake2b
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import rfc8785
from cli_support import ROOT, make_lattice

from pmll_async import Lattice
from pmll_async.text import HashingEmbedder

DOCUMENT = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```json\n(.*?\n)```$", DOCUMENT, re.MULTILINE | re.DOTALL)
UNPACK = re.findall(r"^```python\n(import numpy.*?)\n```$", DOCUMENT, re.MULTILINE | re.DOTALL)
ANCHORED = ("key", "value", "ctx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_lattice(tmp_path / "memory")


def documented_fields() -> set[str]:
    rows = re.findall(r"^\| (.*?) \| [a-z, ]+ \|", DOCUMENT, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def digest(encoded: bytes, size: int = 32) -> bytes:
    return blake2b(encoded, digest_size=size).digest()


def vector(text: str) -> bytes:
    """The float32 numbers of a text, unpacked by what the document shows."""
    if not text.startswith("~"):
        return base64.b64decode(text)
    shown: dict[str, Any] = {}
    exec(UNPACK[0], shown)  # our own document
    row: np.ndarray[Any, Any] = shown["unpack"](base64.b64decode(text[1:]))
    return row.tobytes()


def digests(line: dict[str, Any]) -> dict[str, bytes]:
    """D of key, value and ctx."""
    key = vector(line["key"])
    value = vector(line["value"]) if "value" in line else key
    context = rfc8785.dumps(line["ctx"])
    return {
        "key": digest(struct.pack("<I", len(key) // 4) + key),
        "value": digest(struct.pack("<I", len(value) // 4) + value),
        "ctx": digest(struct.pack("<I", len(context)) + context),
    }


def anchor(line: dict[str, Any]) -> str:
    content = b"".join(digests(line)[name] for name in ANCHORED)
    return digest(bytes.fromhex(line["prev"]) + content, 8).hex()


def stripped(fields: dict[str, Any]) -> dict[str, Any]:
    """What L hashes of a record or of a line in it."""
    kept = {name: value for name, value in fields.items() if name not in {"n", "d", "g", "c"}}
    if "key" in kept:
        kept |= {name: value.hex() for name, value in digests(kept).items()}
    if "lines" in kept:
        kept["lines"] = [stripped(line) for line in kept["lines"]]
    return kept


def read(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The records of a log, checked as the document says, and h after the last."""
    h, records = bytes(32), []
    for text in path.read_bytes().splitlines(keepends=True):
        body, _, rest = text.rpartition(b',"c":"')
        assert rest == b'%08x"}\n' % google_crc32c.value(body)
        record = json.loads(text)
        for line in record.get("lines", [record] if "prev" in record else []):
            assert anchor(line) == line["anchor"]
        h = digest(h + digest(rfc8785.dumps(stripped(record))))
        records.append(record)
    return records, h.hex()


async def test_the_record_shown_is_what_is_written(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "memory", dim=2, clock=lambda: 1_700_000_000.5) as lattice:
        await lattice.put([1, 0], [0.9, 0.1], {"topic": "tea"})
    log = tmp_path / "memory" / "log-00000001.jsonl"
    assert log.read_text(encoding="utf-8") == SHOWN[0]
    assert json.loads(SHOWN[1]).keys() > {"pmll", "format", "records", "digest"}


async def test_a_reader_made_from_the_document_reads_every_operation(folder: Path) -> None:
    async with Lattice.open(folder) as lattice:
        line = await lattice.put([1, 2, 3, 4], timestamp=5.0)
        await lattice.put([4, 3, 2, 1], revises=[line])
        await lattice.forget(line)
        for row in HashingEmbedder(4).embed(["a few", "words of several lengths", "x"]):
            await lattice.put(row, [0.25, 0, 0, -1])
        await lattice.put([0, -0.6, 0, 0.8])
        expected = lattice.digest
    records, found = read(folder / "log-00000001.jsonl")
    assert found == expected
    assert {record["op"] for record in records} == {"put", "race", "decay", "forget", "rollback"}
    names = {name for record in records for name in record}
    names |= {name for record in records for line in record.get("lines", []) for name in line}
    assert names - documented_fields() == set()


def test_the_objects_have_the_fields_that_are_documented(folder: Path) -> None:
    for name in ("store.json", "MANIFEST.json"):
        fields = json.loads((folder / name).read_text())
        (row,) = [line for line in DOCUMENT.splitlines() if line.startswith(f"| `{name}` |")]
        assert {field for field in fields if field != "c"} <= set(re.findall(r"`(\w+)`", row))
