"""The world outside the agent: effects in a file, and the places where a kill may come.

What the steps do is set by the environment, so that every library's agent stays the same:

EFFECTS     the file that effects are appended to; without it the steps do nothing, for timing.
PAUSE       seconds that a step sleeps before its effect, and again after it.
KILL_AT     "before-charge", "after-charge", "before-mail" or "after-mail": SIGKILL to itself there.
KILL_DELAY  seconds that it waits there first.
"""

from __future__ import annotations

import asyncio
import os
import signal


def decide(goal: str) -> int:
    """The amount that a goal asks for."""
    return len(goal)


async def effect(name: str, run: str) -> None:
    """Appends `name run` to the effects' file and returns once the disk has it."""
    if (file := os.environ.get("EFFECTS")) is None:
        return
    pause = float(os.environ.get("PAUSE", "0"))
    await _killed_at(f"before-{name}")
    await asyncio.sleep(pause)
    _append(file, f"{name} {run}\n")
    await _killed_at(f"after-{name}")
    await asyncio.sleep(pause)


async def _killed_at(place: str) -> None:
    if os.environ.get("KILL_AT") == place:
        if delay := float(os.environ.get("KILL_DELAY", "0")):
            await asyncio.sleep(delay)
        os.kill(os.getpid(), signal.SIGKILL)


def _append(file: str, line: str) -> None:
    descriptor = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
