"""Overlays: made in closed form or fitted, loaded by stock PEFT, and gone with their lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_support import CHARACTERS, TINY, VOCABULARY, llama, taught, text_of_the_library, torch

from pmll_async import Candidate, Concert, InvalidInputError, InvalidVectorError, Lattice
from pmll_async.models import (
    NanoGPT,
    Overlay,
    corrections,
    fit_overlay,
    load_overlay,
    overlay_from_bias,
    untie,
    verify_adapter,
    vocabulary_bias,
)
from pmll_async.models.language import logits_of, states_of
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory

peft: Any = pytest.importorskip("peft", reason="peft missing: pip install 'pmll-async[models]'")

# PEFT asks transformers by an older name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")

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


# --- in closed form ------------------------------------------------------------------------------


def kept(**options: Any) -> dict[str, Any]:
    return {"window": 16, "replay": REPLAY, **options}


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


def lattice() -> Lattice:
    return Lattice(MemoryStore(), dim=16, value_dim=VOCABULARY, concert=Concert.cosine())


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

    from concurrent.futures import ThreadPoolExecutor

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


# --- where it came from --------------------------------------------------------------------------


async def of_forgotten(memory: TextMemory, anchor: str) -> None:
    await memory.forget(anchor)


async def of_erased(memory: TextMemory, anchor: str) -> None:
    await memory.forget(anchor, erase=True)


async def of_revised(memory: TextMemory, anchor: str) -> None:
    await memory.supersede(anchor, "The code of house Vega is 1111.")


async def of_rolled_back(memory: TextMemory, anchor: str) -> None:
    line = await memory.lattice.get(anchor)
    await memory.lattice.rollback(line.prev_anchor)


async def of_quarantined(memory: TextMemory, anchor: str) -> None:
    await memory.lattice.quarantine(anchor)


async def of_revoked(memory: TextMemory, anchor: str) -> None:
    assert anchor
    await memory.lattice.revoke("agent")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (of_forgotten, "forgotten"),
        (of_erased, "erased"),
        (of_revised, "revised"),
        (of_rolled_back, "rolled back"),
        (of_quarantined, "quarantined"),
        (of_revoked, "revoked"),
    ],
)
async def test_a_line_that_stands_no_more_is_named(
    end: Callable[[TextMemory, str], Awaitable[None]], reason: str, tmp_path: Path
) -> None:
    async with texts() as memory:
        stays = await memory.remember(OTHER)
        goes = await memory.as_writer("agent").remember(FACT)
        lines = await memory.recent(2)
        overlay = await fit_overlay(memory, lines, CHARACTERS, fresh(), **SHORT)
        await overlay.save(tmp_path)
        assert (await verify_adapter(tmp_path, memory)).stands
        await load_overlay(tmp_path, fresh(), memory=memory)
        await end(memory, goes.anchor)
        report = await verify_adapter(tmp_path, memory.lattice)
        assert report.fallen == {goes.anchor: reason}
        assert not report.stands
        assert str(report) == f"line {goes.anchor}: {reason}"
        assert set(report.record.anchors) == {stays.anchor, goes.anchor}
        with pytest.raises(InvalidInputError, match=rf"{goes.anchor} \({reason}\)"):
            await load_overlay(tmp_path, fresh(), memory=memory)
        with pytest.raises(InvalidInputError, match=rf"{goes.anchor} \({reason}\)"):
            await fit_overlay(memory, lines, CHARACTERS, fresh(), **SHORT)


async def test_losers_of_races_and_notes_have_their_own_words(tmp_path: Path) -> None:
    row = np.zeros(VOCABULARY)
    async with lattice() as memory:
        keys = np.eye(16)

        async def first(_: Any) -> Candidate:
            return Candidate(key=keys[0], value=row, confidence=0.9)

        async def second(_: Any) -> Candidate:
            return Candidate(key=keys[1], value=row, confidence=0.5)

        outcome = await memory.race([first, second])
        loser = outcome.losers[0].anchor
        bias = vocabulary_bias(row, fresh())
        await overlay_from_bias(memory, [loser], keys[1], bias, fresh(), **kept())
        await memory.decay(loser, 0.01)
        note = await memory.note({"said": "by the way"})
        with pytest.raises(InvalidInputError, match=rf"{loser} \(dropped\), {note} \(a note\)"):
            await overlay_from_bias(memory, [loser, note], keys[1], bias, fresh(), **kept())


async def test_another_lattice_is_told(tmp_path: Path) -> None:
    overlay = await fitted(fresh(), tmp_path)
    [anchor] = overlay.record.anchors
    async with texts() as memory:
        report = await verify_adapter(tmp_path, memory)
        assert report.fallen == {anchor: "unknown"}
        assert report.changed == ("the lattice",)
        await memory.remember(OTHER)
        assert (await verify_adapter(tmp_path, memory)).changed == ("the lattice",)
        await memory.remember(FACT)
        assert (await verify_adapter(tmp_path, memory)).changed == ("the lattice",)


async def test_weights_that_are_not_as_saved_are_told(tmp_path: Path) -> None:
    await fitted(fresh(), tmp_path / "one")
    await fitted(fresh(), tmp_path / "two", seed=1)
    async with texts() as memory:
        await memory.remember(FACT)

        async def changed(**options: Any) -> tuple[str, ...]:
            return (await verify_adapter(tmp_path / "one", memory, **options)).changed[:-1]

        assert await changed() == ()
        model = await load_overlay(tmp_path / "one", fresh())
        assert await changed(model=model) == ()
        with torch.no_grad():
            model.head.lora_B["default"].weight += 1
        assert await changed(model=model) == ("the loaded weights",)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            whole = (tmp_path / "one" / name).read_bytes()
            (tmp_path / "one" / name).write_bytes((tmp_path / "two" / name).read_bytes() + b" ")
            assert await changed() == (name,)
            with pytest.raises(InvalidInputError, match=f"{name} of .* not as it was saved"):
                await load_overlay(tmp_path / "one", fresh())
            (tmp_path / "one" / name).write_bytes(whole)
        place = tmp_path / "one" / "pmll_overlay.json"
        told = json.loads(place.read_text(encoding="utf-8"))
        place.write_text(json.dumps({**told, "anchors": []}), encoding="utf-8")
        assert await changed() == (place.name,)
        place.unlink()
        with pytest.raises(InvalidInputError, match=r"has no overlay with its pmll_overlay\.json"):
            await changed()


# --- what is refused -----------------------------------------------------------------------------


async def test_an_adapter_of_another_base_is_refused_with_both_names(tmp_path: Path) -> None:
    await fitted(fresh(), tmp_path)
    other = llama()
    with pytest.raises(InvalidInputError, match=r"for NanoGPT \(\w{8}\), and not for LlamaForC"):
        await load_overlay(tmp_path, other)
    assert not hasattr(other, "peft_config")
    # The same sizes with other weights are another base.
    with pytest.raises(InvalidInputError, match=r"NanoGPT \(\w{8}\), and not for NanoGPT \("):
        await load_overlay(tmp_path, NanoGPT(TINY, seed=9))
    half = fresh().to(torch.bfloat16)
    assert (await load_overlay(tmp_path, half)).active_adapter == "default"


async def test_without_replay_it_says_why_not(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"replay has 0 tokens.*spoils all it says"):
        await fitted(fresh(), tmp_path, replay=[])
    await fitted(fresh(), tmp_path, replay=[], kl_weight=0)
    for wrong in ({"kl_weight": -1.0}, {"kl_weight": float("nan")}, {"rank": 0}):
        with pytest.raises(InvalidInputError, match="or more, not"):
            await fitted(fresh(), tmp_path, **wrong)


async def test_what_does_not_fit_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    model = fresh()
    for targets, match in (
        (["elsewhere"], "NanoGPT has no layer whose name ends with elsewhere"),
        (["norm"], "norm of NanoGPT is a LayerNorm"),
        ([], "targets names none"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            await fitted(model, tmp_path, targets=targets)
    await fitted(model, tmp_path)
    wrapped = await load_overlay(tmp_path, model)
    with pytest.raises(InvalidInputError, match=r"NanoGPT has adapters already.*unload\(\)"):
        await fitted(model, tmp_path)
    assert await fitted(wrapped.unload(), tmp_path)
    async with texts() as memory:
        with pytest.raises(InvalidInputError, match="there is none: recall some"):
            await fit_overlay(memory, [], CHARACTERS, fresh(), **SHORT)
        await memory.remember("x")
        lines = await memory.recent(1)
        with pytest.raises(InvalidInputError, match="lines of one token"):
            await fit_overlay(memory, lines, CHARACTERS, fresh(), **SHORT)
        with pytest.raises(InvalidInputError, match="characters is not that of model Llama"):
            await fit_overlay(memory, lines, CHARACTERS, llama(50), **SHORT)
        with pytest.raises(InvalidInputError, match="training mode"):
            await fit_overlay(memory, lines, CHARACTERS, fresh().train(), **SHORT)


async def test_states_and_biases_that_do_not_fit_are_refused() -> None:
    model, row = fresh(), np.zeros(VOCABULARY)
    async with lattice() as memory:
        anchor = await memory.put(np.ones(16), row)

        async def made(states: Any, rows: Any, of: Any = model) -> None:
            bias = vocabulary_bias(rows, of)
            await overlay_from_bias(memory, [anchor], states, bias, model, **kept())

        with pytest.raises(
            InvalidVectorError, match=r"states of NanoGPT: shape \(1, 5\).*reads 16"
        ):
            await made(np.ones(5), row)
        with pytest.raises(InvalidVectorError, match=r"\(2, 16\).* has 1 rows"):
            await made(np.ones((2, 16)), row)
        with pytest.raises(InvalidVectorError, match="no finite number"):
            await made(np.full(16, np.nan), row)
        with pytest.raises(
            InvalidInputError, match=r"bias for Llama.* 50 numbers where NanoGPT has 97"
        ):
            await made(np.ones(16), np.zeros(50), llama(50))
