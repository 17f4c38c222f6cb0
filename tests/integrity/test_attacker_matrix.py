"""The attacker matrix of docs/trust.md: what is found, and what is not, is as the table there says.

The attacker writes every file in the folder, and knows no key; a trust file is out of reach.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from attacks import (
    EDITS,
    SEAL,
    change_format,
    downgrade,
    flip_a_bit,
    random_edit,
    records_of,
    replace_cache,
    replace_leaves,
    rewrite,
    seal_with_another_key,
    strip,
)
from encrypt_support import RAW
from integrity_support import KEY, SEED, fill, lattice_at

from pmll_async import PmllError
from pmll_async.cli.verify import Expected, checked
from pmll_async.integrity import Ed25519Key, MacKey, read_seal, read_trust
from pmll_async.values.anchors import Hasher

# `python -m pytest tests/integrity/test_attacker_matrix.py` with 100000 here is the long campaign.
CAMPAIGN: Final = int(os.environ.get("PMLL_ATTACKS", "1000"))
DOCS: Final = Path(__file__).parent.parent.parent / "docs/trust.md"
SEALED: Final = ("plain seal", "key, no seal", "key and its seal", "signed seal")
MODES: Final = (*SEALED, "encrypted, no seal")
FOUND, UNSEEN, NONE = "found", "not found", "—"


class Store:
    """A sealed store, what its owner verifies it with, a copy of its past, and another store."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.mode = mode
        self.path, self.past, self.other = folder / "memory", folder / "past", folder / "other"
        self.trust = folder / "trust.json"
        self.key = KEY if mode.startswith("key") else None
        self.secret = RAW if mode.startswith("encrypted") else None
        self.signer = Ed25519Key(SEED) if mode == "signed seal" else None

    async def make(self) -> None:
        await self._fill(self.path, self.trust)
        await self._fill(self.other, None)

    async def _fill(self, path: Path, trust: Path | None) -> None:
        options: Any = {"integrity_key": self.key, "secret": self.secret}
        async with lattice_at(path, **options) as lattice:
            await fill(lattice, 6)
            await lattice.seal(signer=self.signer, trust=trust)
        if trust:
            shutil.copytree(path, self.past)
        async with lattice_at(path, **options) as lattice:
            anchors = await fill(lattice, 3, 6)
            await lattice.decay(anchors[0], 0.5)
            await fill(lattice, 2, 9)
            await lattice.seal(signer=self.signer, trust=trust)
        if self.mode.endswith("no seal"):
            for place in (path, self.past):
                strip(place)

    async def _open(self) -> None:
        async with lattice_at(self.path, secret=self.secret):
            pass

    def is_found(self, *, trusted: bool) -> bool:
        """What the owner's verification says; an error is an answer, too."""
        try:
            seal = None if self.mode.endswith("no seal") else read_seal(self.path / SEAL)
            checker = None if self.signer is None else self.signer.checker
            if self.mode == "key and its seal":
                checker = MacKey.of(Hasher(KEY))
            trust = read_trust(self.trust) if trusted else None
            expected = Expected(seal, checker, trust)
            found = checked(self.path, self.key, expected, secret=self.secret)
            if self.secret is not None and found.report.status == "torn":
                # What nothing proves durable is decrypted by the next opening for writing.
                asyncio.run(self._open())
                found = checked(self.path, self.key, expected, secret=self.secret)
            return not found.holds
        except PmllError:
            return True


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a store of each mode, made once; nothing is found while nothing is changed."""
    folders: dict[str, Path] = {}

    def folder_of(mode: str) -> Path:
        if mode not in folders:
            folders[mode] = tmp_path_factory.mktemp("made")
            store = Store(folders[mode], mode)
            asyncio.run(store.make())
            assert not store.is_found(trusted=False)
            assert not store.is_found(trusted=True)
        return folders[mode]

    return folder_of


def splice(store: Store) -> None:
    """Put another store of the same owner, with its own seal, in the place of this one."""
    shutil.rmtree(store.path)
    store.other.rename(store.path)


def roll_back(store: Store) -> None:
    """Put an older copy of the whole folder back."""
    shutil.rmtree(store.path)
    shutil.copytree(store.past, store.path)


def on_path(attack: Callable[[Path], None]) -> Callable[[Store], None]:
    return lambda store: attack(store.path)


ATTACKS: Final[dict[str, Callable[[Store], Any]]] = {
    "flip a bit": lambda store: flip_a_bit(store.path, random.Random(7)),
    **{name: (lambda store, edit=edit: rewrite(store.path, edit)) for name, edit in EDITS.items()},
    "bring back an older copy": roll_back,
    "put another store of yours there": splice,
    "take the seal away": on_path(strip),
    "take the proof away": on_path(downgrade),
    "change the seal's format": on_path(change_format),
    "seal with another key": on_path(seal_with_another_key),
    "replace the cache": on_path(replace_cache),
    "replace the leaves": on_path(replace_leaves),
}


def table() -> dict[str, list[str]]:
    """The table of the page: for each attack what is said for each mode, without and with trust."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    return {name: cells for name, *cells in rows if name in ATTACKS}


def test_the_table_is_whole() -> None:
    assert list(table()) == list(ATTACKS)
    assert {len(cells) for cells in table().values()} == {2 * len(MODES)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_found_where_the_table_says_so(
    made: Callable[[str], Path], tmp_path: Path, attack: str, mode: str
) -> None:
    place = 2 * MODES.index(mode)
    said = table()[attack][place : place + 2]
    store = Store(shutil.copytree(made(mode), tmp_path / "attacked"), mode)
    if said == [NONE, NONE]:
        assert not (store.path / SEAL).exists(), "there is nothing to attack"
        return
    ATTACKS[attack](store)
    found = [FOUND if store.is_found(trusted=trusted) else UNSEEN for trusted in (False, True)]
    assert found == said


@pytest.mark.parametrize("mode", ["key and its seal", "signed seal"])
def test_random_attacks_on_what_is_sealed_are_found(
    made: Callable[[str], Path], tmp_path: Path, mode: str
) -> None:
    chance, before = random.Random(f"attacks on {mode}"), said_in(made(mode) / "memory")
    for number in range(CAMPAIGN // 2):
        place = shutil.copytree(made(mode), tmp_path / f"attack-{number}")
        store = Store(place, mode)
        rewrite(store.path, random_edit(chance))
        # What is only added behind the seal is unsealed, and no flaw.
        is_whole = said_in(store.path)[: len(before)] == before
        assert is_whole or store.is_found(trusted=False), f"attack {number}"
        shutil.rmtree(place)


def said_in(path: Path) -> list[dict[str, Any]]:
    """The records without what says nothing of them: some random edits change nothing else."""
    return [{**fields, "c": "", "d": 0} for fields in records_of(path)]
