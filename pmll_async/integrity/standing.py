"""Standing: which lines the acts on a chain hide, and all that was derived from them.

An act is a note of the owner's under `pmll.policy`: quarantine or release a line, revoke or
reinstate a principal. The last one on the chain about the same thing holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import NDArray

from pmll_async.integrity.source import SOURCE
from pmll_async.values.anchors import is_anchor
from pmll_async.values.contexts import RESERVED_KEY, StampedContext, stamp

POLICY: Final = "policy"
Deed: TypeAlias = Literal["quarantine", "release", "revoke", "reinstate"]
Mask: TypeAlias = NDArray[np.bool_]


class Act(NamedTuple):
    """What the owner decided about a line (its anchor), or about a principal (its name)."""

    deed: Deed
    of: str


def act_note(act: Act) -> StampedContext:
    """The context of the note that puts an act on the chain."""
    return stamp({}, {POLICY: {"act": act.deed, "of": act.of}})


def act_of(context: Mapping[str, Any]) -> Act | None:
    """The act that a note's context is, if it is one; what has a source is nobody's act."""
    facts = context.get(RESERVED_KEY)
    told = facts.get(POLICY) if isinstance(facts, Mapping) else None
    if not isinstance(told, Mapping) or (isinstance(facts, Mapping) and SOURCE in facts):
        return None
    deed, of = told.get("act"), told.get("of")
    of_line = deed in ("quarantine", "release")
    is_sound = deed in get_args(Deed) and isinstance(of, str) and (not of_line or is_anchor(of))
    return Act(cast(Deed, deed), str(of)) if is_sound else None


class Standing:
    """What holds after acts, in their order: who is revoked, and which lines are held or let go."""

    def __init__(self, acts: Iterable[Act]) -> None:
        self.revoked: set[str] = set()
        self.held: dict[str, bool] = {}
        for deed, of in acts:
            if deed == "revoke":
                self.revoked.add(of)
            elif deed == "reinstate":
                self.revoked.discard(of)
            else:
                self.held[of] = deed == "quarantine"


def hide_derived(hidden: Mask, derived: Iterable[tuple[int, Sequence[int]]]) -> None:
    """Hide, in place, every line one of whose parents is hidden.

    `derived` are lines with the numbers of their parents, ascending: parents come before what is
    derived from them, so that one pass is the whole closure.
    """
    for line, parents in derived:
        if not hidden[line] and any(hidden[parent] for parent in parents):
            hidden[line] = True
