"""Whether the lines that weights were made of still stand, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from pmll_async.errors import LineErasedError, LineNotFoundError
from pmll_async.lattice import Lattice

Reason: TypeAlias = Literal[
    "unknown",
    "erased",
    "quarantined",
    "revoked",
    "derived",
    "expired",
    "rolled back",
    "revised",
    "forgotten",
    "dropped",
    "a note",
]
"""`dropped` is a branch that no query returns any more, `derived` what came of a hidden line."""


async def fallen(lattice: Lattice, anchors: Sequence[str]) -> dict[str, Reason]:
    """The anchors of which no live line is left, each with the reason."""
    survey = await lattice.survey()
    states = await survey.run(_states, survey, anchors)
    standing = {anchor for anchor, (live, revised) in states.items() if live and not revised}
    return {
        anchor: await _reason(lattice, anchor, states.get(anchor, (False, False)))
        for anchor in anchors
        if anchor not in standing
    }


def _states(survey: Any, anchors: Sequence[str]) -> dict[str, tuple[bool, bool]]:
    """Of each line whether it is live, and whether it was replaced; of several the live one."""
    columns, revised = survey.columns, survey.revised
    asked = np.array([int(anchor, 16) for anchor in anchors], np.uint64)
    found: dict[str, tuple[bool, bool]] = {}
    for row in np.flatnonzero(np.isin(columns.anchors, asked)).tolist():
        anchor, state = (
            f"{int(columns.anchors[row]):016x}",
            (bool(columns.live[row]), bool(revised[row])),
        )
        if state == (True, False) or anchor not in found:
            found[anchor] = state
    return found


async def _reason(lattice: Lattice, anchor: str, state: tuple[bool, bool]) -> Reason:
    try:
        line = await lattice.get(anchor)
    except LineErasedError:
        return "erased"
    except LineNotFoundError:
        return "unknown"
    if line.kind == "note":
        return "a note"
    status = (await lattice.why(anchor))[0].status
    if status != "shown":
        return status
    if line.kind == "branch":
        return "dropped"
    if line.position is None:
        return "rolled back"
    return "revised" if state == (True, True) else "forgotten"
