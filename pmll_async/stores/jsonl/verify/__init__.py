"""Is every byte of a store what was written? Looks at all of it, and changes nothing."""

from pmll_async.records.findings import Finding as Finding
from pmll_async.records.findings import Progress as Progress
from pmll_async.records.findings import Report as Report
from pmll_async.records.findings import Severity as Severity
from pmll_async.records.findings import Watch as Watch
from pmll_async.stores.jsonl.verify.store import verify as verify

__all__ = ["Finding", "Progress", "Report", "Severity", "Watch", "verify"]
