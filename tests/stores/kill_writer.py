"""Writers that are killed: run as `kill_writer.py FOLDER CYCLES SEED`.

One process forks a writer for each cycle, so that importing costs nothing, kills it at a random
moment, and prints one JSON object at the end: how many records were acknowledged and found.
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import signal
import struct
import sys
import time
from pathlib import Path

from make_records import Chain

from pmll_async.protocols import Store
from pmll_async.records.changes import RollbackRecord
from pmll_async.stores.choice import is_lmdb, store_at
from pmll_async.stores.jsonl import JsonlStore

KILLS = int(os.environ.get("PMLL_TEST_KILLS", "50"))
"""Writers that a test has killed."""
_NUMBER = struct.Struct("<q")
OPTIONS = {"segment_bytes": 20_000, "cache_records": 16}


def make_store(path: Path, sync: str = "group") -> Store:
    """An LMDB store for a path that ends so, else a JSONL store of small files."""
    return store_at(path) if is_lmdb(path) else JsonlStore(path, sync=sync, **OPTIONS)


def resume(store: Store, chain: Chain) -> int:
    """Load the store and let the chain go on where it ends; returns the records found."""
    store.open(chain.header, chain.hasher)
    for block in store.load():
        chain.digest = block.digest
    records = store.recovery.records
    chain.records = [None] * records
    chain.heads = [chain.heads[0]] * (records + 1)
    if records:
        last = store.read(records - 1)
        assert not isinstance(last, RollbackRecord)
        chain.heads[-1] = last.lines[0].anchor
    return records


def write_for_ever(path: Path, seed: int, pipe: int, sync: str = "group") -> None:
    """Tell the pipe the records found, then after each append how many there are."""
    rng = random.Random(seed)
    chain = Chain(dim=8, seed=seed)
    store = make_store(path, sync)
    os.write(pipe, _NUMBER.pack(resume(store, chain)))
    while True:
        size = rng.choice([1, 1, 2, 7])
        chain.append(store, lambda n=size: chain.group(n))
        os.write(pipe, _NUMBER.pack(len(chain.records)))


def numbers(pipe: int) -> list[int]:
    """What the other end told before it went."""
    told = b""
    while chunk := os.read(pipe, 1 << 16):
        told += chunk
    whole = len(told) // _NUMBER.size * _NUMBER.size
    return [number for (number,) in _NUMBER.iter_unpack(told[:whole])]


def cycle(path: Path, rng: random.Random) -> list[int]:
    """Start a writer, kill it, and return what it told: records found, then acknowledged."""
    out, told = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(out)
            write_for_ever(path, rng.randrange(1 << 30), told)
        finally:
            os._exit(1)
    os.close(told)
    if rng.random() < 0.8:
        # Recovery takes its time: wait until it is over, and kill some time after.
        select.select([out], [], [], 10)
    time.sleep(rng.uniform(0, 0.012))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    seen = numbers(out)
    os.close(out)
    if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        raise SystemExit("a writer failed by itself")
    return seen


def main() -> None:
    path, cycles, rng = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    acknowledged, lost, wrote = 0, 0, 0
    # What the collector never looks at stays in the pages that all writers share.
    gc.freeze()
    for _ in range(cycles):
        seen = cycle(path, rng)
        if seen:
            lost += seen[0] < acknowledged
            acknowledged = max(acknowledged, *seen)
            wrote += len(seen) > 1
    print(json.dumps({"acknowledged": acknowledged, "lost": lost, "wrote": wrote}))


if __name__ == "__main__":
    main()
