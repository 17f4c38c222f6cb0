"""Proofs that somebody else can check with a seal alone."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from pmll_async.errors import InvalidInputError, LineErasedError
from pmll_async.integrity.documents import Document, Hash
from pmll_async.integrity.merkle import (
    consistency_proof,
    inclusion_proof,
    shows_consistency,
    shows_inclusion,
)
from pmll_async.integrity.seals import Seal
from pmll_async.records.record import Record
from pmll_async.values.anchors import leaf_digest


class InclusionProof(Document):
    """That record `n` is one of those which `seal` is of.

    `record` is the canonical JSON whose BLAKE2b-256 is the record's L_n: times, anchors and digests
    of content, and not the content. `path` leads from there to the seal's root (RFC 9162).
    """

    format: Literal["pmll inclusion 1"] = "pmll inclusion 1"
    n: int = Field(ge=0)
    record: str
    path: tuple[Hash, ...]
    seal: Seal

    @classmethod
    def made(cls, seal: Seal, n: int, record: Record, leaves: bytes) -> Self:
        """Of the sealed records' leaves; `LineErasedError` if its canonical JSON is gone."""
        if n >= seal.records:
            raise InvalidInputError(
                f"record {n} is not sealed yet: the seal is of {seal.records} records; seal again"
            )
        if record.was is not None:
            raise LineErasedError(record.lines[0].anchor)
        path = tuple(node.hex() for node in inclusion_proof(leaves, n))
        return cls(n=n, record=record.leaf_text(), path=path, seal=seal)

    @property
    def holds(self) -> bool:
        """Whether the record is in the seal; who made the seal, `Seal.proof_flaw` says."""
        leaf = leaf_digest(self.record.encode())
        path = [bytes.fromhex(node) for node in self.path]
        return shows_inclusion(leaf, self.n, self.seal.records, path, bytes.fromhex(self.seal.root))


class ConsistencyProof(Document):
    """That the records which `older` is of are the first of those which `newer` is of."""

    format: Literal["pmll consistency 1"] = "pmll consistency 1"
    older: Seal
    newer: Seal
    path: tuple[Hash, ...]

    @classmethod
    def made(cls, older: Seal, newer: Seal, leaves: bytes) -> Self:
        """Of the leaves of the newer seal's records."""
        if older.records > newer.records:
            raise InvalidInputError(
                f"the older seal is of {older.records} records and the newer of {newer.records}: "
                "give them the other way round"
            )
        path = consistency_proof(leaves, older.records) if older.records else []
        return cls(older=older, newer=newer, path=tuple(node.hex() for node in path))

    @property
    def holds(self) -> bool:
        """Whether nothing that was sealed has changed; who made the seals, they say themselves."""
        older, newer = self.older, self.newer
        return older.store == newer.store and shows_consistency(
            older.records,
            bytes.fromhex(older.root),
            newer.records,
            bytes.fromhex(newer.root),
            [bytes.fromhex(node) for node in self.path],
        )
