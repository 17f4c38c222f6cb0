"""`pmll verify`: is every byte what was written?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.text import Text

from pmll_async.cli.terminal import facts, listing, progress, show, show_json
from pmll_async.stores.choice import verify_at
from pmll_async.stores.jsonl.verify.findings import Finding, Report

# Scripts go by these: a torn end is no damage, and no success either.
EXIT_CODES: Final = {"clean": 0, "damaged": 1, "torn": 3}
_VERDICTS: Final = {
    "clean": ("clean: every byte is what was written", "green"),
    "damaged": ("damaged: restore the files named above from a copy", "red"),
    "torn": (
        "torn: a crash cut its end off; the next opening for writing moves that aside",
        "yellow",
    ),
}


def verify(path: Path, key: bytes | None, *, as_json: bool) -> int:
    """Check the lattice at `path`, print what was found, and return the exit code."""
    with progress("verifying") as tell:
        report = verify_at(path, key, tell)
    if as_json:
        findings = [asdict(finding) for finding in report.findings]
        show_json({"path": str(path), **asdict(report), "findings": findings})
    else:
        _show(path, report)
    return EXIT_CODES[report.status]


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
    show(facts(rows), Text(verdict, style=colour))


def _cells(finding: Finding) -> tuple[str, ...]:
    record = "" if finding.n is None else str(finding.n)
    return finding.severity, finding.file, str(finding.offset), record, finding.reason
