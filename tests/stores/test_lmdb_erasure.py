"""Erasing from an LMDB store: its rows, while others write."""

from __future__ import annotations

from pathlib import Path

from jsonl_tools import all_contexts, contents, contexts_of
from lmdb_tools import LmdbStore, opened, row_numbers
from make_records import Chain, small_history

from pmll_async.records.record import PutRecord
from pmll_async.stores.lmdb import rows


def many(chain: Chain, store: LmdbStore, records: int) -> None:
    """Everything, in batches of all sizes."""
    while len(chain.records) < records:
        small_history(chain, store)
        chain.append(store, lambda: chain.group(40))
        chain.append(store, lambda: [chain.put() for _ in range(90)])


def test_rows_that_come_while_a_line_is_erased_hold(tmp_path: Path) -> None:
    path, chain = tmp_path / "memory.lmdb", Chain()
    with opened(path, chain) as store:
        many(chain, store, 1200)
        whole = [n for n, record in enumerate(chain.records) if isinstance(record, PutRecord)]
        # One in the first row, and one that no row has yet but will have before it is finished.
        gone = whole[3], whole[-1]
        erasing = store.erase({n: {0} for n in gone})
        many(chain, store, 2400)
        erasing.write()
        chain.append(store, lambda: [chain.put() for _ in range(90)])
        erasing.finish()
        chain.append(store, lambda: [chain.put() for _ in range(600)])
    left = [record.erased({0}) if n in gone else record for n, record in enumerate(chain.records)]
    kept = row_numbers(path)
    assert 0 not in kept
    with opened(path, chain) as store:
        assert contents(store) == left
        assert all_contexts(store, len(left)) == contexts_of(left)
        # What was in two rows was parsed, and the last ones, which fill none.
        assert 0 < store.recovery.replayed < 3 * rows.ROW_RECORDS + 200
    assert set(kept) < set(row_numbers(path))
    with opened(path, chain) as store:
        assert store.recovery.replayed < rows.ROW_RECORDS + 200
        assert contents(store) == left
