"""`pmll sql`, as people and programs call it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from cli_support import Writer, make_lattice, pmll

pytest.importorskip("duckdb", reason="duckdb is not installed: pip install 'pmll-async[duckdb]'")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lattice(tmp_path_factory.mktemp("sql") / "memory")


def test_a_table_json_and_csv(path: Path) -> None:
    query = (
        "select position, anchor, context, time from lines where position < 3 order by position;"
    )
    done = pmll("sql", path, query)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split() == ["position", "anchor", "context", "time"]
    assert "\u202e" not in done.stdout
    rows = [json.loads(line) for line in pmll("sql", path, query, "--json").stdout.splitlines()]
    assert rows[0]["context"] == {"step": 1, "topic": "recursion"}
    assert rows[0]["time"] == "2023-11-14T22:13:20+00:00"
    table = list(csv.DictReader(io.StringIO(pmll("sql", path, query, "--csv").stdout)))
    assert [row["anchor"] for row in table] == [row["anchor"] for row in rows]
    assert len(rows) == 3


def test_values_that_json_lacks(path: Path) -> None:
    query = (
        "select 'nan'::double as a, 2.5::decimal(3, 1) as b, '\\xC3\\xA9'::blob as c, "
        "[1, null] as d, {'x': date '2026-01-02'} as e, interval 1 hour as f, null::json as g"
    )
    [row] = pmll("sql", path, query, "--json").stdout.splitlines()
    assert json.loads(row) == {
        "a": None,
        "b": "2.5",
        "c": "é".encode().hex(),
        "d": [1, None],
        "e": {"x": "2026-01-02"},
        "f": "1:00:00",
        "g": None,
    }


def test_a_past_state_and_a_file(path: Path, tmp_path: Path) -> None:
    count = "select count(*) as n from lines"
    for point, lines in (("3", 3), ("2023-11-14T22:13:21Z", 2), ("f82a0f9d0a99786e", 2)):
        done = pmll("sql", path, count, "--at", point, "--json")
        assert json.loads(done.stdout) == {"n": lines}
    target = tmp_path / "lines.parquet"
    done = pmll("sql", path, "select * from lines", "--vectors", "-o", target, "--json")
    assert json.loads(done.stdout)["rows"] == 9
    assert target.read_bytes()[:4] == b"PAR1"
    assert "wrote 9 rows" in pmll("sql", path, "from lines", "-o", target).stdout


def test_beside_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    with Writer(path) as writer:
        anchor = writer.put()
        done = pmll("sql", path, "select anchor from chain", "--csv")
        assert done.stdout.split() == ["anchor", anchor]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["drop table lines"], 1, "give a SELECT, not DROP"),
        (["select 1; select 2"], 1, "these are 2 statements"),
        (["select key from lines"], 1, "--vectors"),
        (["select nothing from lines"], 1, "nothing"),
        (["select 1", "-o", "x.xls"], 1, "must end in"),
        (["select 1", "--json", "--csv"], 2, "not both"),
        (["select 1", "--at", "yesterday"], 2, "no anchor"),
        (["select 1", "--at", "2026-11-01T12:00"], 2, "zone"),
        (["select 1", "--at", "99"], 1, "no revision 99"),
    ],
)
def test_what_is_refused(path: Path, arguments: list[str], code: int, said: str) -> None:
    before = sorted(path.rglob("*"))
    done = pmll("sql", path, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert sorted(path.rglob("*")) == before


def test_bad_sql_is_told_before_anything_is_read(tmp_path: Path) -> None:
    assert "SELECT" in pmll("sql", tmp_path / "nowhere", "delete from lines").stderr
    assert "is not a store" in pmll("sql", tmp_path / "nowhere", "select 1").stderr
    assert list(tmp_path.iterdir()) == []
