"""One thread for a library that has no async form, as its users would give it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

Taken = ParamSpec("Taken")
Given = TypeVar("Given")


class OneThread:
    """Runs calls one after the other, off the event loop."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1)

    async def run(
        self, call: Callable[Taken, Given], *args: Taken.args, **named: Taken.kwargs
    ) -> Given:
        """The call's result, made in the thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: call(*args, **named))

    def end(self) -> None:
        """Waits for what runs."""
        self._executor.shutdown()
