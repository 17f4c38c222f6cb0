"""Renaming: sources and acts in a copy whose lines have other anchors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pmll_async.integrity.source import SOURCE, source_of
from pmll_async.integrity.standing import POLICY, act_of
from pmll_async.values.contexts import RESERVED_KEY, parse_json, reencode_context, thaw

SIGNS: Final = (f'"{SOURCE}":{{'.encode(), f'"{POLICY}":{{'.encode())
"""Canonical text that no line with a source, and no act, does without."""


def names_lines(encoded: bytes) -> bool:
    """Whether a canonical context may have a source or be an act."""
    return any(sign in encoded for sign in SIGNS)


def renamed(encoded: bytes, anchors: Mapping[str, str]) -> bytes:
    """The canonical context with the new anchors of its parents, or of the line it is about."""
    context = thaw(parse_json(encoded))
    source, act = source_of(context), act_of(context)
    if source is not None and source.parents:
        parents = [anchors.get(parent, parent) for parent in source.parents]
        context[RESERVED_KEY][SOURCE]["parents"] = parents
    elif act is not None and act.of in anchors and act.deed in ("quarantine", "release"):
        context[RESERVED_KEY][POLICY]["of"] = anchors[act.of]
    else:
        return encoded
    return reencode_context(context)
