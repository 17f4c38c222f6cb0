"""Sources: who a line is from, in the bytes that its anchor covers.

Under `pmll.source` a line has its principal and trust, and where there are some its channel, its
parents (anchors) and that it is quarantined. A line without one is the owner's, of trust 1: who
holds the lattice itself needs no name in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from pmll_async.errors import InvalidInputError
from pmll_async.values import checks
from pmll_async.values.contexts import RESERVED_KEY, StampedContext, stamp_also
from pmll_async.values.filters import FieldPath

SOURCE: Final = "source"
PRINCIPAL: Final[FieldPath] = (RESERVED_KEY, SOURCE, "principal")
TRUST: Final[FieldPath] = (RESERVED_KEY, SOURCE, "trust")
PARENTS: Final[FieldPath] = (RESERVED_KEY, SOURCE, "parents")
OWNER_TRUST: Final = 1.0
# They are written into every line, and kept in memory once each.
_NAME_LENGTH: Final = 256

Status: TypeAlias = Literal["shown", "quarantined", "revoked", "derived", "expired"]
"""Whether queries may return a line, and if not, why; `derived`: from one that is hidden."""


@dataclass(frozen=True, slots=True)
class Source:
    """Who a line is from: a principal and how far it is trusted (0 to 1), by which channel.

    `parents` are the anchors of the lines that it was derived from, whose trust it does not exceed.
    """

    principal: str
    trust: float = OWNER_TRUST
    channel: str = ""
    parents: tuple[str, ...] = ()
    quarantined: bool = False

    def facts(self) -> dict[str, Any]:
        """What a line has under `pmll.source`; what is empty is left out."""
        facts: dict[str, Any] = {"channel": self.channel, "parents": list(self.parents)}
        facts["quarantined"] = self.quarantined
        kept = {name: value for name, value in facts.items() if value}
        # The same bytes, and a whole number is written sooner.
        trust = int(self.trust) if self.trust in (0.0, 1.0) else self.trust
        return {"principal": self.principal, "trust": trust, **kept}


@dataclass(frozen=True, slots=True)
class Origin:
    """A line in the answer of `why`: its source (None: the owner's), and whether it is shown."""

    anchor: str
    source: Source | None
    status: Status


def named(value: object, what: str, *, least: int = 1) -> str:
    """The name of a principal or channel."""
    if not isinstance(value, str) or not least <= len(value) <= _NAME_LENGTH:
        raise InvalidInputError(
            f"{what} has {least} to {_NAME_LENGTH} characters: {checks.shown(value)}"
        )
    if least and not value.strip():
        raise InvalidInputError(f"{what} is a name, and not blank")
    if checks.lone_surrogate(value) is not None:
        raise InvalidInputError(f"{what} is text; it has a lone surrogate")
    return str(value)


def source_of(context: Mapping[str, Any]) -> Source | None:
    """The source in a line's context; None of the owner's."""
    facts = _inner(_inner(context, RESERVED_KEY), SOURCE)
    principal, trust = facts.get("principal"), facts.get("trust")
    if not isinstance(principal, str) or not isinstance(trust, int | float):
        return None
    channel, parents = facts.get("channel", ""), facts.get("parents", ())
    return Source(
        principal, float(trust), channel, tuple(parents), facts.get("quarantined") is True
    )


def _inner(context: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = context.get(name)
    return found if isinstance(found, Mapping) else {}


def trust_of(context: Mapping[str, Any]) -> float:
    """How far a line is trusted, 0 to 1; what has no source is the owner's."""
    source = source_of(context)
    return OWNER_TRUST if source is None else source.trust


def low_water(trust: float, contexts: Iterable[Mapping[str, Any]]) -> float:
    """The trust of a line that was derived from others: nothing is cleaned by being repeated."""
    return min([trust, *map(trust_of, contexts)])


def sourced(context: Mapping[str, Any] | None, source: Source) -> StampedContext:
    """The context with the source beside whatever the framework has stamped on it already."""
    return stamp_also(context, {SOURCE: source.facts()})
