"""What somebody can do who may write every file of a store's folder, and has no key of ours."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from pmll_async.integrity import Ed25519Key, Seal, read_seal
from pmll_async.integrity.checking import LogState
from pmll_async.records.parser import decode_record
from pmll_async.records.record import leaf
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.folder import Manifest, SegmentEntry, write_manifest
from pmll_async.stores.jsonl.frames import close_line
from pmll_async.values.anchors import ROOT_ANCHOR, ROOT_DIGEST, Hasher

LOG: Final = "log-00000001.jsonl"
SEAL: Final = "seal.json"
ENCRYPTED_DECAY: Final = 9
Fields = dict[str, Any]
Edit = Callable[[list[Fields]], list[Fields]]
THEIR_SEED: Final = b"the seed of somebody else's key!"


def records_of(path: Path) -> list[Fields]:
    return [json.loads(line) for line in (path / LOG).read_bytes().splitlines()]


def rewrite(path: Path, edit: Edit) -> None:
    """Edit the records, and recompute numbers, checksums and, without a key, anchors.

    What only saves time is removed, and the manifest is one that knows of no records yet, as after
    a crash: a digest of a keyed store they could not compute.
    """
    header = json.loads((path / "store.json").read_bytes())
    keyed, anchors = bool(header["keyed"]), dict[str, str]()
    records, lines, prev = edit(records_of(path)), list[bytes](), ROOT_ANCHOR
    for n, given in enumerate(records):
        fields = {name: given[name] for name in given if name != "c"} | {"n": n, "d": n}
        if "anchor" in fields and "prev" in fields and not keyed:
            fields["prev"] = prev
            record = decode_record(fields, Hasher())
            prev = Hasher().anchor(prev, record.lines[0].content.digests)
            anchors[fields["anchor"]], fields["anchor"] = prev, prev
        elif "anchor" in fields:
            fields["anchor"] = anchors.get(fields["anchor"], fields["anchor"])
        text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
        lines.append(close_line(text[:-1].encode()))
    (path / LOG).write_bytes(b"".join(lines))
    (path / "leaves.bin").unlink(missing_ok=True)
    with closing(Directory(path)) as folder:
        entry = SegmentEntry(LOG, 0, 0, ROOT_DIGEST.hex())
        write_manifest(folder, Manifest(header["store"], (entry,)))
    shutil.rmtree(path / "cache", ignore_errors=True)
    reseal(path, keyed=keyed)


def state_of(path: Path) -> tuple[LogState, str, int]:
    """What the log is now, the head, and how long it is."""
    state, head = LogState(), ROOT_ANCHOR
    data = (path / LOG).read_bytes()
    for line in data.splitlines():
        record = decode_record(json.loads(line), Hasher())
        state.extend(leaf(record))
        head = record.lines[0].anchor if record.lines else head
    return state, head, len(data)


def reseal(path: Path, *, keyed: bool, signer: Ed25519Key | None = None) -> None:
    """Replace a plain seal by one of what is there now; with a signer any seal, by that key."""
    if not (path / SEAL).exists():
        return
    seal = read_seal(path / SEAL)
    if seal.mode != "plain" and signer is None:
        return
    made = matching(path, seal) if not keyed else seal
    made.signed(signer).write(path / SEAL)


def matching(path: Path, seal: Seal) -> Seal:
    """The seal, with the facts of what is there now."""
    state, head, size = state_of(path)
    facts = {"records": state.records, "head": head, "log_bytes": size, **state.facts._asdict()}
    return seal.model_copy(update=facts)


def change_content(records: list[Fields]) -> list[Fields]:
    records[2]["ctx"] = {"n": 99}
    return records


def swap_lines(records: list[Fields]) -> list[Fields]:
    records[3], records[4] = records[4], records[3]
    return records


def drop_line(records: list[Fields]) -> list[Fields]:
    return records[:3] + records[4:]


def repeat_line(records: list[Fields]) -> list[Fields]:
    return [*records[:4], dict(records[3]), *records[4:]]


def effect_in(records: list[Fields]) -> int:
    """Where the decay is; in an encrypted store that is only guessed, and rightly."""
    return next((n for n, fields in enumerate(records) if fields["op"] == "decay"), ENCRYPTED_DECAY)


def drop_effect(records: list[Fields]) -> list[Fields]:
    at = effect_in(records)
    return records[:at] + records[at + 1 :]


def turn_effect(records: list[Fields]) -> list[Fields]:
    at = effect_in(records)
    turned = {"factor": 0.25}
    if records[at]["op"] == "cipher":
        turned = {"sealed": records[at]["sealed"].swapcase()}
    return [*records[:at], {**records[at], **turned}, *records[at + 1 :]]


def change_time(records: list[Fields]) -> list[Fields]:
    records[3]["t"] = 1000.5
    return records


def cut_off(records: list[Fields]) -> list[Fields]:
    return records[:-2]


def add_effect(records: list[Fields]) -> list[Fields]:
    return [*records, dict(records[effect_in(records)])]


EDITS: Final[dict[str, Edit]] = {
    "change content, recompute all": change_content,
    "swap lines": swap_lines,
    "drop a line": drop_line,
    "repeat a line": repeat_line,
    "drop an effect": drop_effect,
    "turn an effect": turn_effect,
    "change a time": change_time,
    "cut off the end": cut_off,
    "add an effect at the end": add_effect,
}


def flip_a_bit(path: Path, chance: random.Random) -> None:
    """Anywhere in the log, and nothing recomputed."""
    data = bytearray((path / LOG).read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    (path / LOG).write_bytes(data)


def strip(path: Path) -> None:
    (path / SEAL).unlink(missing_ok=True)


def downgrade(path: Path) -> None:
    """The same facts without a proof."""
    read_seal(path / SEAL).signed(None).write(path / SEAL)


def change_format(path: Path) -> None:
    data = (path / SEAL).read_bytes()
    (path / SEAL).write_bytes(data.replace(b"pmll seal 1", b"pmll seal 0"))


def seal_with_another_key(path: Path) -> None:
    """Change what is sealed, too: else nothing was attacked."""
    rewrite(path, change_content)
    made = matching(path, read_seal(path / SEAL))
    made.signed(Ed25519Key(THEIR_SEED)).write(path / SEAL)


def replace_cache(path: Path) -> None:
    """Turn a byte behind the first header, where the columns are."""
    cache = path / "cache/blocks.bin"
    data = bytearray(cache.read_bytes())
    data[-10] ^= 1
    cache.write_bytes(data)


def replace_leaves(path: Path) -> None:
    size = (path / "leaves.bin").stat().st_size
    (path / "leaves.bin").write_bytes(bytes(size))


def random_edit(chance: random.Random) -> Edit:
    """Some of the edits above, in any order, each perhaps at another place."""

    def edit(records: list[Fields]) -> list[Fields]:
        for _ in range(chance.randint(1, 4)):
            kind, at = chance.randrange(6), chance.randrange(len(records))
            if kind == 0 and len(records) > 1:
                records = records[:at] + records[at + 1 :]
            elif kind == 1:
                records = [
                    *records[:at],
                    dict(records[chance.randrange(len(records))]),
                    *records[at:],
                ]
            elif kind == 2:
                chance.shuffle(records)
            elif kind == 3 and "ctx" in records[at]:
                records[at] = {**records[at], "ctx": {"n": chance.randrange(1000, 9999)}}
            elif kind == 4:
                records[at] = {**records[at], "t": chance.randrange(1, 10**6) + 0.5}
            else:
                records = records[: at or 1]
        return records

    return edit
