"""Lines as a record carries them, and their JSON in both directions.

A line is written with its content in full for the log, and with key, value and context replaced by
their digests for `L_n` (design, sections 4 and 7).
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from pmll_async.values.anchors import (
    DIGEST_BYTES,
    Hasher,
    encode_bytes,
    encode_vector,
    is_anchor,
)
from pmll_async.values.concert import exact_norm
from pmll_async.values.contexts import canonical_number, canonical_string, reencode_context
from pmll_async.values.lines import Kind
from pmll_async.values.packing import pack, pack_many, unpack

PACKED: Final = "~"
"""Before the text of a packed vector: no base64 has it, and JSON leaves it as it is."""
ERASED: Final = "erased"
"""The field in which the digests of key, value and context are left of an erased line."""

Fields = dict[str, str]
"""JSON fields in the log's order, each as RFC 8785 text."""


class LineContent(NamedTuple):
    """What an anchor names: float32 little-endian bytes, canonical JSON, and D of each, joined.

    `norm` is the length of the key, 0 in a note. Of erased content the digests alone are left.
    """

    key: bytes
    value: bytes
    context: bytes
    digests: bytes
    norm: float
    erased: bool = False

    @classmethod
    def of(
        cls, hasher: Hasher, key: bytes, value: bytes, context: bytes, norm: float
    ) -> LineContent:
        """The content with its digests."""
        key_digest = hasher.digest(encode_vector(key))
        value_digest = key_digest if value == key else hasher.digest(encode_vector(value))
        context_digest = hasher.digest(encode_bytes(context))
        return cls(key, value, context, key_digest + value_digest + context_digest, norm)

    @classmethod
    def left_of(cls, digests: bytes) -> LineContent:
        """What is left of erased content; the context stands for any reader's empty one."""
        return cls(b"", b"", b"{}", digests, 0.0, erased=True)

    @property
    def size(self) -> int:
        """About the bytes that it takes in a log."""
        return (len(self.key) + len(self.value)) * 4 // 3 + len(self.context) + 256


class LineRecord(NamedTuple):
    """One line within a record; `timestamp` None stands for the record's time."""

    content: LineContent
    anchor: str
    prev_anchor: str
    kind: Kind
    similarity: float
    novelty: float
    timestamp: float | None = None
    strength: float = 1.0

    def erased(self) -> LineRecord:
        """The line without its content."""
        return self._replace(content=LineContent.left_of(self.content.digests))


# --- writing -----------------------------------------------------------------------------------

WriteContent = Callable[[LineContent], Fields]
WriteVector = Callable[[bytes], str]
"""`base64_text` or `packed_text`: a log has one of them from its first record to its last."""


def content_fields(content: LineContent, write_vector: WriteVector) -> Fields:
    """The content in full, as the log has it; of what was erased, its digests."""
    if content.erased:
        return {ERASED: f'"{content.digests.hex()}"'}
    fields = {"key": f'"{write_vector(content.key)}"'}
    # A value that is the key is left out: it would double the bytes of most records.
    if content.value != content.key:
        fields["value"] = f'"{write_vector(content.value)}"'
    fields["ctx"] = content.context.decode()
    return fields


def digest_fields(content: LineContent) -> Fields:
    """The digests in the content's place, as `L_n` has them."""
    text = content.digests.hex()
    return {"key": f'"{text[:64]}"', "value": f'"{text[64:128]}"', "ctx": f'"{text[128:]}"'}


def line_fields(line: LineRecord, write_content: WriteContent) -> Fields:
    """A line's fields."""
    fields = write_content(line.content)
    fields["anchor"] = f'"{line.anchor}"'
    fields["prev"] = f'"{line.prev_anchor}"'
    if line.kind != "note":
        fields["similarity"] = canonical_number(line.similarity)
        fields["novelty"] = canonical_number(line.novelty)
    if line.timestamp is not None:
        fields["timestamp"] = canonical_number(line.timestamp)
    return fields


def base64_text(raw: bytes) -> str:
    """Base64 in one line."""
    return binascii.b2a_base64(raw, newline=False).decode("ascii")


def packed_text(raw: bytes) -> str:
    """A vector's bytes packed, where they can be."""
    return _text(raw, pack(raw))


