"""A fresh process for a measurement: `reopen SUBJECT FOLDER` or `write SUBJECT FOLDER COUNT`."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from benchmarks import data
from benchmarks.subjects import FILLED_AS, SupportsPut, SupportsQuery, own_process, subject_class

WRITERS = 8
# Far beyond every stored line, so that what a killed writer leaves is new.
FIRST_WRITTEN = 50_000_000


def resident() -> int:
    """Resident bytes of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def use_blas() -> None:
    """Lets BLAS take the buffers that any first product takes."""
    keys = np.ones((4_096, data.DIM), np.float32)
    assert (keys @ keys[0]).any()
    assert (keys[:256] @ keys[:256].T).any()


async def reopen(name: str, folder: Path) -> None:
    """Opens, asks once, and prints what that took."""
    own_process(name)
    subject = subject_class(name)()
    exec(subject.imports, {})
    # What a library imports when it first opens something is an import, too.
    with TemporaryDirectory() as other:
        # A reader has nothing to open there.
        first = subject_class(FILLED_AS.get(name, name))()
        await first.open(Path(other))
        await first.close()
    vector = data.queries(1)[0]
    use_blas()
    gc.collect()
    before = resident()
    start = time.perf_counter()
    await subject.open(folder)
    found = await cast(SupportsQuery, subject).query(vector, 5)
    seconds = time.perf_counter() - start
    gc.collect()
    grown = resident() - before
    await subject.close()
    assert found, "the reopened store answered nothing"
    print(json.dumps({"seconds": seconds, "resident": grown}))


async def write(name: str, folder: Path, count: int) -> None:
    """Puts for ever; says so once `count` lines are acknowledged, and waits to be killed."""
    subject = subject_class(name)()
    await subject.open(folder)
    numbers = itertools.count(FIRST_WRITTEN)

    async def writer() -> None:
        for number in numbers:
            await cast(SupportsPut, subject).put(data.line(number))
            if number == FIRST_WRITTEN + count:
                print("writing", flush=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(writer())


def main(arguments: list[str]) -> None:
    match arguments:
        case ["reopen", name, folder]:
            asyncio.run(reopen(name, Path(folder)))
        case ["write", name, folder, count]:
            asyncio.run(write(name, Path(folder), int(count)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
