"""A memory steers what a model says next: `logits += alpha * pmll.bias_vector(hidden[-1])`.

Run it with ``python examples/logits_bias.py``; it needs ``pip install 'pmll-async[models]'``. It
trains a small model first, for half a minute; a number behind it is how many steps that takes.
"""

import asyncio
import sys
import tempfile

from pmll_async import Concert, Lattice
from pmll_async.models import (
    Characters,
    HiddenRefresh,
    LogitsBias,
    NanoGPT,
    bias_for,
    corrections,
    library_text,
    sample,
    train,
)

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 300
FACT, PROMPT = "The code of the shed is 4711.\n", "The code of the shed is "
TOKENS = Characters()


async def answer(model: NanoGPT, lattice: Lattice) -> str:
    """What the model says behind the prompt, asking the memory at each character."""
    window = model.config.window
    first = await bias_for(lattice, PROMPT, TOKENS, model, k=1)
    with HiddenRefresh(lattice, model, every=1, k=1) as refresh:
        bias = LogitsBias(first, alpha=20.0, model=model, refresh=refresh)
        prompt = TOKENS.encode(PROMPT)
        said = await sample(model, prompt, 5, window=window, processors=[bias], temperature=0)
    return TOKENS.decode(said)


async def main(folder: str) -> None:
    """Ask without a memory, with one, and when it has forgotten."""
    model = await train(NanoGPT(), TOKENS.encode("\n".join(library_text())), steps=STEPS)
    size, alike = model.config, Concert.cosine()  # a state is found by its likeness alone
    async with Lattice.open(
        folder, dim=size.dim, value_dim=size.vocabulary, concert=alike
    ) as lattice:
        print(f"Without a memory: {await answer(model, lattice)!r}")
        learned = await corrections(
            model, TOKENS.encode(FACT), window=size.window, context={"fact": FACT}
        )
        print(f"Remembered {await lattice.put_many(learned)} states.")
        print(f"With it:          {await answer(model, lattice)!r}")
        await lattice.forget_where({"fact": FACT})
        print(f"Forgotten:        {await answer(model, lattice)!r}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
