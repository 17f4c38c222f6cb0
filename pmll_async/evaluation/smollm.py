"""A reader of text that keeps its KV cache, and SmolLM2-135M-Instruct in it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from pmll_async.models.generation import Processor
from pmll_async.models.work import Stop

_TOGETHER: Final = 512
"""Tokens that go through the model at once: a second, behind which it is looked who still waits."""


class Reader:
    """A causal model of transformers, its tokenizer, and the KV cache of what it has read last.

    A text that begins as the one before is read on from where they part.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._cache = DynamicCache(config=model.config)
        # Transformers 5 has changed the name under which a model takes it.
        parameters = inspect.signature(type(model).forward).parameters
        self._name = "cache" if "cache" in parameters else "past_key_values"
        self._read: list[int] = []

    def encode(self, text: str) -> list[int]:
        """The tokens of a part of a text."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    @classmethod
    def load(cls, path: Path) -> Reader:
        """The model in a GGUF file, in 32 bits."""
        place: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **place)
        model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **place)
        return cls(model, tokenizer)

    @property
    def cache_bytes(self) -> int:
        """What keys and values of all that was read last take, as the tensors say."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._cache.layers)

    def logits(self, ids: Sequence[int], behind: int, stop: Stop) -> Tensor:
        """What it says behind the first `behind` tokens, and behind each more: (n, vocabulary)."""
        kept = min(_shared(self._read, ids), behind - 1)
        # A negative number in every version of transformers; what a 0 does is not the same in all.
        if kept < len(self._read):
            self._cache.crop(kept - len(self._read))
        del self._read[kept:]
        found = []
        while len(self._read) < len(ids):
            stop.check()
            start = len(self._read)
            part = list(ids[start : start + _TOGETHER])
            wanted = max(1, start + len(part) - behind + 1)
            with torch.no_grad():
                given = self.model(
                    torch.tensor([part]),
                    use_cache=True,
                    logits_to_keep=wanted,
                    **{self._name: self._cache},
                )
            self._read += part
            found.append(given.logits[0, -wanted:].float())
        return torch.cat(found)[-(len(ids) - behind + 1) :]

    def scores(self, prompt: Sequence[int], answer: Sequence[int], stop: Stop) -> Tensor:
        """The logits (n, vocabulary) from which each token of an answer is drawn."""
        return self.logits([*prompt, *answer], len(prompt), stop)[:-1]

    def answer(self, prompt: Sequence[int], bias: Processor, most: int, stop: Stop) -> str:
        """The likeliest token each time, up to the end of the text or of the line."""
        said: list[int] = []
        while len(said) < most:
            text = [*prompt, *said]
            scores = self.logits(text, len(text), stop)
            token = int(bias(torch.tensor([text]), scores).argmax())
            if token == self.tokenizer.eos_token_id or "\n" in self.tokenizer.decode([token]):
                break
            said.append(token)
        return str(self.tokenizer.decode(said))


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
