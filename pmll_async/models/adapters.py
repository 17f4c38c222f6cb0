"""Overlays as PEFT's LoRA adapters: saved with where they came from, loaded on their base alone.

A folder has what PEFT itself reads, `adapter_model.safetensors` and `adapter_config.json`, and
beside it `pmll_overlay.json`: the base model, the lines of memory, and the hashes of both files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pmll_async.errors import InvalidInputError, LineErasedError, LineNotFoundError
from pmll_async.lattice import Lattice
from pmll_async.models.language import name_of
from pmll_async.models.standing import Reason, fallen
from pmll_async.models.targets import base_of, fingerprint_of
from pmll_async.models.work import computed
from pmll_async.text.memory import TextMemory
from pmll_async.values.anchors import ROOT_ANCHOR

try:
    from peft import LoraConfig, PeftModel, get_peft_model_state_dict
except ImportError as exc:
    raise ImportError("peft missing: pip install 'pmll-async[models]'", name="peft") from exc

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
RECORD: Final = "pmll_overlay.json"
_FORMAT: Final = 1
_BASE: Final = "the base model"
_SHOWN: Final = 8
"""Digits of a fingerprint that a message has, where both models have the same name."""
_PREFIX: Final = "base_model.model."  # before a layer's name in what PEFT saves

Memory: TypeAlias = Lattice | TextMemory
Folder: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class AdapterRecord:
    """Where an adapter came from.

    `base` and `fingerprint` are the model that it adds to, `anchors` the lines that it was made of.
    `head`, `revision` and `digest` (of the whole log) say in which state the lattice was, and
    `made` how it was made.
    """

    base: str
    fingerprint: str
    anchors: tuple[str, ...]
    head: str
    revision: int
    digest: str
    made: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """W + β · B A for some layers of a base model, which itself is left as it is.

    `factors` has for each layer's name A (rank, in) and B (out, rank), float32, and `named` what
    PEFT's configuration says of the base.
    """

    factors: Mapping[str, tuple[Tensor, Tensor]]
    record: AdapterRecord
    named: Mapping[str, str | None]
    beta: float = 1.0

    async def save(self, folder: Folder) -> None:
        """Write a folder that stock PEFT loads; one that is there is replaced."""
        await computed(lambda _: _save(self, Path(folder)))


@dataclass(frozen=True, slots=True)
class AdapterReport:
    """What `verify_adapter` found.

    `fallen` are the lines that stand no more, each with the reason; `changed` what is not as it was
    when the adapter was saved.
    """

    record: AdapterRecord
    fallen: Mapping[str, Reason]
    changed: tuple[str, ...]

    @property
    def stands(self) -> bool:
        """Whether all its lines stand, and nothing has changed."""
        return not self.fallen and not self.changed

    def __str__(self) -> str:
        lines = [f"line {anchor}: {reason}" for anchor, reason in self.fallen.items()]
        return "; ".join([*lines, *(f"changed: {what}" for what in self.changed)]) or "it stands"


async def verify_adapter(
    folder: Folder, memory: Memory, *, model: nn.Module | None = None, adapter: str = "default"
) -> AdapterReport:
    """Whether the lines that an adapter was made of still stand, and its files are as saved.

    With a `model` also whether it is the base, and where PEFT has the adapter on it under that
    name, whether it has these weights. It finds what was mixed up: whoever can write the folder
    can write all of it anew. `InvalidInputError` if the folder has no overlay.
    """
    lattice = lattice_of(memory)
    record, changed = await computed(lambda _: _checked(Path(folder), model, adapter))
    if not await _is_of(lattice, record):
        changed.append("the lattice")
    return AdapterReport(record, await fallen(lattice, record.anchors), tuple(changed))


async def load_overlay(
    folder: Folder, model: nn.Module, *, memory: Memory | None = None, adapter: str = "default"
) -> PeftModel:
    """PEFT's model with an adapter on it, or one more on a model that PEFT has wrapped.

    `InvalidInputError`, before anything is loaded, for another base model, for files that are not
    as they were saved, and with a `memory` for lines that stand no more.
    """
    record, changed = await computed(lambda _: _checked(Path(folder), model, adapter))
    if _BASE in changed:
        own = (await computed(lambda _: fingerprint_of(model)))[:_SHOWN]
        raise InvalidInputError(
            f"the adapter in {folder} is for {record.base} ({record.fingerprint[:_SHOWN]}), and "
            f"not for {name_of(base_of(model))} ({own})"
        )
    if changed:
        what = " and ".join(changed)
        raise InvalidInputError(f"{what} of {folder}: not as it was saved; make the adapter anew")
    if memory is not None:
        check_standing(await fallen(lattice_of(memory), record.anchors))
    return await computed(lambda _: _loaded(Path(folder), model, adapter))


def lattice_of(memory: Memory) -> Lattice:
    """The lattice of a text memory, or the lattice itself."""
    return memory.lattice if isinstance(memory, TextMemory) else memory


def check_standing(gone: Mapping[str, Reason]) -> None:
    """`InvalidInputError` with the lines that stand no more."""
    if gone:
        named = ", ".join(f"{anchor} ({reason})" for anchor, reason in gone.items())
        raise InvalidInputError(f"lines that stand no more: {named}; make the adapter of others")


def _save(overlay: Overlay, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Without its record a folder that is half written is no overlay.
    (folder / RECORD).unlink(missing_ok=True)
    tensors = {}
    for name, (first, second) in overlay.factors.items():
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = first.contiguous()
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = second.contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    _config(overlay).save_pretrained(str(folder))
    told = {
        "format": _FORMAT,
        **asdict(overlay.record),
        "files": {name: _hash(folder / name) for name in (WEIGHTS, CONFIG)},
    }
    new = folder / f"{RECORD}.new"
    new.write_text(json.dumps({**told, "hash": _told_hash(told)}, indent=2), encoding="utf-8")
    new.replace(folder / RECORD)


def _config(overlay: Overlay) -> LoraConfig:
    rank = len(next(iter(overlay.factors.values()))[0])
    return LoraConfig(
        r=rank,
        lora_alpha=overlay.beta * rank,
        target_modules=sorted(overlay.factors),
        **overlay.named,
        inference_mode=True,
    )


def _checked(
    folder: Path, model: nn.Module | None, adapter: str
) -> tuple[AdapterRecord, list[str]]:
    """The record in a folder, and what is not as it says."""
    try:
        told = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        kept = {each.name: told[each.name] for each in fields(AdapterRecord)}
        record = AdapterRecord(**{**kept, "anchors": tuple(kept["anchors"])})
        files, seal, form = told["files"], told.pop("hash"), told["format"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise InvalidInputError(f"{folder} has no overlay with its {RECORD}: {exc}") from exc
    if form != _FORMAT:
        raise InvalidInputError(f"{folder} has format {form}: read it by a newer release")
    changed = [] if seal == _told_hash(told) else [RECORD]
    changed += [name for name in (WEIGHTS, CONFIG) if files.get(name) != _hash(folder / name)]
    if model is not None and fingerprint_of(model) != record.fingerprint:
        changed.append(_BASE)
    if isinstance(model, PeftModel) and adapter in model.peft_config and WEIGHTS not in changed:
        changed += [] if _has_weights(model, adapter, folder) else ["the loaded weights"]
    return record, changed


def _has_weights(model: PeftModel, adapter: str, folder: Path) -> bool:
    """Whether the adapter of this name on the model is that of the folder."""
    saved = load_file(folder / WEIGHTS)
    loaded = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
    return saved.keys() == loaded.keys() and all(
        torch.equal(saved[name], loaded[name].float().cpu()) for name in saved
    )


async def _is_of(lattice: Lattice, record: AdapterRecord) -> bool:
    """Whether the lattice can have been in the state that the record tells of."""
    if lattice.revision <= record.revision:
        return (lattice.revision, lattice.digest) == (record.revision, record.digest)
    try:
        await lattice.get(record.head)
    except LineErasedError:
        return True
    except LineNotFoundError:
        return record.head == ROOT_ANCHOR
    return True


def _loaded(folder: Path, model: nn.Module, adapter: str) -> PeftModel:
    if isinstance(model, PeftModel):
        model.load_adapter(str(folder), adapter_name=adapter)
        return model
    return PeftModel.from_pretrained(model, str(folder), adapter_name=adapter)


def _hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _told_hash(told: Mapping[str, Any]) -> str:
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
