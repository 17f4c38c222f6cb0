"""Lifetimes: when a line ends, or that it is kept, in the bytes that its anchor covers.

Under `pmll.life` a line has one of three: `ttl`, seconds from its own commit on; `expires_at`,
seconds since the epoch; or `pinned`, true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from pmll_async.errors import InvalidInputError
from pmll_async.values import checks, moments
from pmll_async.values.contexts import RESERVED_KEY, StampedContext, stamp_also

LIFE: Final = "life"
PINNED: Final = {f"{RESERVED_KEY}.{LIFE}.pinned": True}
"""The filter that the pinned lines match."""


class Lasting(TypedDict, total=False):
    """How long a line lasts; one of the three.

    `ttl` seconds from its commit on, until `expires_at` (seconds since the epoch), or `pinned`:
    then neither `compact` nor `forget_where` takes it.
    """

    ttl: float
    expires_at: moments.Moment
    pinned: bool


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What a line says of its own lifetime."""

    ttl: float | None = None
    expires_at: float | None = None
    pinned: bool = False

    def ends(self, committed_at: float) -> float:
        """When a line that was committed then ends, in seconds since the epoch; maybe never."""
        if self.ttl is not None:
            return committed_at + self.ttl
        return float("inf") if self.expires_at is None else self.expires_at


def lasting(context: Mapping[str, Any] | None, wanted: Lasting, now: float) -> StampedContext:
    """The context of a line that lasts as wanted; `InvalidInputError` unless it is one of three.

    Its end is after `now` and before 2200.
    """
    unknown = wanted.keys() - Lasting.__annotations__.keys()
    if unknown:
        raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
    facts: dict[str, Any] = {}
    if wanted.get("ttl") is not None:
        facts["ttl"] = _seconds(wanted["ttl"], now)
    if wanted.get("expires_at") is not None:
        facts["expires_at"] = moments.moment(wanted["expires_at"], "expires_at")
        if facts["expires_at"] <= now:
            raise InvalidInputError(
                f"expires_at is when a line ends, and {wanted['expires_at']} has passed: no query "
                "would ever return it"
            )
    if checks.plain_flag(wanted.get("pinned", False), "pinned"):
        facts["pinned"] = True
    if len(facts) > 1:
        raise InvalidInputError(f"a line has one of {' and '.join(facts)}, and not both")
    return stamp_also(context, {LIFE: facts} if facts else {})


def _seconds(ttl: Any, now: float) -> float:
    seconds = checks.number(ttl, "ttl")
    if seconds <= 0:
        raise InvalidInputError(f"ttl is how many seconds a line lasts, more than 0, and not {ttl}")
    if not moments.is_usual(now + seconds):
        raise InvalidInputError(
            f"ttl is how many seconds a line lasts, and {ttl} seconds end after 2200; leave it out "
            "for a line that does not end"
        )
    return seconds


def lifetime_of(context: Mapping[str, Any]) -> Lifetime | None:
    """The lifetime in a line's context; None where it says nothing of one."""
    outer = context.get(RESERVED_KEY)
    facts = outer.get(LIFE) if isinstance(outer, Mapping) else None
    if not isinstance(facts, Mapping):
        return None
    ttl, expires_at = facts.get("ttl"), facts.get("expires_at")
    return Lifetime(
        float(ttl) if isinstance(ttl, int | float) else None,
        float(expires_at) if isinstance(expires_at, int | float) else None,
        facts.get("pinned") is True,
    )
