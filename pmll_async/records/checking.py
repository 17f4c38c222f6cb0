"""Checking records that are at hand, for stores without files of their own to check."""

from __future__ import annotations

from collections.abc import Iterable

from pmll_async.loop.breathing import Breather
from pmll_async.records.chain import Chain, Dimensions
from pmll_async.records.findings import Finding, Report, Watch, status_of
from pmll_async.records.record import Record, leaf
from pmll_async.values.anchors import ROOT_ANCHOR, ROOT_DIGEST, Hasher, fold


def check_records(
    records: Iterable[Record],
    hasher: Hasher,
    dimensions: Dimensions,
    store_id: str,
    watch: Watch | None = None,
) -> Report:
    """Whether the records follow from each other, from the first on."""
    chain, digest, findings = Chain(hasher, dimensions), ROOT_DIGEST, list[Finding]()
    breathe = Breather()
    for n, record in enumerate(records):
        breathe()
        flaw, own = chain.flaw(record), leaf(record)
        if flaw:
            findings.append(Finding("damage", "", 0, n, flaw))
        chain.add(record)
        digest = fold(digest, own)
        if watch is not None:
            watch(own, chain.head(n + 1), None)
    count = chain.revision
    findings += chain.erasures("")
    return Report(
        findings=tuple(findings),
        records=count,
        lines=chain.length(count),
        head=chain.head(count) or ROOT_ANCHOR,
        digest=digest.hex(),
        status=status_of(findings),
        store=store_id,
        keyed=hasher.keyed,
        erased=chain.erased,
    )
