"""While a model computes the loop goes on, and a cancelled call stops it."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from model_support import CHARACTERS, TINY, llama, taught, text_of_the_library, torch

from pmll_async import Concert, Lattice
from pmll_async.models import (
    Bias,
    KnnMemory,
    LogitsBias,
    NanoConfig,
    NanoGPT,
    bias_for,
    corrections,
    fit_overlay,
    generate,
    overlay_from_bias,
    sample,
    train,
    verify_adapter,
    vocabulary_bias,
)
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory

IDS = text_of_the_library()
PATIENCE = 120.0
"""Seconds; transformers takes its time to load what generates, on a machine that is busy."""


def lattice(**options: Any) -> Lattice:
    return Lattice(MemoryStore(), dim=16, concert=Concert.cosine(), **options)


class Watched(NanoGPT):
    """Notes in which thread it computes, and can be made to take long."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(TINY, seed=1)
        self.load_state_dict(taught().state_dict())
        self.threads: set[str] = set()
        self.calls, self._seconds = 0, seconds
        self.called = threading.Event()

    def forward(self, ids: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        self.calls += 1
        self.called.set()
        time.sleep(self._seconds)
        return super().forward(ids)


async def use_everything(model: Any, folder: Path) -> None:
    await train(model, IDS, steps=3)
    await sample(model, IDS[:5], 3, window=16)
    async with lattice(value_dim=0) as memory:
        knn = KnnMemory(memory, model, window=16)
        await knn.remember(IDS[:40])
        await knn.score(IDS[:40])
        await knn.sample(IDS[:5], 2)
    async with lattice(value_dim=97) as memory:
        await memory.put_many(await corrections(model, IDS[:40], window=16))
        await bias_for(memory, "open", CHARACTERS, model)
        bias = vocabulary_bias(torch.zeros(97), model)
        key = torch.zeros(16)
        shown: Any = {"window": 16, "replay": IDS[:40]}
        await overlay_from_bias(memory, [memory.head], key, bias, model, **shown)
    async with TextMemory.open(folder / "memory") as texts:
        await texts.remember("the code is 4711")
        await bias_for(texts, "the code", CHARACTERS, model)
        lines = await texts.recent(1)
        overlay = await fit_overlay(texts, lines, CHARACTERS, model, steps=3, **shown)
        await overlay.save(folder / "overlay")
        assert (await verify_adapter(folder / "overlay", texts, model=model)).stands


async def test_nothing_is_computed_on_the_loop(tmp_path: Path) -> None:
    model = Watched()
    await use_everything(model, tmp_path)
    assert model.calls > 10
    assert model.threads == {"pmll-model"}


async def of_train(model: Watched) -> None:
    await train(model, IDS, steps=10_000)


async def of_sample(model: Watched) -> None:
    await sample(model, IDS[:3], 10_000, window=16)


async def of_score(model: Watched) -> None:
    async with lattice(value_dim=0) as memory:
        await KnnMemory(memory, model, window=16).score(IDS)


async def of_remember(model: Watched) -> None:
    async with lattice(value_dim=0) as memory:
        await KnnMemory(memory, model, window=16).remember(IDS)


async def of_corrections(model: Watched) -> None:
    await corrections(model, IDS, window=16)


async def of_fit_overlay(model: Watched) -> None:
    async with lattice() as memory, TextMemory(memory, HashingEmbedder(16)) as texts:
        await texts.remember("the code is 4711")
        lines = await texts.recent(1)
        await fit_overlay(
            texts, lines, CHARACTERS, model, replay=IDS, window=16, steps=10_000, batch=1
        )


async def of_overlay_from_bias(model: Watched) -> None:
    bias = vocabulary_bias(torch.zeros(97), model)
    async with lattice(value_dim=97) as memory:
        anchor = await memory.put(torch.ones(16).numpy(), bias.rows[0].numpy())
        await overlay_from_bias(
            memory, [anchor], torch.ones(16), bias, model, replay=IDS, window=16
        )


async def of_generate(model: Watched) -> None:
    big = llama()
    big.register_forward_pre_hook(lambda *_: model(torch.tensor([[1]])) and None)
    await generate(big, torch.tensor([[1]]), max_new_tokens=10_000)


@pytest.mark.parametrize(
    "work",
    [
        of_train,
        of_sample,
        of_score,
        of_remember,
        of_corrections,
        of_generate,
        of_fit_overlay,
        of_overlay_from_bias,
    ],
)
async def test_a_cancelled_call_stops_within_a_second(
    work: Callable[[Watched], Awaitable[None]],
) -> None:
    model = Watched(seconds=0.02)
    task = asyncio.ensure_future(work(model))
    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(model.called.wait, PATIENCE)
    cancelled = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while any(thread.name == "pmll-model" for thread in threading.enumerate()):
        assert time.monotonic() - cancelled < 4  # a second, on an idle machine
        await asyncio.sleep(0.001)
    assert model.calls < 200


@asynccontextmanager
async def ticker() -> AsyncIterator[list[float]]:
    """What the loop's thread computed between two ticks of a millisecond, in seconds.

    No other process on the machine adds to that; a model that computed there would.
    """
    spent: list[float] = []

    async def tick() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            spent.append(time.thread_time() - before)

    task = asyncio.create_task(tick())
    try:
        yield spent
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_loop_ticks_while_models_compute(tmp_path: Path) -> None:
    model = NanoGPT(NanoConfig(dim=16, layers=1, heads=2, window=16))
    row = torch.zeros(97)
    async with ticker() as spent:
        await use_everything(model, tmp_path)
        bias = LogitsBias(Bias(row), alpha=1.0)
        await generate(llama(), torch.tensor([[1]]), logits_processor=[bias], max_new_tokens=20)
        await train(model, IDS, steps=100)
    # 20 ms, with the usual room.
    assert sorted(spent)[-3] < 4 * 0.020
    assert len(spent) > 100


def test_training_loads_no_compiler() -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1])\n"
    program += "import torch; from pmll_async.models import NanoConfig, NanoGPT\n"
    program += "from pmll_async.models.nano import trained\n"
    program += (
        "trained(NanoGPT(NanoConfig(dim=8, layers=1, heads=1, window=4)), [1] * 9, steps=2)\n"
    )
    program += "print('torch._dynamo' in sys.modules)"
    import subprocess

    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", program, root]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
