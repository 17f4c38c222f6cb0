"""A lattice as tables: what is in them, and that SQL only reads."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli_support import BEGIN, DIM, make_lattice, seconds_from, vector

pytest.importorskip("duckdb", reason="duckdb is not installed: pip install 'pmll-async[duckdb]'")

from pmll_async import Candidate, Lattice, LatticeClosedError, LatticeView
from pmll_async.errors import InvalidInputError
from pmll_async.integrity import Passphrase
from pmll_async.sql import LatticeTables
from pmll_async.sql import tables as module
from pmll_async.stores.memory import MemoryStore

ROOT = Path(__file__).resolve().parents[2]
NEVER = "select count(*) from range(1000000000000) a(i) where hash(i) = 3"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


async def make(path: Path) -> None:
    await asyncio.to_thread(make_lattice, path)


@pytest.mark.parametrize("name", ["memory", "memory.lmdb"])
async def test_lines_are_those_of_the_lattice(tmp_path: Path, name: str) -> None:
    await make(tmp_path / name)
    lattice = Lattice.open(tmp_path / name, read_only=True)
    async with lattice, LatticeTables(lattice, vectors=True) as tables:
        answer = await tables.sql("select * from lines order by record, place")
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        assert len(rows) == 9
        for row in rows:
            line = await lattice.get(row["anchor"])
            for field in ("prev_anchor", "position", "kind", "strength"):
                assert row[field] == getattr(line, field)
            assert json.loads(row["context"]) == line.context
            assert row["time"].timestamp() == line.timestamp
            assert row["committed_at"].timestamp() == line.committed_at
            if line.kind == "note":
                assert (row["novelty"], row["similarity"], row["key"]) == (None, None, None)
            else:
                assert (row["novelty"], row["similarity"]) == (line.novelty, line.similarity)
                assert list(row["key"]) == line.key.tolist()
                assert list(row["value"]) == line.value.tolist()
        assert [row["status"] for row in rows].count("rolled back") == 1
        types = dict(zip(answer.columns, answer.types, strict=True))
        assert types["time"] == "TIMESTAMP WITH TIME ZONE"
        assert (types["key"], types["context"]) == (f"FLOAT[{DIM}]", "JSON")
        chain = await tables.sql("select anchor from chain")
        assert [row[0] for row in chain.rows][::-1] == [
            line.anchor async for line in lattice.rewind()
        ]


async def test_every_status_and_source(path: Path) -> None:
    async def good(_: LatticeView) -> Candidate:
        return Candidate(key=vector(1), confidence=0.9, name="good")

    async def bad(_: LatticeView) -> Candidate:
        return Candidate(key=vector(2), confidence=0.1, name="bad")

    async def broken(_: LatticeView) -> Candidate:
        raise ValueError("no")

    async with Lattice.open(path, dim=DIM, clock=seconds_from(BEGIN)) as lattice:
        gone = [await lattice.put(vector(n), context={"said": "secret"}) for n in (10, 11)]
        await lattice.forget(gone[0])
        await lattice.forget(gone[1], erase=True)
        writer = lattice.as_writer("guest", trust=0.5)
        await writer.put(vector(12))
        await lattice.put(vector(13), ttl=1.0)
        await lattice.race([good, bad, broken], decay=0.01)
        async with LatticeTables(lattice, now=BEGIN) as tables:
            asked = "select status, source, context from lines order by record, place"
            found = (await tables.sql(asked)).rows
            assert [row[0] for row in found] == [
                *("forgotten", "erased", "live", "hidden", "live", "dormant")
            ]
            assert found[1][2] is None
            assert found[2][1] == "guest"
            scores = "select name, outcome, error from scores order by outcome"
            assert (await tables.sql(scores)).rows == [
                ("broken", "failed", "ValueError"),
                ("bad", "lost", None),
                ("good", "won", None),
            ]
            races = await tables.sql("select winner_name, loser_name, loser_strength from races")
            assert races.rows == [("good", "bad", 0.01)]
            [(recency,)] = (await tables.sql("select max(recency) from freshness")).rows
            assert recency == 1.0


async def test_a_past_state(path: Path) -> None:
    await make(path)
    asked = "select anchor, position, strength, status from lines order by record, place"
    async with Lattice.open(path, read_only=True) as lattice:
        for point in (0, 3, datetime.fromtimestamp(BEGIN + 1, UTC)):
            view = lattice.at(point)
            async with LatticeTables(view) as tables:
                rows = (await tables.sql(asked)).rows
                assert len([row for row in rows if row[1] is not None]) == len(view)
                [(now,)] = (await tables.sql("select epoch(now) from state")).rows
                assert now == view.now
                assert all(row[2:] == (1.0, "live") for row in rows)


async def test_a_lattice_without_values_and_without_lines() -> None:
    async with Lattice(MemoryStore(), dim=2, value_dim=0) as lattice:
        async with LatticeTables(lattice, vectors=True) as tables:
            assert (await tables.sql("select * from races")).rows == []
            assert (await tables.sql("select count(*) from lines")).rows == [(0,)]
        await lattice.put([1, 0])
        async with LatticeTables(lattice, vectors=True) as tables:
            assert (await tables.sql("select key, value from lines")).rows == [((1.0, 0.0), None)]


async def test_batches_and_progress(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_LINES", 16)
    told = []
    on_the_loop = threading.get_ident()
    threads = set()
    real = module.fill

    def fill(*args: object, **options: bool) -> None:
        threads.add(threading.get_ident())
        real(*args, **options)  # type: ignore[arg-type]  # whatever it was called with

    monkeypatch.setattr(module, "fill", fill)
    async with Lattice.open(path, dim=DIM) as lattice:
        await lattice.put_many(Candidate(key=vector(n), context={"n": n}) for n in range(100))
        tables = LatticeTables(lattice, progress=lambda done, of: told.append((done, of)))
        async with tables:
            asked = "select (context ->> 'n')::int from chain"
            assert [row[0] for row in (await tables.sql(asked)).rows] == list(range(100))
    assert told == [(done, 100) for done in (*range(16, 100, 16), 100)]
    assert on_the_loop not in threads


# --- parameters and errors ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        *("drop table lines", "insert into state select * from state", "create table t (a int)"),
        *("copy lines to '{0}/x.csv'", "attach '{0}/x.db'", "set threads = 1", "install httpfs"),
        *("select 1; drop table lines", "", "select * from read_csv('{0}/there.csv')"),
        *("select * from '{0}/there.csv'", "explain analyze delete from lines", "checkpoint"),
        *("with a as (insert into state select * from state returning *) from a", "vacuum"),
        *("select * from query('drop table lines')", "select", "select key from lines"),
        *(
            "export database '{0}/x'",
            "load '{0}/there.csv'",
            "select * from here",
            "pragma version",
        ),
        "select * from glob('{0}/*')",
    ],
)
async def test_sql_only_reads(tmp_path: Path, statement: str) -> None:
    (tmp_path / "there.csv").write_text("a,b\n1,2\n")
    here = {"a": [1]}
    async with Lattice(MemoryStore(), dim=2) as lattice, LatticeTables(lattice) as tables:
        before = sorted(tmp_path.iterdir())
        with pytest.raises(InvalidInputError):
            await tables.sql(statement.format(tmp_path))
        assert sorted(tmp_path.iterdir()) == before
        assert (await tables.sql("select count(*) from state")).rows == [(1,)]
    assert here


async def test_parameters_are_bound() -> None:
    said = "'; drop table lines; --"
    async with Lattice(MemoryStore(), dim=2) as lattice:
        await lattice.put([1, 0], context={"said": said})
        async with LatticeTables(lattice) as tables:
            for asked, given in (("?", [said]), ("$said", {"said": said})):
                query = f"select count(*) from lines where context ->> 'said' = {asked} -- so"
                assert (await tables.sql(query, given)).rows == [(1,)]
            with pytest.raises(InvalidInputError):
                await tables.sql("select ?", [])


async def test_what_is_no_lattice_and_what_is_closed() -> None:
    with pytest.raises(InvalidInputError, match=r"lattice\.at"):
        LatticeTables("memory")  # type: ignore[arg-type]  # what is refused
    async with Lattice(MemoryStore(), dim=2) as lattice:
        tables = LatticeTables(lattice)
        with pytest.raises(LatticeClosedError, match="async with"):
            await tables.sql("select 1")
        async with tables:
            with pytest.raises(InvalidInputError, match="text"):
                await tables.sql(1)  # type: ignore[arg-type]  # what is refused
        await tables.aclose()
        with pytest.raises(LatticeClosedError):
            await tables


def test_without_duckdb_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.delitem(sys.modules, "pmll_async.sql")
    monkeypatch.setattr("pmll_async.values.extras.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"pip install 'pmll-async\[duckdb\]'"):
        importlib.import_module("pmll_async.sql")


@pytest.mark.parametrize(("verb", "package"), [("arrow", "pyarrow"), ("frame", "pandas")])
async def test_arrow_and_frames(verb: str, package: str) -> None:
    from importlib.util import find_spec

    async with Lattice(MemoryStore(), dim=2) as lattice, LatticeTables(lattice) as tables:
        if find_spec(package) is None:
            with pytest.raises(ImportError, match=package):
                await getattr(tables, verb)("select 1 as a")
        else:
            assert len(await getattr(tables, verb)("select 1 as a")) == 1


# --- cancelling and closing --------------------------------------------------------------------


async def test_a_cancelled_question_is_interrupted() -> None:
    async with Lattice(MemoryStore(), dim=2) as lattice, LatticeTables(lattice) as tables:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await tables.sql(NEVER)
        assert (await tables.sql("select 1")).rows == [(1,)]
        # It would not end by itself for hours.
        async with asyncio.timeout(60):
            await tables.aclose()


async def test_closing_interrupts() -> None:
    async with Lattice(MemoryStore(), dim=2) as lattice:
        tables = await LatticeTables(lattice)
        asked = asyncio.create_task(tables.sql(NEVER))
        await asyncio.sleep(0)
        assert tables._running
        async with asyncio.timeout(60):
            await tables.aclose()
        with pytest.raises(LatticeClosedError):
            await asked


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json", ".jsonl"])
async def test_files(tmp_path: Path, suffix: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    target = tmp_path / f"it's a file{suffix}"
    async with Lattice(MemoryStore(), dim=2) as lattice:
        await lattice.put([1, 0], context={"said": "é"})
        async with LatticeTables(lattice, vectors=True) as tables:
            folder = tables._folder
            assert await tables.write("select * from lines", target) == 1
            assert await tables.write("select anchor, key from lines where ?", target, [True]) == 1
            assert list(folder.iterdir()) == []
        assert not folder.exists()
        assert target.stat().st_mode & 0o777 == 0o600
        name = str(target).replace("'", "''")
        [(anchor, key)] = duckdb.sql(f"select anchor, key from '{name}'").fetchall()
        assert anchor == lattice.head
        assert suffix == ".csv" or tuple(key) == (1.0, 0.0)


async def test_a_file_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "x.parquet"
    target.write_text("before")
    async with Lattice(MemoryStore(), dim=2) as lattice, LatticeTables(lattice) as tables:
        with pytest.raises(InvalidInputError):
            await tables.write("select error('no')", target)
        with pytest.raises(InvalidInputError, match="must end in"):
            await tables.write("select 1", tmp_path / "x.xls")
    assert [target] == list(tmp_path.iterdir())
    assert target.read_text() == "before"


async def test_nothing_of_an_encrypted_lattice_goes_to_a_disk(path: Path) -> None:
    pytest.importorskip("cryptography")
    async with Lattice.open(path, dim=2, secret=Passphrase("correct horse")) as lattice:
        await lattice.put([1, 0], context={"said": "hush"})
        async with LatticeTables(lattice) as tables:
            assert (await tables.sql("select context ->> 'said' from lines")).rows == [("hush",)]
            assert (await tables.sql("select current_setting('temp_directory')")).rows == [("",)]
            assert not tables._folder.exists()


# --- the documentation -------------------------------------------------------------------------


def documented() -> list[str]:
    text = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
    return re.findall(r"^```sql\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


async def test_the_five_questions(path: Path) -> None:
    await make(path)
    async with Lattice.open(path, clock=seconds_from(BEGIN + 100)) as lattice:
        for stage in ("plan", "act"):
            stamp = {"run": "r1", "stage": stage}
            await _stamped(lattice, stamp)
        async with LatticeTables(lattice) as tables:
            answers = [(await tables.sql(query)).rows for query in documented()]
    hour = datetime(2023, 11, 14, 22, tzinfo=UTC)
    assert len(answers) == 5
    learnt, busy, close, wrote, runs = answers
    assert [row[:2] for row in learnt] == [(hour, 6)]
    assert busy == [(hour, "recursion", 2)]
    assert [round(row[2], 9) for row in close] == [0.8]
    assert wrote == [("owner", 8, 7)]
    assert [(run, entries, stages) for run, entries, stages, _ in runs] == [("r1", 2, 2)]


async def _stamped(lattice: Lattice, facts: dict[str, str]) -> None:
    from pmll_async.values.contexts import stamp

    await lattice.note(stamp({}, facts))
