"""The Merkle tree and its proofs, held against an independent library."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from pmll_async.integrity.merkle import (
    ENTRY_BYTES,
    GrowingTree,
    consistency_proof,
    inclusion_proof,
    root_of,
    shows_consistency,
    shows_inclusion,
)

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 33, 64, 100]


def entries_of(count: int, seed: int = 0) -> bytes:
    return random.Random(f"{seed}").randbytes(count * ENTRY_BYTES)


def entry(entries: bytes, n: int) -> bytes:
    return entries[n * ENTRY_BYTES : (n + 1) * ENTRY_BYTES]


def theirs(entries: bytes) -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    for n in range(len(entries) // ENTRY_BYTES):
        tree.append_entry(entry(entries, n))
    return tree


def test_the_empty_tree_has_the_root_of_the_standard() -> None:
    assert GrowingTree().root == sha256(b"").digest()


@pytest.mark.parametrize("size", SIZES)
def test_roots_are_those_of_another_library(size: int) -> None:
    entries = entries_of(size)
    tree = theirs(entries)
    assert root_of(entries) == tree.get_root()
    for smaller in range(1, size):
        assert root_of(entries[: smaller * ENTRY_BYTES]) == tree.get_root(smaller)


@given(st.lists(st.integers(0, 9), max_size=12))
def test_a_tree_grows_to_the_same_root_in_any_steps(steps: list[int]) -> None:
    entries, tree, done = entries_of(sum(steps)), GrowingTree(), 0
    for step in steps:
        tree.extend(entries[done * ENTRY_BYTES : (done + step) * ENTRY_BYTES])
        done += step
    assert (tree.size, tree.root) == (sum(steps), root_of(entries))


@pytest.mark.parametrize("size", SIZES)
def test_inclusion_proofs_are_those_of_another_library(size: int) -> None:
    entries = entries_of(size)
    tree = theirs(entries)
    for n in range(size):
        path = inclusion_proof(entries, n)
        # Theirs begins with the hash of the entry itself, and counts from one.
        assert path == tree.prove_inclusion(n + 1, size).path[1:]
        assert shows_inclusion(entry(entries, n), n, size, path, root_of(entries))


@pytest.mark.parametrize("size", SIZES)
def test_consistency_proofs_hold_and_lead_to_both_roots_of_another_library(size: int) -> None:
    entries = entries_of(size)
    tree = theirs(entries)
    for older in range(1, size + 1):
        path = consistency_proof(entries, older)
        roots = tree.get_root(older), tree.get_root(size)
        assert shows_consistency(older, roots[0], size, roots[1], path)
    assert shows_consistency(0, GrowingTree().root, size, root_of(entries), [])


@given(st.integers(2, 70), st.randoms(use_true_random=False))
def test_no_changed_proof_holds(size: int, chance: random.Random) -> None:
    entries = entries_of(size)
    n, root = chance.randrange(size), root_of(entries)
    path, leaf = inclusion_proof(entries, n), entry(entries, n)
    other = chance.randrange(size)
    assert other == n or not shows_inclusion(leaf, other, size, path, root)
    assert not shows_inclusion(leaf, n, size, [*path, root], root)
    assert not shows_inclusion(leaf, n, size, path[:-1], root)
    assert not shows_inclusion(leaf, size, size, path, root)
    assert not shows_inclusion(leaf, -1, size, path, root)
    turned = list(path)
    turned[chance.randrange(len(path))] = chance.randbytes(ENTRY_BYTES)
    assert not shows_inclusion(leaf, n, size, turned, root)


@given(st.integers(2, 70), st.randoms(use_true_random=False))
def test_no_changed_growth_holds(size: int, chance: random.Random) -> None:
    entries = entries_of(size)
    older = chance.randrange(1, size)
    path, root = consistency_proof(entries, older), root_of(entries)
    before = root_of(entries[: older * ENTRY_BYTES])
    assert shows_consistency(older, before, size, root, path)
    # What was there before is another record now.
    turned = bytearray(entries)
    turned[chance.randrange(older * ENTRY_BYTES)] ^= 1 << chance.randrange(8)
    rewritten = bytes(turned)
    forged = consistency_proof(rewritten, older)
    assert not shows_consistency(older, before, size, root_of(rewritten), forged)
    assert not shows_consistency(older, before, size, root, [*path, root])
    assert not shows_consistency(older, before, size, root, path[:-1])
    assert not shows_consistency(size, root, older, before, path)
