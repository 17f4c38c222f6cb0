"""A conversation and a few beliefs, written for these tests."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

HARBOUR: Final = Path(__file__).with_name("harbour.json")
REAL_DATA: Final = "PMLL_EVAL_DATA"


def harbour() -> Any:
    """The samples of the conversation's file, to change and `write`."""
    return json.loads(HARBOUR.read_text(encoding="utf-8"))


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def real(path: str) -> Path:
    """A file or folder of the real data sets."""
    folder = os.environ.get(REAL_DATA)
    if folder is None or not (Path(folder) / path).exists():
        pytest.skip(f"{REAL_DATA} names no folder with the data set {path}")
    return Path(folder) / path


def belief(name: str, content: str, **more: object) -> dict[str, object]:
    return {
        "_id": name,
        "user_id": "test-user",
        "type": "preference",
        "canonical_name": name,
        "aliases": [],
        "content": content,
        "scope": ["domain:garden"],
        "pinned": False,
        "last_reinforced_at": "2026-03-01T00:00:00Z",
        "resolved_at": None,
        "superseded_by": None,
    } | more


BELIEFS: Final = [
    belief("manner", "Prefers short answers.", scope=["user:universal"], pinned=True),
    belief("tomatoes", "Grows tomatoes in pots on the balcony.", aliases=["Solanum"]),
    belief("compost", "Keeps a worm box for compost in the cellar."),
    belief("tools", "Always sharpens the pruning knife first.", pinned=True),
    belief(
        "fertiliser",
        "Bought blue fertiliser.",
        superseded_by="nettles",
        last_reinforced_at="2026-01-01T00:00:00Z",
    ),
    belief(
        "guano",
        "Ordered guano from Peru.",
        superseded_by="nettles",
        last_reinforced_at="2026-02-01T00:00:00Z",
    ),
    belief("nettles", "Brews nettle manure and buys nothing."),
    belief("hedge", "Beech or hornbeam?", type="open_question", pinned=True),
    belief("shed", "Which shed?", type="open_question", resolved_at="2026-02-01T00:00:00Z"),
    belief("feeding", "Tomatoes get nettle manure.", type="relation", participants=["nettles"]),
    belief("engine", "The engine needs tomatoes of oil.", scope=["domain:boat"]),
    belief("secret", "Hates tomatoes.", user_id="other-user"),
]


def case(name: str, query: str, expect: dict[str, object], **more: object) -> dict[str, object]:
    return {
        "caseId": name,
        "category": "Gardening",
        "description": "",
        "scope": ["domain:garden"],
        "query": query,
        "expect": expect,
    } | more


def write_beliefs(
    folder: Path, cases: list[dict[str, object]], beliefs: list[dict[str, object]] | None = None
) -> Path:
    chosen = copy.deepcopy(BELIEFS if beliefs is None else beliefs)
    write(folder / "beliefs.seed.json", chosen)
    write(folder / "retrieval.cases.json", cases)
    return folder
