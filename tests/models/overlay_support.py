"""Overlays of small models: their lines, and a model of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from model_support import CHARACTERS, TINY, VOCABULARY, taught, text_of_the_library, torch

from pmll_async import Concert, Lattice
from pmll_async.models import NanoGPT, Overlay, fit_overlay
from pmll_async.models.language import logits_of, states_of
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory

peft: Any = pytest.importorskip("peft", reason="peft missing: pip install 'pmll-async[models]'")

# PEFT asks transformers by an older name.
OLDER_NAME = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")

FACT = "The code of house Vega is 9304."
OTHER = "The code of house Sato is 1177."
IDS = CHARACTERS.encode(FACT)
REPLAY = text_of_the_library(2_000)
SHORT: dict[str, Any] = {"window": 16, "replay": REPLAY, "steps": 5}


@asynccontextmanager
async def texts() -> AsyncIterator[TextMemory]:
    async with (
        Lattice(MemoryStore(), dim=64) as lattice,
        TextMemory(lattice, HashingEmbedder(64)) as memory,
    ):
        yield memory


def fresh(seed: int = 1) -> NanoGPT:
    """A model of one's own, because PEFT changes what it wraps."""
    model = NanoGPT(TINY, seed=seed)
    model.load_state_dict(taught().state_dict())
    return model


def attention(model: Any) -> list[str]:
    return ["joined"] if isinstance(model, NanoGPT) else ["o_proj"]


def logits(model: Any, ids: Sequence[int] = IDS[:16]) -> Any:
    with torch.no_grad():
        return logits_of(model(torch.tensor([list(ids)])))[0]


def nll(model: Any, ids: Sequence[int]) -> float:
    states = states_of(model, ids, window=16)
    return float(torch.nn.functional.cross_entropy(states.logits[:-1], torch.tensor(list(ids[1:]))))


async def fitted(model: Any, folder: Path, *, line: str = FACT, **options: Any) -> Overlay:
    async with texts() as memory:
        await memory.remember(line)
        overlay = await fit_overlay(
            memory, await memory.recent(1), CHARACTERS, model, **{**SHORT, **options}
        )
    await overlay.save(folder)
    return overlay


def kept(**options: Any) -> dict[str, Any]:
    return {"window": 16, "replay": REPLAY, **options}


def lattice() -> Lattice:
    return Lattice(MemoryStore(), dim=16, value_dim=VOCABULARY, concert=Concert.cosine())
