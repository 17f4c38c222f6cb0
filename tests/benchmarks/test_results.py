from __future__ import annotations

from benchmarks.growth import growth
from benchmarks.hosts import reason
from benchmarks.plan import Bound, Plan, Spec
from benchmarks.results import Cell, Measured, Row, Verdict, read
from benchmarks.rows import at_least, at_most
from benchmarks.subjects import LANGGRAPH, NUMPY, OUR_LMDB, OUR_WINDOW, OURS
from benchmarks.table import bound, figure, markdown, reached, unmeasured
from benchmarks.workloads import Params


def row(spec: Spec, **rounds: list[float] | str) -> Row:
    """The one row of a plan whose subjects gave these figures, round by round, or failed."""
    names = {"ours": OURS, "lmdb": OUR_LMDB, "numpy": NUMPY, "langgraph": LANGGRAPH}
    measured = {
        names[name]: Measured(found)
        if isinstance(found, str)
        else Measured(rounds=[{spec.figure: value} for value in found])
        for name, found in rounds.items()
    }
    plan = Plan("", Params(lines=10), tuple(measured), (spec,), 3, filled=True)
    return read(plan, measured)[0]


def spec(*bounds: Bound, unit: str = "s") -> Spec:
    return Spec("name", "what is done", "seconds", unit, bounds)


def test_a_ratio_is_taken_within_each_round() -> None:
    found = row(spec(at_most(2, NUMPY)), ours=[1.0, 30.0, 2.0], numpy=[1.0, 10.0, 1.0])
    # 1, 3 and 2: the medians alone, 2 and 1, would give 2 as well, but 10 and 30 would not.
    assert found.verdicts == [Verdict("≤ 2 × numpy", OURS, 2.0, True, True)]
    assert found.value(OURS) == 2.0
    slow = row(spec(at_most(2, NUMPY)), ours=[1.0, 30.0, 30.0], numpy=[1.0, 10.0, 1.0])
    assert slow.verdicts[0].score == 3.0
    assert slow.verdicts[0].reached is False


def test_the_best_of_several_is_held_against_a_bound() -> None:
    fastest = at_least(0.8, LANGGRAPH, OURS, OUR_LMDB)
    found = row(spec(fastest, unit="/s"), ours=[50.0], lmdb=[90.0], langgraph=[100.0])
    assert found.verdicts == [Verdict("≥ 0.8 × langgraph", OUR_LMDB, 0.9, True, True)]


def test_an_allowance_is_taken_off_and_floors_are_added_up() -> None:
    held = Bound("", 1.3, (OURS,), (NUMPY, LANGGRAPH), allowance=1.0)
    found = row(spec(held), ours=[7.0], numpy=[2.0], langgraph=[3.0])
    assert found.verdicts[0].score == 6.0 / 5.0


def test_a_figure_may_be_divided_by_another_of_the_same_round() -> None:
    held = Bound("≥ 2 × the tasks", 2.0, (OURS,), figure="tasks", at_least=True)
    plan = Plan("", Params(), (OURS,), (spec(held),), 1)
    found = read(plan, {OURS: Measured(rounds=[{"seconds": 9.0, "tasks": 3.0}])})[0]
    assert found.verdicts[0].score == 3.0
    assert found.cells[OURS].also == {"tasks": 3.0}
    assert found.lines == 0


def test_nothing_is_told_where_a_floor_is_missing() -> None:
    found = row(spec(at_most(2, NUMPY)), ours=[1.0], numpy="not installed (numpy)")
    assert found.verdicts == [Verdict("≤ 2 × numpy", OURS)]
    assert found.cells[NUMPY] == Cell("not installed (numpy)")


def test_a_row_comes_back_from_json() -> None:
    found = row(spec(at_most(2, NUMPY)), ours=[1.0, 2.0], numpy="failed: it did")
    assert Row.from_json(found.to_json()) == found


def test_the_table_has_a_column_a_subject_and_says_what_is_missing() -> None:
    found = [
        row(spec(at_most(2, NUMPY)), ours=[0.0015], numpy=[0.001], langgraph="failed: it did"),
        row(spec(unit="/s"), ours=[12_345.0]),
    ]
    assert markdown(found).splitlines() == [
        "|  | pmll-async | langgraph | numpy | floor | must reach |",
        "| --- | --- | --- | --- | --- | --- |",
        "| what is done | 1.5 ms | † | 1 ms |  | ≤ 2 × numpy: 1.5 ×, yes |",
        "| what is done | 12 345 /s |  |  |  |  |",
    ]
    assert reached(found) == "1 of 1 bounds reached"
    assert unmeasured(found) == ["langgraph: failed: it did (name)"]


def test_figures_are_said_in_the_unit_that_fits() -> None:
    assert [figure(value, "s") for value in (2.0, 0.25, 0.0031, 42e-6)] == [
        "2 s",
        "250 ms",
        "3.1 ms",
        "42 µs",
    ]
    assert figure(1_766.4, "B") == "1 766 B"


def test_another_of_ours_is_named_beside_its_bound() -> None:
    assert bound(Verdict("≤ 10 ms", OUR_LMDB, 0.02, False, False), "s") == (
        "LMDB ≤ 10 ms: 20 ms, no"
    )


def test_growth_is_told_where_both_sizes_were_measured() -> None:
    few, many = (
        Row(name, "", "s", lines, {OURS: Cell(value=value), OUR_WINDOW: Cell(value=value)}, [])
        for name, lines, value in (("put-10k", 10_000, 0.5), ("put-1m", 1_000_000, 0.75))
    )
    grown = growth([few, many])
    assert [(row.name, row.operation, row.value(OURS)) for row in grown] == [
        ("put-growth", "durable put: 1 000 000 lines over 10 000", 1.5)
    ]
    assert grown[0].verdicts == [Verdict("≤ 2 ×", OUR_WINDOW, 1.5, False, True)]
    assert growth([few]) == []


def test_a_failure_is_told_without_the_folders_of_a_machine() -> None:
    failed = ExceptionGroup("", [OSError("cannot open /tmp/a-place/store.db,\n sadly")])
    assert reason(failed) == "OSError: cannot open store.db, sadly"