def packed_together(vectors: Sequence[bytes]) -> WriteVector:
    """`packed_text`, with the texts of these vectors, all of one length, made in one go."""
    texts = map(_text, vectors, pack_many(vectors))
    return known_texts(dict(zip(vectors, texts, strict=True)))


def known_texts(known: Mapping[bytes, str]) -> WriteVector:
    """`packed_text`, which makes none of the texts that are known."""
    return lambda raw: known.get(raw) or packed_text(raw)


def _text(raw: bytes, packed: bytes | None) -> str:
    return base64_text(raw) if packed is None else PACKED + base64_text(packed)


def joined(fields: Fields) -> str:
    """The inside of a JSON object."""
    return ",".join([f'"{name}":{text}' for name, text in fields.items()])


def json_object(fields: Fields, *, sort: bool) -> str:
    """A JSON object; sorted it is canonical."""
    return "{" + joined(dict(sorted(fields.items())) if sort else fields) + "}"


def json_array(parts: Iterable[str]) -> str:
    """A JSON array of JSON texts."""
    return "[" + ",".join(parts) + "]"


def json_strings(texts: Iterable[str]) -> str:
    """A JSON array of strings."""
    return json_array(map(canonical_string, texts))


# --- reading -----------------------------------------------------------------------------------


def decode_line(
    fields: Mapping[str, Any],
    hasher: Hasher,
    branch_strength: float | None = None,
    context: bytes | None = None,
) -> LineRecord:
    """The line of parsed fields; `context` are its bytes where the caller has them."""
    content = _content(fields, hasher, context)
    anchor, prev = fields["anchor"], fields["prev"]
    if not (is_anchor(anchor) and is_anchor(prev)):
        raise ValueError("anchors are 16 lower-case hex digits")
    # Notes alone have no similarity; of an erased line nothing else tells.
    is_line = "similarity" in fields if content.erased else bool(content.key)
    return LineRecord(
        content=content,
        anchor=anchor,
        prev_anchor=prev,
        kind="branch" if branch_strength is not None else "line" if is_line else "note",
        similarity=float(fields.get("similarity", 0.0)),
        novelty=float(fields.get("novelty", 0.0)),
        timestamp=None if "timestamp" not in fields else float(fields["timestamp"]),
        strength=1.0 if branch_strength is None else branch_strength,
    )


def _content(fields: Mapping[str, Any], hasher: Hasher, context: bytes | None) -> LineContent:
    if ERASED in fields:
        digests = bytes.fromhex(fields[ERASED])
        if len(digests) != 3 * DIGEST_BYTES:
            raise ValueError("of an erased line three digests are left")
        return LineContent.left_of(digests)
    key = _vector(fields["key"])
    value = _vector(fields["value"]) if "value" in fields else key
    if value == key and "value" in fields:
        raise ValueError("a value that equals its key is left out")
    if context is None:
        context = reencode_context(fields["ctx"])
    norm = exact_norm(np.frombuffer(key, dtype="<f4"))
    return LineContent.of(hasher, key, value, context, norm)


def parse_frame(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What every record has."""
    was = fields.get("was")
    digest = None if was is None else bytes.fromhex(was)
    if digest is not None and len(digest) != DIGEST_BYTES:
        raise ValueError("a record's digest has another length")
    return {"t": float(fields["t"]), "following": int(fields.get("g", 0)), "was": digest}


def parse_key(fields: Mapping[str, Any]) -> str | None:
    """The idempotency key, None without one."""
    key = fields.get("idempotency_key")
    return None if key is None else parse_text(key)


def parse_text(value: Any) -> str:
    """A text; `TypeError` for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"a text is wanted, not {type(value).__name__}")
    return value


def _vector(text: str) -> bytes:
    if text.startswith(PACKED):
        packed = binascii.a2b_base64(text[len(PACKED) :], strict_mode=True)
        # Its last letter may say more than the bytes.
        if PACKED + base64_text(packed) != text:
            raise ValueError("a packed vector has another text")
        return unpack(packed)
    raw = binascii.a2b_base64(text, strict_mode=True)
    if len(raw) % 4:
        raise ValueError("a vector is whole float32 numbers")
    return raw
