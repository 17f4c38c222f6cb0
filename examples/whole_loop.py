"""The whole loop: what a model thinks asks a memory, which steers what it says and is remembered.

Run it with ``python examples/whole_loop.py``; it needs ``pip install
'pmll-async[models,lmdb,faiss]'``. It takes a minute; a number behind it is of steps of training.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_model, save_model

from controllers import Continue, Done, Failed, Outcome, Plan, RTMController, StepContext
from pmll_async import Candidate, Concert, Lattice
from pmll_async.indexes.faiss import FaissIndex
from pmll_async.models import (
    Characters,
    HiddenRefresh,
    LogitsBias,
    NanoGPT,
    bias_for,
    corrections,
    library_text,
    load_overlay,
    overlay_from_bias,
    sample,
    train,
    vocabulary_bias,
)
from pmll_async.stores.lmdb import LmdbStore

TOKENS, WINDOW, SAID = Characters(), 64, 5
TEXT = TOKENS.encode("\n".join(library_text()))
CODES = {"Vega": "4711", "Lyra": "2046", "Mira": "9035"}
FACT = {"stage": "fact"}


@dataclass
class Mind:
    """One model as it was trained, and one whose head an overlay changes."""

    plain: Any
    overlaid: Any


def plan(ctx: StepContext[Mind]) -> Plan:
    """The next house that is asked for."""
    return Plan(f"The code of house {list(CODES)[ctx.cycle]} is ")


async def with_bias(ctx: StepContext[Mind], plan: Plan) -> Candidate:
    """The memory steers the model at its logits."""
    return await said(ctx.deps.plain, ctx, plan.text, alpha=8.0)


async def with_overlay(ctx: StepContext[Mind], plan: Plan) -> Candidate:
    """It is in the weights as well, so that less is needed at the logits."""
    return await said(ctx.deps.overlaid, ctx, plan.text, alpha=4.0)


async def said(model: Any, ctx: StepContext[Mind], prompt: str, alpha: float) -> Candidate:
    """What a model says, asking the memory at each token, and how sure it is of it."""
    ids = TOKENS.encode(prompt)
    bias = await bias_for(ctx.view, prompt, TOKENS, model, k=1, where=FACT)
    with HiddenRefresh(ctx.view, model, every=1, k=1, where=FACT) as refresh:
        steer = LogitsBias(bias, alpha=alpha, model=model, refresh=refresh)
        more = await sample(model, ids, SAID, window=WINDOW, processors=[steer], temperature=0)
    thoughts = await corrections(model, [*ids, *more], window=WINDOW)
    [known] = await ctx.view.query(thoughts[-1].key, 1, where=FACT)
    x, y = thoughts[len(ids) - 1].key, thoughts[len(ids) - 1].value
    context = {"said": TOKENS.decode(more)}
    return Candidate(key=x, value=y, context=context, confidence=known.similarity)


async def reflect(ctx: StepContext[Mind], outcome: Outcome) -> Continue | Done:
    """Remember the thought x and what came of it, y: once, whatever happens."""
    if isinstance(outcome, Failed):
        return Done(str(outcome))
    if ctx.cycle == 1 and not ctx.resumed:
        os.kill(os.getpid(), signal.SIGKILL)  # the power goes, the process dies, …
    x, y, text = outcome.winner.key, outcome.winner.value, outcome.winner.context["said"]
    reflected = {"stage": "reflect", "text": f"{ctx.plan.text}{text}"}
    await ctx.memory.put(x, y, reflected, idempotency_key=ctx.idempotency_key)
    return Done() if ctx.cycle + 1 == len(CODES) else Continue()


async def learn(folder: Path, lattice: Lattice, model: NanoGPT) -> None:
    """Put what a few lines would have changed of the model, and make an overlay of it."""
    for house, code in CODES.items():
        ids = TOKENS.encode(f"The code of house {house} is {code}.")
        await lattice.put_many(await corrections(model, ids, window=WINDOW, context=FACT))
    lines = [line async for line in lattice.rewind(where=FACT)]
    overlay = await overlay_from_bias(
        lattice,
        [line.anchor for line in lines],
        np.array([line.key for line in lines]),
        vocabulary_bias(np.array([line.value for line in lines]), model),
        model,
        replay=TEXT[:4000],
        window=WINDOW,
        alpha=4.0,
        rank=16,
    )
    await overlay.save(folder / "overlay")


async def main(folder: Path, steps: int = 0) -> None:
    """Train and begin where a number of steps is given, else go on."""
    plain, other, weights = NanoGPT(), NanoGPT(), folder / "nano.safetensors"
    if steps:
        save_model(await train(plain, TEXT, steps=steps), str(weights))
    load_model(plain, weights)
    load_model(other, weights)
    async with Lattice(
        LmdbStore(folder / "memory.lmdb"),
        dim=plain.config.dim,
        value_dim=len(TOKENS),
        index=FaissIndex(),
        concert=Concert.cosine(),
    ) as lattice:
        if steps:
            await learn(folder, lattice, plain)
        mind = Mind(plain, await load_overlay(folder / "overlay", other, memory=lattice))
        acts = [with_bias, with_overlay]
        controller = RTMController(lattice, plan=plan, act=acts, reflect=reflect)
        if steps:
            await controller.run("say the codes", mind, run_id="codes")
        result = await controller.resume("codes", mind)
        print(f"{result.status}; what was thought:")
        async for line in lattice.rewind(where={"stage": "reflect"}):
            print(line.context["text"])


if __name__ == "__main__":
    if len(sys.argv) > 2:
        asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
    with tempfile.TemporaryDirectory() as directory:
        child = [sys.executable, __file__, directory, (sys.argv[1:] or ["300"])[0]]
        killed = subprocess.run(child, check=False)  # noqa: S603  # itself
        print(f"the first process ended with {killed.returncode}")
        asyncio.run(main(Path(directory)))
