"""A memory in a model's weights: `W_eff = W_base + beta * low_rank(delta)`, and taken back.

Run it with ``python examples/overlay.py``; it needs ``pip install 'pmll-async[models]'``. It trains
a small model first, for a minute or two; numbers behind it are steps of training, and of fitting.
"""

import asyncio
import sys
import tempfile

import torch
from peft.helpers import rescale_adapter_scale

import pmll_async.models as models
from pmll_async.text import TextMemory

STEPS, FITTED = map(int, sys.argv[1:]) if len(sys.argv) > 1 else (600, 200)
FACT, TOKENS = "The code of the shed is 4711.", models.Characters()
TOPICS = models.library_text()
OTHER, LEARNED = "\n".join(TOPICS[:8])[:6400], TOKENS.encode("\n".join(TOPICS[8:]))


def losses(model: torch.nn.Module) -> str:
    """The mean NLL of a character of the line and of other text, in nats."""
    means = []
    for text in (FACT, OTHER):
        parts = torch.tensor(TOKENS.encode(text)).split(64)
        with torch.no_grad():
            each = [torch.nn.functional.cross_entropy(model(p[None, :-1])[0], p[1:]) for p in parts]
        means.append(float(torch.stack(each).mean()))
    return f"line {means[0]:.2f}, other text {means[1]:.2f}"


async def main(folder: str) -> None:
    """Fit a line into an adapter, use it by PEFT's own means, and forget the line."""
    model = await models.train(models.NanoGPT(), LEARNED, steps=STEPS)
    place = f"{folder}/adapter"
    async with TextMemory.open(f"{folder}/memory") as memory:
        await memory.remember(FACT)
        lines = await memory.recall("What is the code of the shed?", k=1)
        print(f"Without it: {losses(model)}")
        overlay = await models.fit_overlay(
            memory, lines, TOKENS, model, replay=LEARNED, window=64, steps=FITTED
        )
        await overlay.save(place)
        overlaid = await models.load_overlay(place, model, memory=memory)
        for beta in (0.5, 1.0):
            with rescale_adapter_scale(overlaid, beta):
                print(f"Beta {beta}:   {losses(overlaid)}")
        print(f"Its lines:  {await models.verify_adapter(place, memory)}")
        await memory.forget(lines[0].anchor)
        print(f"Forgotten:  {await models.verify_adapter(place, memory)}")
        print(f"Unloaded:   {losses(overlaid.unload())}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
