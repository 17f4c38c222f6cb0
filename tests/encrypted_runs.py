"""Runs of other tests over encrypted stores: `PMLL_TEST_ENCRYPTED=1 pytest tests/text …`.

Every lattice that is given no secret has one, and after each test nothing that went into a record
is found in the files of an encrypted store.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from encrypt_support import RAW

from pmll_async import encryption
from pmll_async.integrity.envelopes import Envelopes

_LEAST: Final = 12
"""Shorter contents are found anywhere by accident."""
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}")
# A seal in the folder states the head, and is written on request alone.
_IN_CLEAR: Final = {"seal.json"}


_LOOKS_BEHIND: Final[dict[str, set[str]]] = {
    "test_adversarial_text": {
        "test_every_text_is_found_first_by_itself",
        "test_every_text_is_there_byte_for_byte",
    },
    "test_cli_runs": {
        "test_runs_are_listed_and_found_by_how_they_begin",
        "test_where_there_are_no_runs",
    },
    "test_demo": {"test_a_memory_in_use_is_left_alone"},
    "test_journal_keys": {
        "test_a_run_that_an_earlier_version_began_is_gone_on_with",
        "test_an_imported_run_is_gone_on_with",
    },
    "test_lattice_cancelled_reads": {
        "test_an_opening_cut_lets_go_of_the_store",
        "test_closing_after_a_cut_opening_waits_for_the_store",
    },
    "test_lattice_erase": {"test_no_file_has_a_byte_of_it"},
    "test_lattice_erase_beside": {"test_a_disk_in_doubt_leaves_it_to_the_next_opening"},
    "test_lattice_lifetimes": {"test_what_has_ended_leaves_the_files_at_closing"},
    "test_lattice_forget_where": {"test_a_call_that_is_cut_can_be_made_again"},
    "test_lattice_resident": {
        "test_another_record_in_its_place",
        "test_what_is_damaged_is_told_and_never_ranked",
    },
    "test_lattice_values": {"test_numbers_in_contexts_survive_reopening"},
    "test_reembedding": set(),
    "test_text_following": {
        "test_a_catch_up_that_fails_midway_leaves_the_index_right",
        "test_a_read_only_memory_follows_a_writer_in_another_process",
    },
    "test_text_lifecycle": {"test_a_process_that_dies_while_opening_leaves_nothing_locked"},
    "test_text_off_loop": {"test_no_call_blocks_the_loop"},
    "test_text_past": {"test_the_past_is_the_same_in_a_store_on_disk_with_and_without_its_shelf"},
    "test_text_provenance": {"test_another_embedder_keeps_what_came_of_what"},
    "test_text_shelf": {
        "test_a_read_only_memory_uses_it_and_writes_nothing",
        "test_a_writer_killed_while_it_shelves_costs_nothing_but_time",
        "test_an_older_log_has_no_use_for_what_came_after_it",
        "test_it_is_private",
        "test_nothing_is_read_from_the_log_again",
        "test_only_what_came_since_is_read",
        "test_the_current_folder_may_change",
        "test_the_shelf_of_a_log_that_went_another_way_is_used_as_far_as_both_agree",
    },
    "test_text_shelf_damage": {
        "test_a_flipped_byte_anywhere_changes_no_answer",
        "test_damage_changes_no_answer_and_fails_no_call",
    },
    "test_text_sidecar": {
        "test_a_lattice_of_ones_own_keeps_it_where_its_store_has_a_place",
        "test_an_lmdb_store_has_a_place_in_its_folder",
    },
}
"""Tests that open the same store in clear as well, look into its files, or want a text index there:
by the module, all of it where none is named."""


class Contents:
    """What was encrypted: contexts, anchors, keys and idempotency keys, as bytes to be found."""

    def __init__(self) -> None:
        self.pieces: set[bytes] = set()

    def take(self, text: bytes) -> None:
        for found in re.finditer(rb'"(?:anchor|prev|idempotency_key|text)":"([^"]+)"', text):
            self._add(found[1])
        for found in re.finditer(rb'"key":"(~?[A-Za-z0-9+/=]+)"', text):
            self._add(found[1])
            self._add(base64.b64decode(found[1].lstrip(b"~")))
        context = re.search(rb'"ctx":(\{.*\}),"anchor":', text)
        if context is not None:
            self._add(context[1])

    def _add(self, piece: bytes) -> None:
        if len(piece) >= _LEAST and piece.strip(b"0") != b"":
            self.pieces.add(piece)

    def found_in(self, data: bytes) -> list[bytes]:
        """Those that the bytes hold, also within base64 and compressed parts."""
        parts = [data]
        for match in _BASE64.finditer(data):
            try:
                parts.append(base64.b64decode(match[0]))
            except binascii.Error:
                continue
        for part in list(parts):
            try:
                parts.append(zlib.decompress(part))
            except zlib.error:
                continue
        whole = b"\0".join(parts)
        return [piece for piece in self.pieces if piece in whole]


def watch(monkeypatch: pytest.MonkeyPatch) -> Contents:
    """Note what is encrypted from now on."""
    contents, whole = Contents(), Envelopes.seal_record

    def noted(self: Envelopes, n: int, head: bytes, text: bytes, following: int) -> Any:
        contents.take(text)
        return whole(self, n, head, text, following)

    monkeypatch.setattr(Envelopes, "seal_record", noted)
    return contents


def check_files(contents: Contents, root: Path) -> int:
    """No file of an encrypted store below has any of it; returns how many were looked at."""
    looked = 0
    for ring in root.rglob("keyring.json"):
        for file in ring.parent.rglob("*"):
            if file.is_file() and file.name not in _IN_CLEAR:
                assert contents.found_in(file.read_bytes()) == [], file
                looked += 1
    return looked


def encrypt_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every lattice a secret that has none."""
    whole: Callable[..., Any] = encryption.wrapped

    def wrapped(store: Any, secret: Any, suite: Any) -> Any:
        return whole(store, RAW if secret is None and _may_be(store) else secret, suite)

    monkeypatch.setattr(encryption, "wrapped", wrapped)


def _may_be(store: Any) -> bool:
    return hasattr(store, "read_keyring") or hasattr(store, "wrapped")


@pytest.fixture(autouse=True)
def over_encrypted_stores(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    names = _LOOKS_BEHIND.get(request.module.__name__.rpartition(".")[2])
    if names is not None and (not names or request.node.originalname in names):
        pytest.skip("it looks behind the lattice, at a store in clear")
    encrypt_all(monkeypatch)
    contents = watch(monkeypatch)
    yield
    check_files(contents, tmp_path)
