"""What `verify` reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["damage", "torn"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written: `damage`, or a `torn` end that opening repairs.

    `file` is named from the store's folder; `n` is the record that is, or should be, there.
    """

    severity: Severity
    file: str
    offset: int
    n: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome for a whole store: `status` is `clean`, `damaged` or, with no damage, `torn`.

    `records` can be read, `lines` of theirs are on the chain, which ends in `head`; `digest` is h
    after them, empty where damage keeps it from being known.
    """

    findings: tuple[Finding, ...]
    records: int
    lines: int
    head: str
    digest: str
    status: Literal["clean", "damaged", "torn"]
