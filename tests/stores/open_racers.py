"""Eight processes that race to open the same store: run as `open_racers.py FOLDER ROUNDS`.

In each round all of them open a folder that is not there yet. Prints, for each round, how many
became its writer, and what the others were told.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from make_records import Chain

from pmll_async.errors import StoreLockedError
from pmll_async.stores.jsonl import JsonlStore

RACERS = 8


def race(folder: Path, rounds: int, barrier: Barrier, results: Any) -> None:
    chain = Chain()
    for number in range(rounds):
        path = folder / f"round-{number}"
        store = JsonlStore(path)
        barrier.wait()
        told = None
        try:
            store.open(chain.header, chain.hasher)
            os.close(os.open(folder / f"owner-{number}", os.O_CREAT | os.O_EXCL))
            list(store.load())
        except StoreLockedError as exc:
            told = (exc.holder.get("pid"), exc.same_process)
        results.put((number, os.getpid(), told))
        barrier.wait()
        store.close()


def main() -> None:
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(RACERS), context.Queue()
    racers = [
        context.Process(target=race, args=(folder, rounds, barrier, results), daemon=True)
        for _ in range(RACERS)
    ]
    for racer in racers:
        racer.start()
    found: dict[int, list[tuple[int, Any]]] = {}
    for _ in range(rounds * RACERS):
        number, pid, told = results.get(timeout=30)
        found.setdefault(number, []).append((pid, told))
    for racer in racers:
        racer.join(30)
    print(json.dumps([found[number] for number in range(rounds)]))


if __name__ == "__main__":
    main()
