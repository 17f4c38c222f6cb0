"""Whatever an export says, nothing foreign leaves an import, and what it stored is whole."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from cli_support import make_lattice
from drawing import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transfer_support import PLAIN, RECORDS, Batches, edited, exported, line_of, refusal, with_line

from pmll_async import Lattice, PmllError
from pmll_async.moving.transfer import export_records, import_records
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing.chains import ChainBuilder


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return exported(make_lattice(tmp_path_factory.mktemp("transfer") / "memory"))


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        ["\ud800", "0" * 16, "f" * 16, "AAAA", 10**400, -1, 2**53, 2**64, "put", "race", "nan"]
    )
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(
    max_examples=examples(125),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_whatever_a_field_holds_nothing_foreign_leaves(lines: list[str], data: Any) -> None:
    number = data.draw(st.integers(1, len(lines)))
    record = json.loads(lines[number - 1])
    place: Any = record
    if "lines" in record and data.draw(st.booleans()):
        place = record["lines"][data.draw(st.integers(0, len(record["lines"]) - 1))]
    name = data.draw(st.sampled_from([*place, "g", "idempotency_key", "revises", "unfinished"]))
    place[name] = data.draw(json_values)
    if name == "lines" and isinstance(place[name], dict):
        place[name] = [place[name]]
    escaped = data.draw(st.booleans())
    text = json.dumps(record, ensure_ascii=escaped, separators=(",", ":")) + "\n"
    store = Batches()
    try:
        import_records(with_line(lines, number, text), store, PLAIN)
    except PmllError as exc:
        stored = getattr(exc, "stored", None) or 0
    else:
        stored = RECORDS
    assert sum(store.sizes) == stored
    if store._header is not None:
        reopened(store, stored)


def reopened(store: MemoryStore, records: int) -> None:
    """What was stored can be read, whatever was wrong with the rest."""

    async def opening() -> None:
        async with Lattice(store) as lattice:
            assert lattice.revision == records
            assert len([line async for line in lattice.rewind()]) == len(lattice)

    asyncio.run(opening())


def test_a_lone_surrogate_is_refused_with_its_line(lines: list[str]) -> None:
    put = line_of(lines, "put")
    for fields in ({"ctx": {"a": "\ud800"}}, {"idempotency_key": "\ud800"}):
        [changed] = edited(lines, put, **fields)[put - 1 : put]
        escaped = json.dumps(json.loads(changed), separators=(",", ":")) + "\n"
        for line in (changed, escaped, escaped.encode()):
            assert refusal(with_line(lines, put, line)).line == put


async def test_an_effect_on_a_line_that_a_rollback_took_off_is_refused() -> None:
    """There was such a line, but not in the state that the effect would change."""
    chain = ChainBuilder()
    first = chain.put()
    gone = chain.put()
    chain.rollback(1)
    chain.decay(first.line.anchor, 0.5)
    chain.decay(first.line.anchor, 0.25)
    store = MemoryStore()
    store.open(chain.header, chain.hasher)
    store.append(chain.records, chain.block())
    store.close()
    lines = list(export_records(store, PLAIN))
    error = refusal(edited(lines, 6, anchor=gone.line.anchor))
    assert (error.line, error.stored) == (6, 0)
    assert "which no line has then" in error.reason
