"""Runs of a controller with trivial steps, over a lattice as shipped."""

from __future__ import annotations

import importlib
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

_DIM = 64
_KEYS = 8_192


@runtime_checkable
class SupportsRuns(Protocol):
    """`run` returns when a run of that many cycles is over; `commits` makes what it would commit.

    `stopped` makes a run that fails in its last cycle, and `resume` ends it. `hits` asks working
    memory that often for what is there.
    """

    async def run(self, cycles: int) -> None: ...

    async def commits(self, cycles: int) -> None: ...

    async def stopped(self, cycles: int) -> None: ...

    async def resume(self) -> None: ...

    async def hits(self, count: int) -> None: ...


class OurRuns:
    """A plan, one act and a verdict; `stopped` writes without waiting for the disk."""

    name: ClassVar[str] = "pmll-async"
    requires: ClassVar[tuple[str, ...]] = ("pmll_async", "controllers")
    capacity: ClassVar[int] = 1_000_000
    lists: ClassVar[bool] = False
    imports: ClassVar[str] = "import controllers"
    caveat: ClassVar[str] = ""

    async def open(self, folder: Path) -> None:
        self._pmll = importlib.import_module("pmll_async")
        self._controllers = importlib.import_module("controllers")
        self._folder = folder
        # Lines of one key would be a case of its own: each is compared with each, exactly.
        self._keys = np.random.default_rng(7).normal(size=(_KEYS, _DIM)).astype("f4")
        self._acts = count()
        self._controllers_made: dict[int, Any] = {}
        self._lattice: Any = await self._pmll.Lattice.open(folder, dim=_DIM)

    async def close(self) -> None:
        await self._lattice.aclose()

    async def run(self, cycles: int) -> None:
        # An application makes its controller once, too.
        made = self._controllers_made.get(cycles)
        if made is None:
            made = self._controllers_made[cycles] = self._controller(cycles)
        await made.run("go")

    async def commits(self, cycles: int) -> None:
        lattice = self._lattice
        for cycle in range(cycles):
            facts = {"run": "0" * 32, "cycle": cycle, "attempt": 0, "status": "done"}

            async def act(_view: Any, facts: Any = facts) -> Any:
                return self._pmll.Candidate(key=self._key(), context={"facts": facts})

            await lattice.note({"text": "plan", "data": cycle, "facts": facts})
            await lattice.race([act])
            await lattice.note({"text": "on", "facts": facts})

    async def stopped(self, cycles: int) -> None:
        folder = self._folder / "stopped"
        async with self._pmll.Lattice.open(folder, dim=_DIM, sync="os") as lattice:
            try:
                await self._controller(cycles, lattice, stops=True).run("go", run_id="stopped")
            except InterruptedError:
                return

    async def resume(self) -> None:
        async with self._pmll.Lattice.open(
            self._folder / "stopped", dim=_DIM, sync="os"
        ) as lattice:
            await self._controller(1, lattice).resume("stopped")

    async def hits(self, count: int) -> None:
        once = self._lattice.working.once

        async def made() -> int:
            return 1

        for _ in range(count):
            await once("key", made)

    def _key(self) -> Any:
        return self._keys[next(self._acts) % _KEYS]

    def _controller(self, cycles: int, lattice: Any = None, *, stops: bool = False) -> Any:
        c, candidate = self._controllers, self._pmll.Candidate

        async def plan(ctx: Any) -> Any:
            return c.Plan("plan", ctx.cycle)

        async def act(_ctx: Any, _plan: Any) -> Any:
            return candidate(key=self._key())

        async def reflect(ctx: Any, _outcome: Any) -> Any:
            if ctx.cycle < cycles - 1:
                return c.Continue("on")
            if stops:
                raise InterruptedError
            return c.Done("there")

        memory = self._lattice if lattice is None else lattice
        return c.RTMController(
            memory, plan=plan, act=[act], reflect=reflect, max_cycles=10 * cycles + 10_000
        )
