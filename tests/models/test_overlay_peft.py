"""What stock PEFT does with overlays: load, merge, disable, scale, and several at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from model_support import CHARACTERS, llama, torch
from overlay_support import (
    FACT,
    IDS,
    OLDER_NAME,
    OTHER,
    attention,
    fitted,
    fresh,
    logits,
    peft,
    texts,
)

from pmll_async import InvalidInputError
from pmll_async.models import LogitsBias, bias_for, load_overlay, sample, untie
from pmll_async.models.language import states_of

pytestmark = OLDER_NAME


@pytest.fixture(params=["nano", "llama"])
def base(request: pytest.FixtureRequest) -> Callable[[], Any]:
    return fresh if request.param == "nano" else llama


# --- what PEFT does with them --------------------------------------------------------------------


@pytest.mark.parametrize("layers", ["head", "attention"])
async def test_stock_peft_loads_what_was_fitted(
    base: Callable[[], Any], layers: str, tmp_path: Path
) -> None:
    model = base()
    targets = None if layers == "head" else attention(model)
    overlay = await fitted(model, tmp_path, targets=targets, rate=5e-2)
    before = logits(model)
    loaded = peft.PeftModel.from_pretrained(base(), tmp_path)
    assert not torch.allclose(logits(loaded), before, atol=1e-3)
    with loaded.disable_adapter():
        assert torch.equal(logits(loaded), before)
    if layers == "head":
        [(first, second)] = overlay.factors.values()
        hidden = states_of(model, IDS[:16], window=16).hidden
        torch.testing.assert_close(logits(loaded), before + hidden @ first.T @ second.T)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "pmll_overlay.json",
    ]


async def test_it_is_merged_unmerged_and_scaled(base: Callable[[], Any], tmp_path: Path) -> None:
    await fitted(base(), tmp_path, rate=5e-2)
    model = peft.PeftModel.from_pretrained(base(), tmp_path)
    without, overlaid = logits(base()), logits(model)
    model.merge_adapter()
    torch.testing.assert_close(logits(model), overlaid)
    model.unmerge_adapter()
    torch.testing.assert_close(logits(model), overlaid)
    with peft.helpers.rescale_adapter_scale(model, 0.5):
        torch.testing.assert_close(logits(model), (without + overlaid) / 2)
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits(merged), overlaid)
    assert not hasattr(merged, "peft_config")


async def test_beta_scales_what_is_saved(tmp_path: Path) -> None:
    overlay = await fitted(fresh(), tmp_path / "one", rate=5e-2)
    halved = replace(overlay, beta=0.5)
    await halved.save(tmp_path / "half")
    one, half = (
        logits(peft.PeftModel.from_pretrained(fresh(), tmp_path / name)) for name in ("one", "half")
    )
    torch.testing.assert_close(half, (one + logits(fresh())) / 2)


async def test_several_are_on_one_model(tmp_path: Path) -> None:
    for name, line in (("vega", FACT), ("sato", OTHER)):
        await fitted(fresh(), tmp_path / name, line=line, rate=5e-2)
    without = logits(fresh())
    alone = [
        logits(await load_overlay(tmp_path / name, fresh())) - without for name in ("vega", "sato")
    ]
    model = await load_overlay(tmp_path / "vega", fresh(), adapter="vega")
    assert await load_overlay(tmp_path / "sato", model, adapter="sato") is model
    torch.testing.assert_close(logits(model) - without, alone[0])
    model.base_model.set_adapter(["vega", "sato"])
    torch.testing.assert_close(logits(model) - without, sum(alone))
    model.delete_adapter("vega")
    torch.testing.assert_close(logits(model) - without, alone[1])


async def test_what_else_takes_a_model_takes_one_that_is_overlaid(tmp_path: Path) -> None:
    await fitted(fresh(), tmp_path, rate=5e-2, steps=100, kl_weight=0)
    model = await load_overlay(tmp_path, fresh())
    async with texts() as memory:
        await memory.remember(OTHER)
        bias = await bias_for(memory, "Sato", CHARACTERS, model)
        processor = LogitsBias(bias, alpha=0.1, model=model)
        said = [
            await sample(each, IDS[:8], 20, window=16, processors=[processor])
            for each in (model, model.merge_and_unload(), fresh())
        ]
    assert said[0] == said[1] != said[2]


async def test_saved_again_by_peft_it_is_the_same(tmp_path: Path) -> None:
    await fitted(fresh(), tmp_path / "one", rate=5e-2)
    model = peft.PeftModel.from_pretrained(fresh(), tmp_path / "one")
    model.save_pretrained(tmp_path / "two", save_embedding_layers=False)
    again = peft.PeftModel.from_pretrained(fresh(), tmp_path / "two")
    assert torch.equal(logits(again), logits(model))


# --- tied embeddings -----------------------------------------------------------------------------


async def test_a_head_that_is_the_embedding_is_refused_until_it_is_untied(tmp_path: Path) -> None:
    tied = llama(tie_word_embeddings=True)
    with pytest.raises(InvalidInputError, match=r"lm_head of Llama.*embed_tokens.*untie\(model\)"):
        await fitted(tied, tmp_path)
    before = logits(tied)
    untie(tied)
    assert torch.equal(logits(tied), before)
    assert tied.config.tie_word_embeddings is False
    embedding = tied.get_input_embeddings().weight.clone()
    await fitted(tied, tmp_path, rate=5e-2)
    merged = peft.PeftModel.from_pretrained(tied, tmp_path).merge_and_unload()
    assert torch.equal(merged.get_input_embeddings().weight, embedding)
    assert not torch.equal(merged.get_output_embeddings().weight, embedding)


def test_why_a_tied_head_is_refused() -> None:
    """What PEFT does: a merge changes the embedding, too. Once it does not, `untie` can go."""
    tied = llama(tie_word_embeddings=True)
    before = tied.get_input_embeddings().weight.clone()
    config = peft.LoraConfig(r=1, target_modules=["lm_head"], init_lora_weights=False)
    with pytest.warns(UserWarning, match="tie_word_embeddings"):
        peft.get_peft_model(tied, config).merge_adapter()
    assert not torch.equal(tied.get_input_embeddings().weight, before)
