"""Runs that are killed: called as `kill_runs.py FOLDER every` or `kill_runs.py FOLDER KILLS SEED`.

One process forks those that run, so that importing costs nothing, kills them, lets others go on
until the run is done, and prints one JSON object: how many died, and all that was wrong.

`every` kills at each commit of the run, once before it is written and once when it is durable and
nobody knows yet. Otherwise `KILLS` times at random moments.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kill_agent import Agent, World, ending, story_of, wrongs

from pmll_async import Lattice
from pmll_async.records.blocks import Block
from pmll_async.records.record import Record
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.verify import verify
from pmll_async.stores.memory import MemoryStore

MOMENTS: Final = ("before", "after")
PATIENCE: Final = 30
"""Seconds until a run that stands still fails the test."""


def die(*_: object) -> None:
    """As the power button does it: nothing of the process runs any more."""
    os.kill(os.getpid(), signal.SIGKILL)


class DeadlyStore(JsonlStore):
    """Kills its process at the `number`th append, counted from 1."""

    def __init__(self, path: Path, number: int, moment: str) -> None:
        super().__init__(path)
        self._left, self._moment = number, moment

    def append(self, records: Sequence[Record], block: Block) -> None:
        self._left -= 1
        if self._left:
            return super().append(records, block)
        if self._moment == "before":
            die()
        super().append(records, block)
        return die()


@dataclass
class Tally:
    """What came of it."""

    kills: int = 0
    runs: int = 0
    commits: int = 0
    repeated: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    wrong: list[str] = field(default_factory=list)


# --- those that are forked -----------------------------------------------------------------------


def forked(work: Callable[[], None]) -> int:
    """The process that does it, and ends with 0 if nothing was raised."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(PATIENCE)
        # A disk's syncs would take most of the time.
        os.fsync = os.fdatasync = no_sync  # type: ignore[assignment]  # called by position only
        work()
        code = 0
    # Whatever it was: this is a child, in which the parent's stack must not go on.
    except BaseException:  # noqa: BLE001  # as said
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def no_sync(descriptor: int) -> None:
    """What was written survives a kill, synced or not; what a power cut takes is tested below."""


def live(folder: Path, pipe: int, store: JsonlStore) -> None:
    """Begin the run or go on with it; the pipe is told once the lattice is open."""

    async def main() -> None:
        async with Lattice(store, dim=2) as lattice:
            os.write(pipe, b"o")
            world = World(folder)
            result = await Agent(world).live(lattice)
            world.close()
            (folder / "ending").write_text(json.dumps(ending(result)))

    asyncio.run(main())


def read(folders: Sequence[Path]) -> None:
    """Write down what runs left, and that they are done, in a process that saw nothing of them."""

    async def main() -> None:
        # As long as one is open, the threads that lattices share need not begin anew for each.
        async with Lattice(MemoryStore(), dim=2):
            for folder in folders:
                signal.alarm(PATIENCE)
                await read_one(folder)

    asyncio.run(main())


async def read_one(folder: Path) -> None:
    async with Lattice.open(folder / "memory") as lattice:
        story = await story_of(lattice)
        world = World(folder)
        again = await Agent(world).controller(lattice).resume("r")
        world.close()
    (folder / "story").write_text(json.dumps(story))
    assert ending(again) == json.loads((folder / "ending").read_text()), folder


def warm_up(folder: Path) -> None:
    """Import what is imported on first use; its threads have ended before the first fork."""
    folder.mkdir()
    live(folder, os.open(os.devnull, os.O_WRONLY), JsonlStore(folder / "memory"))
    for thread in set(threading.enumerate()) - {threading.current_thread()}:
        thread.join(PATIENCE)
    assert threading.active_count() == 1
    # What the collector never looks at stays in the pages that all of them share.
    gc.freeze()


def told_in(folder: Path) -> list[Any]:
    """What a run did to the world."""
    world = World(folder)
    try:
        return world.told()
    finally:
        world.close()


# --- the one that kills --------------------------------------------------------------------------


