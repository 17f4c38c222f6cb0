"""Where an overlay came from: its lines, its base, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_support import CHARACTERS, TINY, VOCABULARY, llama, torch
from overlay_support import (
    FACT,
    OLDER_NAME,
    OTHER,
    SHORT,
    fitted,
    fresh,
    kept,
    lattice,
    texts,
)

from pmll_async import Candidate, InvalidInputError, InvalidVectorError
from pmll_async.models import (
    NanoGPT,
    fit_overlay,
    load_overlay,
    overlay_from_bias,
    verify_adapter,
    vocabulary_bias,
)
from pmll_async.text import TextMemory

pytestmark = OLDER_NAME

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
            assert (await changed(model=fresh())) == (name,)
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
    for wrong, match in (
        ({"kl_weight": -1.0}, "weight of replay is 0 or more, not -1"),
        ({"kl_weight": float("nan")}, "weight of replay must be a finite number"),
        ({"rank": 0}, "rank must be a whole number from 1"),
        ({"batch": 0}, "batch must be"),
        ({"steps": 0}, "steps must be"),
    ):
        with pytest.raises(InvalidInputError, match=match):
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
