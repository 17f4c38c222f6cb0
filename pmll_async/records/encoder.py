"""The encoder: what a caller gives becomes content, in the caller's own task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from pmll_async.errors import InvalidInputError
from pmll_async.records.proposals import PutProposal
from pmll_async.records.record import LineContent
from pmll_async.values import checks
from pmll_async.values.anchors import Hasher
from pmll_async.values.contexts import encode_in_turns
from pmll_async.values.lines import Candidate, Limits
from pmll_async.values.vectors import EMPTY, finite_norm, to_key, to_vector

if TYPE_CHECKING:
    from pydantic import JsonValue


class Encoder:
    """Makes contents for one lattice: its dimensions, its hashes, its limits."""

    def __init__(self, dim: int, value_dim: int, hasher: Hasher, limits: Limits) -> None:
        self.dim, self.value_dim = dim, value_dim
        self._hasher, self._limits = hasher, limits

    async def line(
        self,
        key: ArrayLike,
        value: ArrayLike | None,
        context: Mapping[str, JsonValue] | None,
    ) -> LineContent:
        """The content of a line; refuses what can be none. Waits only if the context is large."""
        vector, norm = to_key(key, "key", self.dim)
        key_bytes = vector.tobytes()
        value_bytes = self._value(value, key_bytes)
        encoded = await encode_in_turns(context, self._limits.context_bytes)
        return LineContent.of(self._hasher, key_bytes, value_bytes, encoded, norm)

    async def note(self, context: Mapping[str, JsonValue] | None) -> LineContent:
        """The content of a note, likewise."""
        encoded = await encode_in_turns(context, self._limits.context_bytes)
        return LineContent.of(self._hasher, b"", b"", encoded, 0.0)

    async def put(self, candidate: Candidate) -> PutProposal:
        """A candidate as a put, likewise."""
        return PutProposal(
            await self.line(candidate.key, candidate.value, candidate.context),
            timestamp=checks.optional_seconds(candidate.timestamp, "timestamp"),
            revises=checks.anchors(candidate.revises, "revises"),
            key=checks.idempotency_key(candidate.idempotency_key),
        )

    def _value(self, value: ArrayLike | None, key: bytes) -> bytes:
        if value is None:
            if self.value_dim not in (0, self.dim):
                raise InvalidInputError(
                    f"value cannot be left out: keys have {self.dim} dimensions, "
                    f"values {self.value_dim}"
                )
            return key if self.value_dim else EMPTY.tobytes()
        vector = to_vector(value, "value", self.value_dim)
        finite_norm(vector, "value")
        encoded = vector.tobytes()
        # One object for equal bytes saves hashing and base64 of the second.
        return key if encoded == key else encoded
