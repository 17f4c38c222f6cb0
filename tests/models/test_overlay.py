"""Overlays: made of biases in closed form, and fitted to recalled lines."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_support import CHARACTERS, TINY, VOCABULARY, llama, text_of_the_library, torch
from overlay_support import (
    IDS,
    OLDER_NAME,
    REPLAY,
    attention,
    fitted,
    fresh,
    kept,
    lattice,
    logits,
    nll,
)

from pmll_async import Lattice
from pmll_async.models import (
    NanoGPT,
    Overlay,
    corrections,
    load_overlay,
    overlay_from_bias,
    verify_adapter,
    vocabulary_bias,
)
from pmll_async.models.language import states_of

pytestmark = OLDER_NAME

# --- in closed form ------------------------------------------------------------------------------


async def of_corrections(model: Any, memory: Lattice, **options: Any) -> Overlay:
    await memory.put_many(await corrections(model, IDS, window=16))
    lines = [line async for line in memory.rewind()]
    return await overlay_from_bias(
        memory,
        [line.anchor for line in lines],
        np.stack([line.key for line in lines]),
        vocabulary_bias(np.stack([line.value for line in lines]), model),
        model,
        **kept(**options),
    )


async def test_one_bias_is_added_where_it_was_thought_of(tmp_path: Path) -> None:
    model, row = fresh(), np.zeros(VOCABULARY)
    row[41] = 1
    state = states_of(model, IDS[:16], window=16).hidden[-1].numpy()
    async with lattice() as memory:
        anchor = await memory.put(state, row)
        overlay = await overlay_from_bias(
            memory,
            [anchor],
            state,
            vocabulary_bias(row, model),
            model,
            **kept(rank=1, alpha=2, replay_weight=0),
        )
        await overlay.save(tmp_path)
        loaded = await load_overlay(tmp_path, fresh(), memory=memory)
    added = (logits(loaded) - logits(model))[-1]
    assert added[41] == pytest.approx(2, rel=0.01)
    assert added.abs().sum() == pytest.approx(2, rel=0.01)


async def test_of_one_rank_it_is_the_best() -> None:
    """Against descent from many points: no ΔW of this rank is nearer to what was asked for."""
    model = fresh()
    async with lattice() as memory:
        overlay = await of_corrections(model, memory, rank=2)
        lines = [line async for line in memory.rewind()]
    keys = torch.tensor(np.stack([line.key for line in lines])).double()
    wanted = torch.tensor(np.stack([line.value for line in lines])).double()
    others = states_of(model, REPLAY, window=16).hidden.double()

    def missed(change: Any) -> Any:
        near = ((keys @ change.T - wanted) ** 2).sum(1).mean()
        return near + ((others @ change.T) ** 2).sum(1).mean() + ridge * (change**2).sum()

    metric = keys.T @ keys / len(keys) + others.T @ others / len(others)
    ridge = 1e-3 * metric.diagonal().mean()
    [(first, second)] = overlay.factors.values()
    best = missed(second.double() @ first.double())
    assert best < missed(torch.zeros(VOCABULARY, 16).double())
    generator = torch.Generator().manual_seed(2)
    for size in (1e-3, 1e-2, 1e-1):
        for _ in range(20):
            moved = [
                part.double() + size * torch.randn(part.shape, generator=generator).double()
                for part in (second, first)
            ]
            assert missed(moved[0] @ moved[1]) > best


async def test_corrections_become_weights_that_know_the_line(tmp_path: Path) -> None:
    model = fresh()
    async with lattice() as memory:
        overlay = await of_corrections(model, memory, rank=8, alpha=4)
        await overlay.save(tmp_path)
        assert (await verify_adapter(tmp_path, memory)).stands
    loaded = await load_overlay(tmp_path, fresh())
    assert nll(loaded, IDS) < nll(model, IDS) - 0.2
    assert nll(loaded, REPLAY) < nll(model, REPLAY) + 0.2


# --- fitted --------------------------------------------------------------------------------------


async def test_kl_keeps_what_the_model_said_elsewhere(tmp_path: Path) -> None:
    other = text_of_the_library(6_000)[4_000:]
    found = {}
    for weight in (0.0, 3.0):
        folder = tmp_path / str(weight)
        await fitted(fresh(), folder, kl_weight=weight, steps=150, rate=5e-2)
        model = await load_overlay(folder, fresh())
        found[weight] = nll(fresh(), IDS) - nll(model, IDS), nll(model, other) - nll(fresh(), other)
    (gain_without, harm_without), (gain, harm) = found[0.0], found[3.0]
    assert gain_without > gain > 0.2
    assert harm_without > 0.5
    assert harm < 0.1


async def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    one, same, other = [
        (await fitted(fresh(), tmp_path, seed=seed)).factors["head"] for seed in (0, 0, 1)
    ]
    assert all(torch.equal(*pair) for pair in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize("base", [fresh, llama])
async def test_nothing_of_it_leaks_into_the_base(base: Callable[[], Any], tmp_path: Path) -> None:
    model = base()
    before = {name: part.clone() for name, part in model.state_dict().items()}
    for targets in (None, attention(model)):
        await fitted(model, tmp_path, targets=targets)
    assert all(torch.equal(part, before[name]) for name, part in model.state_dict().items())
    assert model.state_dict().keys() == before.keys()
    assert all(each.grad is None and each.requires_grad for each in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


async def test_others_use_the_base_meanwhile(tmp_path: Path) -> None:
    """The overlay that is being fitted is seen in its own thread alone."""
    model, seen = fresh(), []
    before = logits(model)

    def told(step: int, loss: float, kl: float) -> None:
        seen.append((step, loss, kl))

    class Watching(NanoGPT):
        """Asks the model elsewhere, while it is overlaid here."""

        def forward(self, ids: Any) -> Any:
            if len(seen) == 3 and self.head._forward_hooks and not asked:
                asked.append(1)
                with ThreadPoolExecutor(1) as pool:
                    assert torch.equal(pool.submit(logits, self).result(), before)
            return super().forward(ids)

    asked: list[int] = []
    watching = Watching(TINY)
    watching.load_state_dict(model.state_dict())
    await fitted(watching, tmp_path, rate=5e-2, told=told)
    assert asked == [1]
    assert [step for step, _, _ in seen] == [0, 1, 2, 3, 4]
    assert seen[0][2] == 0


async def test_lines_longer_than_the_window_are_learned_whole(tmp_path: Path) -> None:
    line = "".join(chr(97 + number % 26) for number in range(40))
    await fitted(fresh(), tmp_path, line=line, steps=150, rate=5e-2)
    model, ids = await load_overlay(tmp_path, fresh()), CHARACTERS.encode(line)
    for part in (ids[:16], ids[-16:]):
        assert nll(model, part) < nll(fresh(), part) - 0.3
