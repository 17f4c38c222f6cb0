"""User code that must pass `mypy --strict`: the public API as an agent's author types it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import assert_type

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pmll_async import (
    Candidate,
    CandidateFailure,
    CandidateFunction,
    CandidateScore,
    CommitEvent,
    Concert,
    ConflictError,
    EventsMissed,
    Judge,
    Lattice,
    LatticeView,
    Limits,
    LinePut,
    MemoryLine,
    NotNovelError,
    NoWinnerError,
    Origin,
    PmllError,
    Point,
    RaceDecided,
    RaceOutcome,
    Recovery,
    Source,
    StaleAnchorError,
    Where,
    Writer,
    fence,
    journal_key,
    source_of,
    stamp,
)
from pmll_async.integrity import Passphrase, RawKey
from pmll_async.protocols import Clock, Store
from pmll_async.stores.memory import MemoryStore


def fixed() -> float:
    return 1.0


clock: Clock = fixed
store: Store = MemoryStore()
lattice = Lattice(
    store,
    dim=4,
    value_dim=2,
    concert=Concert(tau=3600),
    clock=clock,
    integrity_key=b"secret",
    limits=Limits(cached_lines=10),
)


async def openings() -> None:
    async with Lattice.open("memory", dim=384) as opened:
        assert_type(opened, Lattice)
    later = await Lattice.open("memory", sync="os", read_only=True, lock_timeout=1.0)
    assert_type(later, Lattice)
    await later.aclose()

    async def fetched(store_id: str) -> bytes:
        return bytes(len(store_id))

    for secret in (Passphrase("words"), RawKey(bytes(32)), fetched):
        await Lattice.open("hidden", secret=secret, suite="xchacha20-poly1305")


async def writes() -> None:
    context: dict[str, JsonValue] = {"topic": "x", "tags": ["a", 1, None]}
    assert_type(await lattice.put([1, 2, 3, 4], [0.5, 0.5], context), str)
    assert_type(await lattice.put(np.ones(4), np.ones(2)), str)
    anchor = await lattice.put((1.0, 0.0, 0.0, 0.0), None, {"topic": "x"}, lattice.head)
    await lattice.put(
        [1.0] * 4, timestamp=1, revises=(anchor,), min_novelty=0.1, idempotency_key="k"
    )
    assert_type(await lattice.note({"a": 1}), str)
    await lattice.note(stamp({"a": 1}, {"run": "r"}), idempotency_key=journal_key("n"))
    await lattice.decay(anchor, 0.5)
    await lattice.forget(anchor)
    await lattice.rollback(anchor)
    await lattice.put(np.ones(4), ttl=60)
    await lattice.put(np.ones(4), pinned=True)
    kept = await lattice.lasting({"topic": "x"}, expires_at=2e9)
    await lattice.put_many([Candidate(key=np.ones(4), context=kept)])
    await lattice.forget(anchor, erase=True)
    assert_type(await lattice.forget_where({"topic": "x"}, erase=True), tuple[str, ...])
    assert_type(await lattice.compact(), tuple[str, ...])


async def names(candidate: Candidate) -> None:
    writer = lattice.as_writer("web", trust=0.5, channel="https", quarantine=True)
    assert_type(writer, Writer)
    anchor = await writer.put(np.ones(4), None, {"topic": "x"}, timestamp=1)
    assert_type(anchor, str)
    assert_type(await writer.derived_from(anchor).note({"a": 1}), str)
    assert_type(await writer.put_many(stream()), int)
    assert_type(await writer.candidate(candidate), Candidate)
    assert_type(await lattice.release(anchor), str)
    assert_type(await lattice.revoke("web"), str)
    assert_type(await lattice.why(anchor), tuple[Origin, ...])
    lines = await lattice.query(
        np.ones(4), min_trust=0.5, min_sources=2, agreement=0.9, diversity=True
    )
    assert_type(source_of(lines[0].context), Source | None)
    assert_type(fence(["a"], name="page"), str)


async def stream() -> AsyncIterator[Candidate]:
    yield Candidate(key=[1.0, 2.0, 3.0, 4.0])


async def many() -> None:
    def told(stored: int) -> None: ...

    assert_type(await lattice.put_many(stream(), batch=64, progress=told), int)
    await lattice.put_many([Candidate(key=np.ones(4), context={"a": 1})])
    await lattice.put_many(Candidate(key=np.ones(4), name=str(i)) for i in range(3))


async def reads(where: Where) -> None:
    lines = await lattice.query([1.0] * 4, k=3, where=where, min_similarity=0.2, branches=False)
    assert_type(lines, list[MemoryLine])
    assert_type(await lattice.bias_vector(np.ones(4), now=1.0), NDArray[np.float32])
    assert_type(await lattice.get(lattice.head), MemoryLine)
    assert_type(await lattice.find("k"), MemoryLine)
    assert_type(await lattice.branches(lattice.head), list[MemoryLine])
    async for line in lattice.rewind(where={"step": {"$gte": 3}}, limit=5, start=lattice.head):
        assert_type(line, MemoryLine)
    assert_type((lattice.head, lattice.digest, lattice.revision), tuple[str, str, int])
    assert_type((len(lattice), lattice.head in lattice), tuple[int, bool])
    assert_type((lattice.dim, lattice.value_dim), tuple[int, int])
    assert_type(lattice.recovery, Recovery)
    await lattice.pin("embedder", "e1")
    assert_type(lattice.pins, Mapping[str, str])


def facts(line: MemoryLine) -> Sequence[float]:
    assert_type(line.position, int | None)
    assert_type(line.key, NDArray[np.float32])
    context: Mapping[str, JsonValue] = line.context
    assert context
    if line.kind == "branch":
        return [line.strength]
    return [line.timestamp, line.committed_at, line.recency, line.novelty, line.weight]


async def past(point: Point) -> None:
    view = lattice.at(point)
    assert_type(view, LatticeView)
    assert_type(view.now, float)
    for moment in (lattice.head, 3, datetime.now(UTC)):
        assert_type(await lattice.at(moment).query([1.0] * 4), list[MemoryLine])


async def candidate(view: LatticeView) -> Candidate:
    found = await view.query([1.0] * 4, k=1)
    return Candidate(key=found[0].key, value=found[0].value, confidence=0.5, name="a")


async def judge(proposed: Candidate, view: LatticeView) -> float:
    return proposed.confidence * len(view)


def quick_judge(proposed: Candidate, view: LatticeView) -> float:
    return proposed.confidence


async def races() -> None:
    function: CandidateFunction[LatticeView] = candidate
    plain: Callable[[LatticeView], Awaitable[Candidate]] = candidate
    judges: list[Judge[LatticeView]] = [judge, quick_judge]
    outcome = await lattice.race([function, plain], query=np.ones(4), timeout=2.0, decay=0.25)
    assert_type(outcome, RaceOutcome)
    assert_type(outcome.winner, MemoryLine)
    assert_type(outcome.losers, tuple[MemoryLine, ...])
    assert_type(outcome.failures, tuple[CandidateFailure, ...])
    assert_type(outcome.scores, tuple[CandidateScore, ...])
    assert_type(outcome.unfinished, tuple[str, ...])
    for one in judges:
        await lattice.race([candidate], judge=one, prev_anchor=lattice.head, idempotency_key="r")
    await lattice.race([candidate], judge=quick_judge)


async def listening() -> list[str]:
    anchors: list[str] = []
    async with lattice.events(buffer=10) as events:
        async for event in events:
            assert_type(event, CommitEvent)
            match event:
                case LinePut(anchor=anchor) | RaceDecided(winner=anchor):
                    anchors.append(anchor)
                case EventsMissed(count=count):
                    anchors.append(str(count))
                case _:
                    anchors.append(str(event.revision))
    return anchors


async def errors() -> str | int | None:
    try:
        async with lattice.lock("name"):
            await lattice.put([1.0] * 4)
    except StaleAnchorError as stale:
        return stale.current
    except ConflictError as conflict:
        return conflict.anchor
    except NotNovelError as known:
        return known.nearest
    except NoWinnerError as lost:
        return len(lost.failures) + len(lost.unfinished)
    except PmllError as error:
        return error.stored
    return None
