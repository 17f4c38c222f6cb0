"""What memory does to a nano GPT: gain on its own text, and harm on other text.

Run it with ``python -m benchmarks.language_models`` (extras `models` and `faiss`), on one core with
``OMP_NUM_THREADS=1``: some minutes. λ and α are chosen on texts that are not evaluated on;
intervals are 95 %, by a bootstrap over blocks of 64 characters.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pmll_async import Concert, Lattice
from pmll_async.indexes.faiss import FaissIndex
from pmll_async.models import (
    Characters,
    KnnMemory,
    NanoGPT,
    Overlay,
    corrections,
    fit_overlay,
    hidden_bias,
    library_text,
    load_overlay,
    overlay_from_bias,
    train,
    vocabulary_bias,
)
from pmll_async.models.language import states_of
from pmll_async.models.nano import nll
from pmll_async.text import TextMemory

WINDOW, BLOCK, DRAWS, TOGETHER = 64, 64, 1000, 64
CODE = "argparse", "inspect", "tarfile", "typing", "pickletools"
CODE_CHOSEN_ON, CODE_TESTED = "shutil", "textwrap"
TOKENS = Characters()
Losses = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """Three parts of one kind of text, of which none has anything of another."""

    name: str
    remembered: list[int]
    chosen_on: list[int]
    tested: list[int]


def reference() -> Source:
    topics = library_text()
    random.Random(0).shuffle(topics)
    tenth = len(topics) // 10
    parts = topics[2 * tenth :], topics[tenth : 2 * tenth], topics[:tenth]
    return Source("reference", *(TOKENS.encode("\n".join(part)) for part in parts))


def code() -> Source:
    def text(*names: str) -> list[int]:
        sources = (inspect.getsource(importlib.import_module(name)) for name in names)
        return TOKENS.encode("\n".join(sources))

    return Source("code", text(*CODE), text(CODE_CHOSEN_ON), text(CODE_TESTED))


def interval(difference: Losses) -> str:
    """The mean of a difference with its interval."""
    blocks = np.array_split(difference, max(1, len(difference) // BLOCK))
    means, sizes = np.array([b.mean() for b in blocks]), np.array([len(b) for b in blocks])
    draws = np.random.default_rng(0).integers(len(blocks), size=(DRAWS, len(blocks)))
    drawn = (means[draws] * sizes[draws]).sum(1) / sizes[draws].sum(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


async def learned(source: Source) -> NanoGPT:
    model = NanoGPT()
    before, wall, work = nll(model, source.tested), time.perf_counter(), time.process_time()
    await train(model, source.remembered)
    wall, work = time.perf_counter() - wall, time.process_time() - work
    after = nll(model, source.tested)
    print(
        f"trained: held-out NLL {before:.2f} -> {after:.2f}, {work:.0f} s of a core, {wall:.0f} s"
    )
    return model


async def measure_knn(model: NanoGPT, sources: list[Source], lines: int, tested: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            place = Path(folder) / source.name
            await knn_of(place, model, source, sources, lines, tested)


async def knn_of(
    place: Path, model: NanoGPT, own: Source, sources: list[Source], lines: int, tested: int
) -> None:
    options: Any = {"concert": Concert.cosine(), "sync": "os"}
    dim = model.config.dim
    async with Lattice.open(place, dim=dim, value_dim=0, novelty_window=256, **options) as lattice:
        began = time.perf_counter()
        stored = await KnnMemory(lattice, model, window=WINDOW).remember(own.remembered[:lines])
        speed = stored / (time.perf_counter() - began)
        print(f"memory of {own.name}: {stored} lines, {speed:.0f} put a second")
        await rate(lattice, model, own, "exact")
        for floor in (-1.0, 0.8):
            knn = KnnMemory(lattice, model, window=WINDOW, min_similarity=floor)
            mix = (await knn.score(own.chosen_on[:tested])).best_mix()
            for source in sources:
                scores = await knn.score(source.tested[:tested])
                change = interval(scores.losses(mix) - scores.losses(0.0))
                print(
                    f"  kNN memory of {own.name}, on {source.name}: {scores.nll(0.0):.3f} -> "
                    f"{scores.nll(mix):.3f} {change}, λ {mix:.2f}, min_similarity {floor}, "
                    f"silent {scores.silent.mean():.0%}"
                )
    async with Lattice.open(place, index=FaissIndex(), **options) as lattice:
        await rate(lattice, model, own, "faiss")


async def rate(lattice: Lattice, model: NanoGPT, source: Source, index: str) -> None:
    states = states_of(model, source.tested[:1024], window=WINDOW).hidden.numpy()
    for start in (0, 512):  # the first half warms up
        began = time.perf_counter()
        for first in range(start, start + 512, TOGETHER):
            asked = states[first : first + TOGETHER]
            await asyncio.gather(*(lattice.query(state, 16) for state in asked))
    print(
        f"  {512 / (time.perf_counter() - began):.0f} queries/s in batches of {TOGETHER}, {index}"
    )


# --- bias ----------------------------------------------------------------------------------------


def facts(count: int, seed: int) -> list[tuple[str, str]]:
    """Lines, and the same said otherwise."""
    draw = random.Random(seed)
    names = ("Lindholm", "Okafor", "Marsh", "Petrov", "Quill", "Sato", "Vega", "Wren")
    found = []
    for number in range(count):
        name, pin = f"{draw.choice(names)}{number}", f"{draw.randrange(10000):04}"
        found.append(
            (f"The code of house {name} is {pin}.\n", f"Enter {name} with the code {pin}.\n")
        )
    return found


def told(sources: list[Source], tested: int) -> dict[str, list[list[int]]]:
    """What a memory of facts is measured on: its own, what is like it, and other text."""
    lines = facts(20, seed=1)
    return {
        "own lines": [TOKENS.encode(own) for own, _ in lines],
        "own facts otherwise": [TOKENS.encode(otherwise) for _, otherwise in lines],
        "lines it has not": [TOKENS.encode(own) for own, _ in facts(20, seed=2)],
        **{source.name: [source.tested[:tested]] for source in sources},
    }


async def measure_bias(model: NanoGPT, texts: dict[str, list[list[int]]]) -> None:
    for form in ("vocabulary", "hidden"):
        for floor in (-1.0, 0.8):
            concert = Concert.cosine().model_copy(update={"floor": floor})
            await bias_of(model, texts, form, concert)


async def bias_of(
    model: NanoGPT, texts: dict[str, list[list[int]]], form: Any, concert: Concert
) -> None:
    size = model.config.vocabulary if form == "vocabulary" else model.config.dim
    with tempfile.TemporaryDirectory() as folder:
        async with Lattice.open(
            folder, dim=model.config.dim, value_dim=size, concert=concert, sync="os"
        ) as lattice:
            for text in texts["own lines"]:
                await lattice.put_many(await corrections(model, text, window=WINDOW, form=form))
            for name, each in texts.items():
                row = [f"  bias, {form}, floor {concert.floor}, on {name}:"]
                for alpha in (1.0, 2.0, 4.0):
                    given = [await biased(lattice, model, text, alpha, form) for text in each]
                    row.append(f"α {alpha:.0f} {interval(np.concatenate(given))}")
                print(*row)


async def biased(
    lattice: Lattice, model: NanoGPT, text: list[int], alpha: float, form: str
) -> Losses:
    """By how much the loss of each character changes."""
    states = states_of(model, text, window=WINDOW)
    came = torch.tensor(text[1:])
    values: list[Any] = []
    for start in range(0, len(text) - 1, TOGETHER):
        asked = states.hidden[:-1].numpy()[start : start + TOGETHER]
        values += await asyncio.gather(*(lattice.bias_vector(state, 4) for state in asked))
    rows = torch.tensor(np.stack(values))
    rows = hidden_bias(rows, model).rows if form == "hidden" else rows
    logits = states.logits[:-1]
    losses = torch.nn.functional.cross_entropy
    changed = losses(logits + alpha * rows, came, reduction="none")
    return (changed - losses(logits, came, reduction="none")).double().numpy()


# --- overlays ------------------------------------------------------------------------------------


async def measure_overlays(
    model: NanoGPT, replay: list[int], texts: dict[str, list[list[int]]]
) -> None:
    """Each is saved, and loaded by PEFT."""
    shown: Any = {"replay": replay, "window": WINDOW}
    with tempfile.TemporaryDirectory() as folder:
        await measure_fitted(folder, model, texts, shown)
        await measure_closed_form(folder, model, texts, shown)


async def measure_fitted(
    folder: str, model: NanoGPT, texts: dict[str, list[list[int]]], shown: Any
) -> None:
    async with TextMemory.open(f"{folder}/texts") as memory:
        for own, _ in facts(20, seed=1):
            await memory.remember(own)
        lines = await memory.recent(20)
        for place, layers in (("head", None), ("attention", ["joined"])):
            for weight in (0.0, 1.0, 3.0, 10.0):
                began = time.process_time()
                overlay = await fit_overlay(
                    memory, lines, TOKENS, model, targets=layers, kl_weight=weight, **shown
                )
                what = f"fitted, {place}, KL weight {weight:.0f}"
                await overlaid(folder, overlay, model, texts, what, began)


async def measure_closed_form(
    folder: str, model: NanoGPT, texts: dict[str, list[list[int]]], shown: Any
) -> None:
    dim, size = model.config.dim, model.config.vocabulary
    async with Lattice.open(f"{folder}/states", dim=dim, value_dim=size, sync="os") as lattice:
        for text in texts["own lines"]:
            await lattice.put_many(await corrections(model, text, window=WINDOW))
        found = [line async for line in lattice.rewind()]
        anchors, keys = [line.anchor for line in found], np.stack([line.key for line in found])
        bias = vocabulary_bias(np.stack([line.value for line in found]), model)
        for weight in (0.0, 1.0, 3.0):
            for rank in (1, 4, 16):
                began, how = time.process_time(), {"rank": rank, "replay_weight": weight}
                overlay = await overlay_from_bias(
                    lattice, anchors, keys, bias, model, alpha=4.0, **how, **shown
                )
                what = f"closed form, rank {rank}, replay weight {weight:.0f}"
                await overlaid(folder, overlay, model, texts, what, began)


async def overlaid(
    folder: str,
    overlay: Overlay,
    model: NanoGPT,
    texts: dict[str, list[list[int]]],
    what: str,
    began: float,
) -> None:
    row = [f"  overlay, {what}, {time.process_time() - began:.0f} s of a core:"]
    await overlay.save(f"{folder}/adapter")
    before = {name: [losses_of(model, text) for text in each] for name, each in texts.items()}
    wrapped = await load_overlay(f"{folder}/adapter", model)
    for name, each in texts.items():
        given = [
            losses_of(wrapped, text) - were for text, were in zip(each, before[name], strict=True)
        ]
        row.append(f"{name} {interval(np.concatenate(given))}")
    wrapped.unload()
    print(*row)


def losses_of(model: torch.nn.Module, text: list[int]) -> Losses:
    logits, came = states_of(model, text, window=WINDOW).logits[:-1], torch.tensor(text[1:])
    return torch.nn.functional.cross_entropy(logits, came, reduction="none").double().numpy()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=40_000)
    parser.add_argument("--tested", type=int, default=3_000)
    asked = parser.parse_args()
    sources = [reference(), code()]
    model = await learned(sources[0])
    texts = told(sources, asked.tested)
    await measure_bias(model, texts)
    await measure_overlays(model, sources[0].remembered[: asked.lines], texts)
    await measure_knn(model, sources, asked.lines, asked.tested)


if __name__ == "__main__":
    asyncio.run(main())