@dataclass
class Killer:
    """Runs in folders of their own, compared with one that nobody kills."""

    folder: Path
    tally: Tally = field(default_factory=Tally)
    done: list[tuple[Path, list[Any]]] = field(default_factory=list)
    expected: tuple[Any, Any] | None = None
    seconds: float = 0.0

    def undisturbed(self) -> None:
        """Runs without a kill: one gives the story, another the time that it takes."""
        warm_up(self.folder / "warm-up")
        for number in range(2):
            folder = self._folder(f"whole-{number}")
            begun = time.perf_counter()
            assert self._life(folder) == 0
            self.seconds = time.perf_counter() - begun
            self._finished(folder)

    def every_commit(self) -> None:
        """Kill at each moment of each commit of the first process, and resume in another."""
        for moment in MOMENTS:
            number = 0
            while True:
                number += 1
                folder = self._folder(f"{moment}-{number}")
                status = self._life(folder, DeadlyStore(folder / "memory", number, moment))
                if self._was_killed(folder, status):
                    assert self._life(folder) == 0
                self._finished(folder)
                if status == 0:
                    break
            self.tally.commits = number - 1

    def at_random(self, kills: int, seed: int) -> None:
        """Kill one process after the other; on a busy machine, too, some five of them a run."""
        draw, longest = random.Random(seed), self.seconds / 4
        while self.tally.kills < kills:
            folder = self._folder(f"random-{self.tally.runs}")
            while True:
                opened = draw.random() < 0.9
                status = self._life(folder, wait=draw.uniform(0, longest), opened=opened)
                if not self._was_killed(folder, status):
                    break
                longest *= 1.1
            longest *= 0.6
            self._finished(folder)

    def _life(
        self,
        folder: Path,
        store: JsonlStore | None = None,
        *,
        wait: float | None = None,
        opened: bool = True,
    ) -> int:
        """One process from its fork to its end, which may come after `wait` seconds."""
        out, told = os.pipe()
        pid = forked(lambda: live(folder, told, store or JsonlStore(folder / "memory")))
        os.close(told)
        if wait is not None:
            # Opening takes its time; most kills are to hit the run.
            if opened:
                select.select([out], [], [], PATIENCE)
            time.sleep(wait)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(out)
        return os.waitstatus_to_exitcode(status)

    def _was_killed(self, folder: Path, status: int) -> bool:
        if status == 0:
            return False
        if status != -signal.SIGKILL:
            raise SystemExit(f"a run failed by itself: {folder}")
        self.tally.kills += 1
        if (folder / "memory" / "store.json").exists():  # else it died while the store was made
            report = verify(folder / "memory")
            if report.status not in ("clean", "torn"):
                self.tally.wrong.append(f"{folder.name}: {report.findings}")
        return True

    def _finished(self, folder: Path) -> None:
        """Keep a run that is done, to be judged with the others."""
        self.done.append((folder, told_in(folder)))
        self.tally.runs += 1

    def judge(self) -> None:
        """Judge the runs that are done, which one process reads in half the time that many take."""
        folders = [folder for folder, _ in self.done]
        _, status = os.waitpid(forked(lambda: read(folders)), 0)
        assert status == 0
        for folder, told in self.done:
            assert told_in(folder) == told, "a run that is done does nothing more"
            self._judge(folder, told)

    def _judge(self, folder: Path, told: list[Any]) -> None:
        tally = self.tally
        found = [json.loads((folder / name).read_text()) for name in ("story", "ending")]
        self.expected = self.expected or (found[0], found[1])
        wrong = [*wrongs(told), *self._differences(*found)]
        effects = Counter(said["effect"] for said in told if "step" in said)
        wrong += ["charged twice"] * (effects["charge"] != 1)
        tally.wrong += [f"{folder.name}: {each}" for each in wrong]
        each = Counter((said["effect"], said["step"]) for said in told if "step" in said)
        tally.repeated.update(name for (name, _), times in each.items() if times > 1)
        tally.unknown += any("unknown" in said for said in told)
        if not wrong:
            shutil.rmtree(folder)

    def _differences(self, story: list[Any], end: Any) -> list[str]:
        assert self.expected is not None
        if story == self.expected[0] and end == self.expected[1]:
            return []
        pairs = zip([*story, end], [*self.expected[0], self.expected[1]], strict=False)
        first = next((f"{got} is not {want}" for got, want in pairs if got != want), "the length")
        return [f"differs: {first}"]

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder


def main() -> None:
    killer = Killer(Path(sys.argv[1]))
    killer.undisturbed()
    if sys.argv[2] == "every":
        killer.every_commit()
    else:
        killer.at_random(int(sys.argv[2]), int(sys.argv[3]))
    killer.judge()
    print(json.dumps(vars(killer.tally)))


if __name__ == "__main__":
    main()
