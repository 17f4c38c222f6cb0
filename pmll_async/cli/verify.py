"""`pmll verify`: is every byte what was written?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from rich.text import Text

from pmll_async.cli.terminal import facts, listing, progress, show, show_json
from pmll_async.integrity.checking import SealStanding, Verification, verification
from pmll_async.integrity.keys import MacKey, SealChecker
from pmll_async.integrity.seals import Seal
from pmll_async.integrity.secrets import Passphrase, RawKey
from pmll_async.integrity.trust import Trust
from pmll_async.records.findings import Finding, Progress, Report, Watch
from pmll_async.stores.choice import store_at, verify_at
from pmll_async.values.anchors import Hasher
from pmll_async.values.extras import require

# Scripts go by these: a torn end is no damage, and no success either.
EXIT_CODES: Final = {"clean": 0, "damaged": 1, "torn": 3}
_NAMED: Final = 8
_VERDICTS: Final = {
    "clean": ("clean: everything that was written is there, and as it was", "green"),
    "damaged": ("damaged: restore the files named above from a copy", "red"),
    "torn": (
        "torn: a crash cut its end off; the next opening for writing moves that aside",
        "yellow",
    ),
}


def verify(
    path: Path,
    key: bytes | None,
    expected: Expected,
    secret: Passphrase | RawKey | None = None,
    *,
    as_json: bool,
) -> int:
    """Check the lattice at `path`, print what was found, and return the exit code."""
    with progress("verifying") as tell:
        found = checked(path, key, expected, tell, secret)
    report, standing = found.report, found.standing
    if as_json:
        document = {"path": str(path), **asdict(report)}
        document["findings"] = [asdict(finding) for finding in report.findings]
        document["seal"] = standing and {**asdict(standing), "holds": standing.holds}
        show_json(document)
    else:
        _show(path, report)
        if standing is not None:
            _show_standing(standing)
    return EXIT_CODES[report.status] or EXIT_CODES["clean" if found.holds else "damaged"]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the log is held against: a seal, whose it must be, and what is remembered."""

    seal: Seal | None = None
    checker: SealChecker | None = None
    trust: Trust | None = None


def checked(
    path: Path,
    key: bytes | None,
    expected: Expected,
    progress: Progress | None = None,
    secret: Passphrase | RawKey | None = None,
) -> Verification:
    """Check the lattice at `path`, and hold it against what is expected."""
    verify = partial(verify_at, path, key, progress)
    if secret is not None:
        verify = partial(_decrypted, path, key, secret, progress)
    own = MacKey.of(Hasher(key))
    return verification(verify, expected.seal, expected.trust, expected.checker, own)


def _decrypted(
    path: Path,
    key: bytes | None,
    secret: Passphrase | RawKey,
    progress: Progress | None,
    watch: Watch | None,
) -> Report:
    require("secure", "cryptography")
    from pmll_async.integrity.encrypted import EncryptedStore

    store = EncryptedStore(store_at(path, read_only=True), secret)
    return store.verify_closed(lambda within: verify_at(path, within, progress), Hasher(key), watch)


def _show_standing(standing: SealStanding) -> None:
    if not standing.holds:
        show(listing(("what the seal says otherwise",), ((flaw,) for flaw in standing.flaws)), "")
        show(Text("the seal does not hold: this is not the log that was sealed", style="red"))
        return
    later = f"; {standing.unsealed} unsealed records came after it" if standing.unsealed else ""
    show(Text(f"the seal holds{later}", style="green"))


def _show(path: Path, report: Report) -> None:
    if report.findings:
        titles = ("severity", "file", "byte", "record", "what is wrong")
        show(listing(titles, map(_cells, report.findings)), "")
    verdict, colour = _VERDICTS[report.status]
    rows = [
        ("path", str(path)),
        ("records", str(report.records)),
        ("lines", str(report.lines)),
        ("head", report.head),
        ("digest", report.digest or "unknown"),
    ]
    if report.erased:
        rows.append(("erased", f"{len(report.erased)} lines: {_named(report.erased)}"))
    show(facts(rows), Text(verdict, style=colour))


def _named(anchors: Sequence[str]) -> str:
    more = len(anchors) - _NAMED
    return ", ".join(anchors[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _cells(finding: Finding) -> tuple[str, ...]:
    record = "" if finding.n is None else str(finding.n)
    return finding.severity, finding.file, str(finding.offset), record, finding.reason
