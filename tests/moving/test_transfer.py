"""Moving a lattice between stores: the same records, anchors and digest, or a clear refusal."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from cli_support import DIM, make_lattice, make_long_lattice, vector
from transfer_support import PLAIN, RECORDS, Batches, edited, exported, line_of, refusal, with_line

from pmll_async import (
    Candidate,
    CorruptionError,
    DimensionMismatchError,
    FormatError,
    Lattice,
    PinnedError,
    StoreFullError,
    WrongKeyError,
)
from pmll_async.moving.transfer import export_records, import_records
from pmll_async.protocols import StoreHeader
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.values.anchors import Hasher

KEY = b"a secret"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lattice(tmp_path_factory.mktemp("transfer") / "memory")


@pytest.fixture(scope="module")
def lines(folder: Path) -> list[str]:
    return exported(folder)


# --- there and back ----------------------------------------------------------------------------


def test_the_header_says_what_follows(lines: list[str]) -> None:
    header = json.loads(lines[0])
    assert (header["pmll"], header["format"]) == ("export", 1)
    assert (header["dim"], header["value_dim"], header["keyed"]) == (DIM, DIM, False)
    assert header["records"] == len(lines) - 1 == RECORDS
    assert [json.loads(line)["n"] for line in lines[1:]] == list(range(RECORDS))


async def test_a_lattice_moves_to_another_store_and_back_unchanged(
    folder: Path, lines: list[str], tmp_path: Path
) -> None:
    memory = MemoryStore()
    assert import_records(lines, memory, PLAIN) == RECORDS
    assert list(export_records(memory, PLAIN)) == lines
    assert import_records(lines, JsonlStore(tmp_path / "copy"), PLAIN) == RECORDS
    assert exported(tmp_path / "copy") == lines
    async with (
        Lattice.open(folder, read_only=True) as source,
        Lattice.open(tmp_path / "copy") as copy,
    ):
        assert (copy.head, copy.digest, copy.revision) == (
            source.head,
            source.digest,
            source.revision,
        )
        assert [line async for line in copy.rewind()] == [line async for line in source.rewind()]


async def test_what_is_hidden_is_hidden_in_the_copy(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "source", dim=DIM) as source:
        mine = await source.put([1.0] * DIM)
        page = await source.as_writer("page", quarantine=True).put([1.0] * DIM)
        await source.as_writer("agent").derived_from(page).put([1.0] * DIM)
    import_records(exported(tmp_path / "source"), JsonlStore(tmp_path / "copy"), PLAIN)
    async with Lattice.open(tmp_path / "copy") as copy:
        assert [line.anchor for line in await copy.query([1.0] * DIM)] == [mine]
        await copy.release(page)
        assert len(await copy.query([1.0] * DIM)) == 3


def test_bytes_and_other_line_ends_are_read_as_well(lines: list[str]) -> None:
    store = MemoryStore()
    windows = [line.replace("\n", "\r\n").encode() for line in lines]
    assert import_records(windows, store, PLAIN) == RECORDS
    assert list(export_records(store, PLAIN)) == lines


def test_an_empty_lattice_moves(tmp_path: Path) -> None:
    lines = exported(make_long_lattice(tmp_path / "empty", 0))
    assert len(lines) == 1
    assert import_records(lines, MemoryStore(), PLAIN) == 0


def test_pins_and_the_time_of_making_move(tmp_path: Path) -> None:
    pinned = MemoryStore()
    pinned.open(StoreHeader(DIM, 0, created=12.5, pins={"embedder": "hash é"}), PLAIN)
    pinned.close()
    lines = list(export_records(pinned, PLAIN))
    import_records(lines, JsonlStore(tmp_path / "copy"), PLAIN)
    assert exported(tmp_path / "copy") == lines


async def test_pins_of_a_lattice_move_into_a_store_made_before(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "memory", dim=DIM) as lattice:
        await lattice.put(vector(0))
        await lattice.pin("embedder", "e1")
        await lattice.pin("lang", "é")
    lines = exported(tmp_path / "memory")
    async with Lattice.open(tmp_path / "copy", dim=DIM):
        pass
    made = JsonlStore(tmp_path / "copy")
    for records in (1, 0):
        assert import_records(lines, made, PLAIN) == records
        async with Lattice.open(tmp_path / "copy", read_only=True) as copy:
            assert copy.pins == {"embedder": "e1", "lang": "é"}


async def test_a_store_with_another_pin_is_refused_and_left_alone(
    lines: list[str], tmp_path: Path
) -> None:
    async with Lattice.open(tmp_path / "other", dim=DIM) as other:
        await other.pin("embedder", "e2")
    before = exported(tmp_path / "other")
    pinned = edited(lines, 1, pins={"lang": "x", "embedder": "e1"})
    with pytest.raises(PinnedError, match="'e2'"):
        import_records(pinned, JsonlStore(tmp_path / "other"), PLAIN)
    assert exported(tmp_path / "other") == before


def test_progress_is_told_on_both_ways(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    store = JsonlStore(folder, read_only=True)
    lines = list(export_records(store, PLAIN, progress=lambda *step: told.append(step)))
    import_records(lines, MemoryStore(), PLAIN, progress=lambda *step: told.append(step))
    assert told == 2 * [(n, RECORDS) for n in range(1, RECORDS + 1)]


def test_an_export_that_is_left_early_lets_go_of_the_store(folder: Path) -> None:
    store = JsonlStore(folder, read_only=True)
    export = export_records(store, PLAIN)
    next(export)
    export.close()
    assert len(list(export_records(store, PLAIN))) == RECORDS + 1


def test_damage_met_on_the_way_out_is_not_exported(tmp_path: Path) -> None:
    path = make_lattice(tmp_path / "memory")
    log = path / "log-00000001.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"step":2', b'"step":7'))
    with pytest.raises(CorruptionError):
        exported(path)


# --- batches and groups ------------------------------------------------------------------------


async def test_records_are_written_in_batches_of_bounded_size() -> None:
    store = MemoryStore()
    async with Lattice(store, dim=DIM) as lattice:
        anchor = await lattice.put([1, 0, 0, 0])
        await asyncio.gather(*(lattice.decay(anchor, 0.99) for _ in range(299)))
    copy = Batches()
    import_records(export_records(store, PLAIN), copy, PLAIN)
    assert copy.sizes == [256, 44]


async def test_a_group_longer_than_a_batch_is_one_append() -> None:
    store = MemoryStore()
    async with Lattice(store, dim=DIM) as lattice:
        await lattice.put_many((Candidate(key=vector(i)) for i in range(600)), batch=600)
    copy = Batches()
    import_records(export_records(store, PLAIN), copy, PLAIN)
    assert copy.sizes == [600]


def test_groups_stay_whole(lines: list[str]) -> None:
    store = MemoryStore()
    import_records(lines, store, PLAIN)
    following = [store.read(n).following for n in range(RECORDS)]
    assert following == [0] * (RECORDS - 3) + [2, 1, 0]


def test_an_export_that_ends_within_a_group_is_refused(lines: list[str]) -> None:
    header = json.loads(lines[0]) | {"records": RECORDS - 1}
    cut = [json.dumps(header), *lines[1:-1]]
    assert "within a group" in refusal(cut).reason


def test_a_broken_group_is_refused(lines: list[str]) -> None:
    broken = edited(lines, len(lines) - 1, g=None)
    assert "group" in refusal(broken).reason


# --- going on ----------------------------------------------------------------------------------


def test_an_interrupted_import_goes_on_where_it_stopped(tmp_path: Path) -> None:
    lines = exported(make_long_lattice(tmp_path / "memory", 700))
    store = Batches(room=512)
    with pytest.raises(StoreFullError):
        import_records(lines, store, PLAIN)
    rest = Batches()
    rest._header, rest._records = store._header, store._records
    assert import_records(lines, rest, PLAIN) == 188
    assert list(export_records(rest, PLAIN)) == lines
    assert import_records(lines, rest, PLAIN) == 0


def test_a_store_with_something_else_is_refused_and_left_alone(
    lines: list[str], tmp_path: Path
) -> None:
    other = make_long_lattice(tmp_path / "other", 3)
    before = exported(other)
    error = refusal(lines, JsonlStore(other))
    assert "other records" in error.reason
    assert exported(other) == before


def test_a_store_that_is_ahead_is_refused(lines: list[str], tmp_path: Path) -> None:
    other = make_long_lattice(tmp_path / "other", RECORDS + 1)
    assert "already" in refusal(lines, JsonlStore(other)).reason


def test_a_store_of_other_dimensions_is_refused(lines: list[str]) -> None:
    store = MemoryStore()
    store.open(StoreHeader(DIM + 1, DIM), PLAIN)
    store.close()
    with pytest.raises(DimensionMismatchError, match=str(DIM + 1)):
        import_records(lines, store, PLAIN)
    store.open(StoreHeader(DIM + 1, DIM), PLAIN)  # it was closed again


# --- keys --------------------------------------------------------------------------------------


def test_a_keyed_lattice_moves_with_its_key_only(tmp_path: Path) -> None:
    path = make_lattice(tmp_path / "memory", KEY)
    with pytest.raises(WrongKeyError):
        exported(path)
    lines = exported(path, Hasher(KEY))
    assert json.loads(lines[0])["keyed"] is True
    for wrong in (Hasher(), Hasher(b"another")):
        with pytest.raises(WrongKeyError):
            import_records(lines, MemoryStore(), wrong)
    assert import_records(lines, MemoryStore(), Hasher(KEY)) == RECORDS


def test_a_plain_export_is_refused_with_a_key(lines: list[str]) -> None:
    with pytest.raises(WrongKeyError):
        import_records(lines, MemoryStore(), Hasher(KEY))


# --- malformed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    ["", "\n", "nonsense", "[]", "{}", '{"pmll":"export","format":1}', '{"pmll":"seal"}', b"\xff"],
)
def test_what_is_no_header_is_refused(first: Any) -> None:
    assert refusal([first]).line == 1


def test_nothing_at_all_is_refused() -> None:
    assert refusal([]).line == 1


@pytest.mark.parametrize("fields", [{"dim": 0}, {"value_dim": -1}, {"records": "x"}, {"pins": []}])
def test_a_header_with_impossible_facts_is_refused(
    lines: list[str], fields: dict[str, object]
) -> None:
    assert refusal(edited(lines, 1, **fields)).line == 1


def test_a_later_format_or_operation_is_refused_as_such(lines: list[str]) -> None:
    for changed in (edited(lines, 1, format=3), edited(lines, 2, op="merge")):
        with pytest.raises(FormatError):
            import_records(changed, MemoryStore(), PLAIN)


@pytest.mark.parametrize(
    "line",
    ["", "\n", "null\n", "{}\n", '{"n":1,"op":"put"}\n', "[" * 100_000 + "\n", b"\xff\n", '"\x00'],
    ids=["empty", "blank", "null", "object", "bare", "deep", "bytes", "text"],
)
def test_a_line_that_is_no_record_is_refused_with_its_number(lines: list[str], line: Any) -> None:
    error = refusal([*lines[:2], line, *lines[3:]])
    assert error.line == 3
    assert str(error).startswith("line 3 of the export: ")


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 7},
        {"t": "1700000000"},
        {"anchor": "0" * 16},
        {"prev": "f" * 16},
        {"ctx": {"topic": "another"}},
        {"key": "AAAA"},
        {"key": "AACAPwAAgD8AAIA/"},
        {"key": "AADAfwAAgD8AAIA/AACAPw=="},
        {"novelty": 1e999},
        {"revises": ["0123456789abcdef"]},
        {"revises": ["nonsense"]},
        {"more": 1},
    ],
    ids=json.dumps,
)
def test_a_changed_record_is_refused_with_its_line(
    lines: list[str], fields: dict[str, object]
) -> None:
    assert refusal(edited(lines, 3, **fields)).line == 3


@pytest.mark.parametrize("spelling", [' {"n"', '{"n":1,"n"', '{ "n"'], ids=["lead", "twice", "gap"])
def test_another_spelling_of_a_record_is_refused(lines: list[str], spelling: str) -> None:
    changed = lines[2].replace('{"n"', spelling, 1)
    assert refusal(with_line(lines, 3, changed)).line == 3


def test_an_effect_on_no_line_is_refused(lines: list[str]) -> None:
    number = line_of(lines, "decay")
    error = refusal(edited(lines, number, anchor="0123456789abcdef"))
    assert (error.line, "0123456789abcdef" in error.reason) == (number, True)


def test_a_rollback_to_what_is_not_there_is_refused(lines: list[str]) -> None:
    number = line_of(lines, "rollback")
    assert "revision 99" in refusal(edited(lines, number, revision=99)).reason
    # To another state than the following records were made on: their anchors tell.
    assert refusal(edited(lines, number, revision=2)).line == number + 1


def test_lines_left_out_or_in_another_order_are_refused(lines: list[str]) -> None:
    assert refusal([*lines[:3], *lines[4:]]).line == 4
    assert refusal([*lines[:3], lines[4], lines[3], *lines[5:]]).line == 4


def test_an_export_cut_short_is_refused(lines: list[str]) -> None:
    assert "cut short" in refusal(lines[:-1]).reason
    assert refusal([*lines[:-1], lines[-1][:-10]]).line == len(lines)


def test_a_line_too_many_is_refused(lines: list[str]) -> None:
    assert refusal([*lines, lines[-1]]).line == len(lines) + 1


def test_a_change_that_no_anchor_covers_is_found_by_the_digest(lines: list[str]) -> None:
    error = refusal(edited(lines, 2, t=json.loads(lines[1])["t"] + 1))
    assert "digest" in error.reason
    assert error.stored == RECORDS


def test_what_was_stored_before_an_error_is_told(tmp_path: Path) -> None:
    lines = exported(make_long_lattice(tmp_path / "memory", 600))
    error = refusal(with_line(lines, 591, "nonsense\n"))
    assert (error.line, error.stored) == (591, 512)
