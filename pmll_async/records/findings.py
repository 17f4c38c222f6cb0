"""What checking a store finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["damage", "torn"]
Status = Literal["clean", "damaged", "torn"]
Progress = Callable[[int, int], None]
"""Called with the bytes, or records, that are checked, and with all of them."""
Watch = Callable[[bytes | None, str | None, int | None], None]
"""Called for each record in order: its L_n, the head after it, where it ends in the log.

None for what cannot be read or is not known; the last for a store that has no one log.
"""


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
    after them, empty where damage keeps it from being known. `store` is its id, empty if that
    cannot be read, and `keyed` whether its hashes have a key. `erased` are the anchors of lines
    whose content was erased, which a record of the log says.
    """

    findings: tuple[Finding, ...]
    records: int
    lines: int
    head: str
    digest: str
    status: Status
    store: str = ""
    keyed: bool = False
    erased: tuple[str, ...] = ()


def status_of(findings: Iterable[Finding]) -> Status:
    """What findings make of a store."""
    severities = {finding.severity for finding in findings}
    return "damaged" if "damage" in severities else "torn" if severities else "clean"
