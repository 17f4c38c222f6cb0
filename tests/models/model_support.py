"""Models small enough for tests; without torch the tests that need them are skipped."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch missing: pip install 'pmll-async[models]'")
transformers: Any = pytest.importorskip(
    "transformers", reason="transformers missing: pip install 'pmll-async[models]'"
)

from torch import Tensor, nn

from pmll_async.models import Characters, NanoConfig, NanoGPT, library_text
from pmll_async.models.nano import trained

VOCABULARY = len(Characters())
CHARACTERS = Characters()
TINY = NanoConfig(dim=16, layers=1, heads=2, window=16)


def text_of_the_library(length: int = 20_000) -> list[int]:
    return CHARACTERS.encode("\n".join(library_text())[:length])


@cache
def taught() -> NanoGPT:
    """A model that has learned a little."""
    return trained(NanoGPT(TINY, seed=1), text_of_the_library(), steps=60, rate=1e-2)


def llama(vocabulary: int = VOCABULARY, **options: Any) -> Any:
    """A model of transformers with weights of its own."""
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        **{"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0, **options},
    )
    return transformers.LlamaForCausalLM(config).eval()


class Stub(nn.Module):
    """`forward(ids)` gives logits, as nanochat's GPT does, and nothing else is known of it."""

    def __init__(self, vocabulary: int = VOCABULARY) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.wte = nn.Embedding(vocabulary, 8)
        self.lm_head = nn.Linear(8, vocabulary, bias=False)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(generator=generator)
        self.eval()

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> Tensor:
        """Logits that a cap has bent, as some models do behind their head."""
        return 15 * torch.tanh(self.lm_head(self.wte(idx)) / 15)
