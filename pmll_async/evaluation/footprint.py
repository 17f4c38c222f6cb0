"""What the same facts take: as KV cache of a prompt, and as lines of a lattice."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

import numpy as np

from pmll_async.evaluation.answers import Asked, Examiner, K, Progress, spoken
from pmll_async.evaluation.measures import Estimate, estimates
from pmll_async.evaluation.smollm import Reader
from pmll_async.evaluation.village import Conversation
from pmll_async.models.work import Stop, computed
from pmll_async.text import TextMemory, Utterance

WINDOWS: Final = 512, 1024
"""Newest tokens of the conversation: a seventh of the whole, and twice that."""
_OFTEN: Final = 50


@dataclass(frozen=True, slots=True)
class Kept:
    """A way to keep a conversation, and what keys and values of the prompt take as float32.

    `cache` is the mean over questions, in bytes; with 16 bits a number it is half of that.
    """

    name: str
    tokens: float
    cache: float
    nll: Estimate


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of the lattice: of its folder, and in memory once it was opened and asked.

    `resident` has room for some thousand lines more, so that `resident_line` is what a line takes
    where that is used: of the same conversation told fifty times.
    """

    lines: int
    disk: int
    resident: int
    resident_line: float
    kept: tuple[Kept, ...]


async def footprint(
    reader: Reader,
    told: Conversation,
    folder: Path,
    alpha: float,
    *,
    seed: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> Footprint:
    """Ask with the whole conversation in the prompt, with its end, and with recalled lines.

    `folder` is that of a text memory of the conversation, which nobody has open; `alpha` is the
    strength of the bias beside recalled lines.
    """
    kept = []
    async with TextMemory.open(folder) as memory:
        examiner = await Examiner.of(reader, memory, told, seed)
        asked = [await examiner.asked(question) for question in told.reported]
    ways = _ways(examiner, told, asked)
    for done, (name, (strength, shown)) in enumerate(ways.items()):
        progress(done, len(ways))
        read = partial(_read, examiner, asked, shown, strength * alpha)
        kept.append(_kept(name, await computed(read), seed))
    question = told.reported[0].text
    with TemporaryDirectory(prefix="pmll-eval-") as other:
        once = await _allocated(Path(other) / "once", told.lines, question)
        often = await _allocated(Path(other) / "often", told.lines * _OFTEN, question)
    return Footprint(
        lines=len(told.lines),
        disk=_size(folder),
        resident=once,
        resident_line=often / (len(told.lines) * _OFTEN),
        kept=tuple(kept),
    )


Way: TypeAlias = tuple[float, list[list[int]]]
"""How much of α, and the tokens of lines that a prompt has for each question."""


def _ways(examiner: Examiner, told: Conversation, asked: Sequence[Asked]) -> dict[str, Way]:
    whole = examiner.encoded(map(spoken, told.lines))
    recalled = [examiner.encoded(each.lines["recalled"]) for each in asked]
    windows = {f"window, {size} tokens": whole[-size:] for size in WINDOWS}
    same = {"full context": whole, **windows, "no memory": []}
    ways: dict[str, Way] = {name: (0.0, [shown] * len(asked)) for name, shown in same.items()}
    return ways | {
        f"{K} recalled lines": (0.0, recalled),
        f"{K} recalled lines and bias": (1.0, recalled),
    }


def _read(
    examiner: Examiner, asked: Sequence[Asked], lines: Sequence[list[int]], alpha: float, stop: Stop
) -> list[tuple[float, float, float]]:
    """NLL of the answer, tokens of the prompt and bytes of its cache, for each question."""
    found = []
    for each, shown in zip(asked, lines, strict=True):
        rows = [alpha * each.biases["recalled"].rows]
        (loss,) = examiner.losses(shown, each.question, rows, stop)
        prompt = examiner.prompt(shown, each.question)
        examiner.reader.logits(prompt, len(prompt), stop)
        found.append((loss, float(len(prompt)), float(examiner.reader.cache_bytes)))
    return found


def _kept(name: str, found: Sequence[tuple[float, float, float]], seed: int) -> Kept:
    losses, tokens, sizes = zip(*found, strict=True)
    (nll,) = estimates(np.array(losses)[:, None], seed)
    return Kept(name, fmean(tokens), fmean(sizes), nll)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def _allocated(folder: Path, lines: Sequence[Utterance], question: str) -> int:
    """What Python and numpy hold for a memory of these lines that was opened and asked."""
    async with TextMemory.open(folder) as memory:
        await memory.remember_many(lines)
        await memory.recall(question, K)
    gc.collect()
    tracemalloc.start()
    try:
        async with TextMemory.open(folder) as memory:
            await memory.recall(question, K)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
