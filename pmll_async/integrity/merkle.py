"""The Merkle tree of RFC 9162 over the leaves of a log, and the proofs of its section 2.1.

An entry is a record's L_n, 32 bytes; entries come joined. Hashes are SHA-256 with the prefixes of
the RFC, so that any verifier of certificate transparency logs can check these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final

ENTRY_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node with two children."""
    return sha256(b"\1" + left + right).digest()


class GrowingTree:
    """The tree of all entries so far, as the roots of its perfect subtrees: all that growing needs.

    An entry costs two hashes, and the whole takes 32 bytes for each bit of its size.
    """

    __slots__ = ("_perfect", "size")

    def __init__(self) -> None:
        self.size = 0
        self._perfect: list[bytes] = []
        """The largest first; their sizes are the bits of the tree's size."""

    def extend(self, entries: bytes) -> None:
        """Append entries."""
        perfect, size = self._perfect, self.size
        for entry in split(entries):
            node, larger = leaf_hash(entry), size
            while larger & 1:
                node = node_hash(perfect.pop(), node)
                larger >>= 1
            perfect.append(node)
            size += 1
        self.size = size

    @property
    def root(self) -> bytes:
        """The hash of the whole tree."""
        return _joined(self._perfect) if self._perfect else EMPTY_ROOT


def root_of(entries: bytes) -> bytes:
    """The root of the tree of entries."""
    tree = GrowingTree()
    tree.extend(entries)
    return tree.root


def inclusion_proof(entries: bytes, n: int) -> list[bytes]:
    """PATH(n, D): what leads from entry `n` to the root of the tree of all entries."""
    first, stop, path = 0, len(entries) // ENTRY_BYTES, list[bytes]()
    while stop - first > 1:
        middle = first + _larger_half(stop - first)
        if n < middle:
            path.append(root_of(_part(entries, middle, stop)))
            stop = middle
        else:
            path.append(root_of(_part(entries, first, middle)))
            first = middle
    return path[::-1]


def consistency_proof(entries: bytes, size: int) -> list[bytes]:
    """PROOF(size, D): what shows that the tree of the first `size` entries is the beginning of D's.

    `size` is at least 1 and at most the number of entries.
    """
    first, stop, wanted, path = 0, len(entries) // ENTRY_BYTES, size, list[bytes]()
    while first + wanted != stop:
        middle = first + _larger_half(stop - first)
        if first + wanted <= middle:
            path.append(root_of(_part(entries, middle, stop)))
            stop = middle
        else:
            path.append(root_of(_part(entries, first, middle)))
            first, wanted = middle, first + wanted - middle
    # The older root itself is known to who asks, where it is a subtree of this one.
    return ([root_of(_part(entries, first, stop))] if first else []) + path[::-1]


def shows_inclusion(entry: bytes, n: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the path leads from entry `n` to the root of a tree of `size` entries."""
    if not 0 <= n < size:
        return False
    node, here, last = leaf_hash(entry), n, size - 1
    for other in path:
        if not last:
            return False
        if here & 1 or here == last:
            node = node_hash(other, node)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            node = node_hash(node, other)
        here, last = here >> 1, last >> 1
    return not last and node == root


def shows_consistency(
    size: int, root: bytes, later_size: int, later_root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether a tree of `size` entries is the beginning of one of `later_size`."""
    if size == later_size:
        return not path and root == later_root
    if not 0 < size < later_size or not path:
        return not size and not path and root == EMPTY_ROOT
    nodes = list(path) if size & (size - 1) else [root, *path]
    here, last = size - 1, later_size - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    older = newer = nodes[0]
    for node in nodes[1:]:
        if not last:
            return False
        if here & 1 or here == last:
            older, newer = node_hash(node, older), node_hash(node, newer)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            newer = node_hash(newer, node)
        here, last = here >> 1, last >> 1
    return not last and older == root and newer == later_root


def split(entries: bytes) -> Iterator[bytes]:
    """The entries one by one."""
    return (entries[i : i + ENTRY_BYTES] for i in range(0, len(entries), ENTRY_BYTES))


def _part(entries: bytes, first: int, stop: int) -> bytes:
    return entries[first * ENTRY_BYTES : stop * ENTRY_BYTES]


def _joined(perfect: Sequence[bytes]) -> bytes:
    node = perfect[-1]
    for larger in reversed(perfect[:-1]):
        node = node_hash(larger, node)
    return node


def _larger_half(size: int) -> int:
    """The largest power of two below the size."""
    return 1 << (size - 1).bit_length() - 1
