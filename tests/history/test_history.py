"""Puts, races, decays, forgetting and rollbacks in any order, and every state read again."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import history_checks as checks
import pytest
from drawing import examples
from history_model import Given, Model
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pmll_async import Candidate, Concert, ConflictError, Lattice, LineNotFoundError, PmllError
from pmll_async.protocols import Store
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import ManualClock
from pmll_async.values.lines import Limits

DIM = 3
VECTORS = checks.some_vectors(DIM)
CONCERT = Concert(tau=1000.0)

vectors = st.sampled_from(VECTORS)
contexts = st.sampled_from([{}, {"topic": "a"}, {"topic": "b", "n": 1.5}])
maybe_keys = st.none() | st.sampled_from(["k1", "k2", "k3"])
times = st.sampled_from([0.0, 1.0, 500.0, -300.0])
timestamps = st.none() | st.sampled_from([1_699_999_000.0, 1_800_000_000.0])
fractions = st.sampled_from([0.0, 0.04, 0.5, 1.0])
places = st.integers(0, 99)


class History(RuleBasedStateMachine):
    """Runs every call on a lattice and on the model; both must say the same, errors included."""

    window: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.model = Model(DIM, CONCERT, self.window)
        self.store: Store = self.make_store()
        self.lattice = self.opened()

    def make_store(self) -> Store:
        return MemoryStore()

    def reopened_store(self) -> Store:
        return self.store

    def opened(self) -> Lattice:
        async def opening() -> Lattice:
            # Two cached lines, so that most are read from the store.
            limits = Limits(cached_lines=2)
            # What is fixed when the store is made is not said again.
            window = self.window if self.model.revision == 0 else None
            return await Lattice(
                self.store,
                dim=DIM,
                clock=self.clock,
                concert=CONCERT,
                limits=limits,
                novelty_window=window,
            )

        return self.runner.run(opening())

    async def closed(self) -> str:
        """Close the lattice and return the digest that it had."""
        digest = self.lattice.digest
        await self.lattice.aclose()
        return digest

    def agree(self, calls: list[tuple[Any, Callable[[], Any]]]) -> list[Any]:
        """Run calls of the lattice at once, and of the model in order: the same results."""

        async def gathered() -> list[Any]:
            results = await asyncio.gather(*(call for call, _ in calls), return_exceptions=True)
            return [*(told(result) for result in results), self.lattice.revision]

        *found, revision = self.runner.run(gathered())
        expected = [self.of_model(call) for _, call in calls]
        assert found == expected
        assert revision == self.model.revision
        return found

    @staticmethod
    def of_model(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except PmllError as exc:
            return told(exc)

    def an_anchor(self, place: int) -> str:
        """An anchor that there ever was."""
        lines = self.model.now.lines
        return lines[place % len(lines)].anchor

    def put_calls(self, given: Given, key: str | None) -> tuple[Any, Callable[[], Any]]:
        t = self.clock.now
        call = self.lattice.put(
            given.key,
            given.value,
            given.context,
            timestamp=given.timestamp,
            revises=given.revises,
            idempotency_key=key,
        )
        return call, lambda: self.model.put(given, t, key)

    # --- rules ---------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.agree([self.put_calls(Given(VECTORS[0], None, {}), None)])

    @rule(seconds=times)
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(key=vectors, value=st.none() | vectors, context=contexts, at=timestamps, used=maybe_keys)
    def put(self, key: Any, value: Any, context: Any, at: float | None, used: str | None) -> None:
        self.agree([self.put_calls(Given(key, value, context, at), used)])

    @rule(context=contexts, used=maybe_keys)
    def note(self, context: Any, used: str | None) -> None:
        t = self.clock.now
        call = self.lattice.note(context, idempotency_key=used)
        self.agree([(call, lambda: self.model.put(Given(None, None, context), t, used))])

    @rule(key=vectors, revised=st.lists(places, min_size=1, max_size=2), used=maybe_keys)
    def revise(self, key: Any, revised: list[int], used: str | None) -> None:
        anchors = tuple(dict.fromkeys(self.an_anchor(place) for place in revised))
        self.agree([self.put_calls(Given(key, None, {"topic": "a"}, revises=anchors), used)])

    @rule(
        entries=st.lists(
            st.tuples(vectors, contexts, st.sampled_from([0.5, 1.0, None])), min_size=1, max_size=4
        ),
        decay=fractions,
        revised=st.none() | places,
        used=maybe_keys,
    )
    def race(self, entries: list[Any], decay: float, revised: int | None, used: str | None) -> None:
        revises = () if revised is None else (self.an_anchor(revised),)
        proposed = [
            (Given(key, None, context, revises=revises), confidence)
            for key, context, confidence in entries
        ]
        sound = [(given, score) for given, score in proposed if score is not None]
        if not sound:
            return
        t = self.clock.now
        call = self.raced(proposed, decay, used)
        self.agree([(call, lambda: self.model.race(sound, decay, t, used))])

    async def raced(self, proposed: list[Any], decay: float, used: str | None) -> str:
        functions = [candidate_function(given, score) for given, score in proposed]
        outcome = await self.lattice.race(functions, decay=decay, idempotency_key=used)
        losers = [line.anchor for line in await self.lattice.branches(outcome.winner.anchor)]
        assert [line.anchor for line in outcome.losers] == losers
        return outcome.winner.anchor

    @rule(place=places, factor=st.sampled_from([0.0, 0.09, 0.5, 3.0]))
    def decay(self, place: int, factor: float) -> None:
        t, anchor = self.clock.now, self.an_anchor(place)
        call = self.lattice.decay(anchor, factor)
        self.agree([(call, lambda: self.model.decay(anchor, factor, t))])

    @rule(place=places)
    def forget(self, place: int) -> None:
        t, anchor = self.clock.now, self.an_anchor(place)
        self.agree([(self.lattice.forget(anchor), lambda: self.model.forget(anchor, t))])

    @precondition(lambda self: bool(self.model.now.keys))
    @rule(key=vectors, place=places, is_race=st.booleans())
    def forget_and_use_the_key_again(self, key: Any, place: int, is_race: bool) -> None:
        """Another content is no conflict then, and asked for twice it is there once."""
        used = sorted(self.model.now.keys)[place % len(self.model.now.keys)]
        t, anchor = self.clock.now, self.model.now.keys[used].line.anchor
        self.agree([(self.lattice.forget(anchor), lambda: self.model.forget(anchor, t))])
        if is_race:
            self.race([(key, {"topic": "c"}, 1.0), (key, {}, 0.5)], 0.5, None, used)
            self.race([(key, {"topic": "d"}, 1.0)], 0.5, None, used)
        else:
            given = Given(key, None, {"topic": "c"})
            first, second = self.agree([self.put_calls(given, used), self.put_calls(given, used)])
            assert first == second

    @rule(keys=st.lists(st.tuples(vectors, maybe_keys), min_size=2, max_size=4), place=places)
    def several_at_once(self, keys: list[tuple[Any, str | None]], place: int) -> None:
        """What is asked for together is decided in order, and may share a batch."""
        calls = [self.put_calls(Given(key, None, {"topic": "b"}), used) for key, used in keys]
        t, anchor = self.clock.now, self.an_anchor(place)
        decay = (self.lattice.decay(anchor, 0.5), lambda: self.model.decay(anchor, 0.5, t))
        self.agree([*calls[:1], decay, *calls[1:]])

    @precondition(lambda self: self.model.revision > 1)
    @rule(place=places, by_anchor=st.booleans())
    def rollback(self, place: int, by_anchor: bool) -> None:
        point = self.an_anchor(place) if by_anchor else place % (self.model.revision + 1)
        self.roll_back_to(point)

    @precondition(lambda self: self.model.revision > 1)
    @rule(back=st.integers(1, 3))
    def rollback_and_put_again(self, back: int) -> None:
        """The last lines come off the chain, and go on it again with the same anchors."""
        chain = self.model.now.chain
        if not chain:
            return
        taken = [line for line in chain[-back:] if line.given.key is not None]
        if taken:
            self.roll_back_to(taken[0].record)
            self.clock.advance(5.0)
            [anchor] = self.agree([self.put_calls(Given(*given_parts(taken[0].given)), None)])
            assert anchor == taken[0].anchor

    def roll_back_to(self, point: str | int) -> None:
        t = self.clock.now
        call = self.lattice.rollback(point)
        revision = self.model.revision_at(point)
        self.agree([(call, lambda: self.model.rollback(revision, t))])

    @rule()
    def reopen(self) -> None:
        digest = self.runner.run(self.closed())
        self.store = self.reopened_store()
        self.lattice = self.opened()
        assert self.runner.run(self.closed()) == digest
        self.store = self.reopened_store()
        self.lattice = self.opened()

    @rule(revision=places)
    def read(self, revision: int) -> None:
        revision %= self.model.revision + 1
        state = self.model.states[revision]

        async def reading() -> None:
            await checks.check(self.lattice.at(revision), self.model, state, VECTORS[:2])

        self.runner.run(reading())

    @rule()
    def read_the_newest(self) -> None:
        self.runner.run(checks.check(self.lattice, self.model, self.model.now, VECTORS[:2]))

    def teardown(self) -> None:
        try:
            self.read_the_newest()
            self.reopen()
            self.runner.run(checks.check_every_revision(self.lattice, self.model, VECTORS[:1]))
        finally:
            self.runner.run(self.lattice.aclose())
            self.runner.close()
            shutil.rmtree(self.folder)


class JsonlHistory(History):
    def make_store(self) -> Store:
        return JsonlStore(self.folder / "memory", sync="os")

    def reopened_store(self) -> Store:
        return self.make_store()


class WindowHistory(History):
    """Novelty is of three lines, so that most of what is forgotten or rolled back moves them."""

    window = 3


class WindowJsonlHistory(JsonlHistory):
    window = 2


def told(result: Any) -> Any:
    """Errors by their class: their words are not the model's affair."""
    if isinstance(result, ConflictError):
        return ("conflict", result.anchor)
    if isinstance(result, LineNotFoundError):
        return ("not found", result.name)
    if isinstance(result, PmllError):
        return type(result).__name__
    if isinstance(result, BaseException):
        raise result
    return result


def candidate_function(given: Given, score: float | None) -> Any:
    async def candidate(_: Any) -> Candidate:
        if score is None:
            raise ValueError("no luck")
        return Candidate(
            key=given.key,
            value=given.value,
            context=given.context,
            confidence=score,
            revises=given.revises,
        )

    return candidate


def given_parts(given: Given) -> tuple[Any, ...]:
    return given.key, given.value, given.context


quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
TestHistory = pytest.mark.slow(History.TestCase)
TestHistory.settings = settings(
    max_examples=examples(20), stateful_step_count=30, deadline=None, suppress_health_check=quiet
)


@pytest.mark.slow
@pytest.mark.parametrize("machine", [JsonlHistory, WindowHistory, WindowJsonlHistory])
def test_history_in_files_and_with_windows(machine: type[History]) -> None:
    limits = settings(
        max_examples=examples(8), stateful_step_count=20, deadline=None, suppress_health_check=quiet
    )
    run_state_machine_as_test(machine, settings=limits)
