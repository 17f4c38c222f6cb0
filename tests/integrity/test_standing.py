"""What acts hide: the closure over parents, against one that is written the other way round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmll_async import InvalidContextError, Lattice, stamp
from pmll_async.integrity.source import Source, low_water, source_of, sourced
from pmll_async.integrity.standing import Act, Standing, act_note, act_of, hide_derived
from pmll_async.stores.memory import MemoryStore
from pmll_async.values.contexts import encode_at_once, encode_context, reencode_context

ANCHOR = "0123456789abcdef"


@st.composite
def families(draw: st.DrawFn) -> list[list[int]]:
    """For each line the lines before it that it was derived from."""
    count = draw(st.integers(1, 12))
    return [
        sorted(draw(st.sets(st.integers(0, line - 1), max_size=3))) if line else []
        for line in range(count)
    ]


def is_hidden(line: int, own: set[int], parents: list[list[int]]) -> bool:
    """From a line up to its ancestors, as a person would ask."""
    return line in own or any(is_hidden(parent, own, parents) for parent in parents[line])


@given(families(), st.sets(st.integers(0, 11)))
def test_all_that_came_of_a_hidden_line_is_hidden_and_nothing_else(
    parents: list[list[int]], own: set[int]
) -> None:
    hidden = np.array([line in own for line in range(len(parents))])
    hide_derived(hidden, [(line, above) for line, above in enumerate(parents) if above])
    assert hidden.tolist() == [is_hidden(line, own, parents) for line in range(len(parents))]


# What is done to a lattice: a line by one of three, of some lines before it, held or not; an act.
principals = st.sampled_from(["a", "b", "c"])
places = st.floats(0.0, 0.999)
holds = st.sampled_from([False, False, True])
writing = st.tuples(st.just("write"), principals, st.lists(places, max_size=2), holds)
acting = st.tuples(
    st.sampled_from(["quarantine", "release", "revoke", "reinstate"]), principals, places
)


class Model:
    """The same, by looking at everything again."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, list[str], bool]] = []
        self.held: dict[str, bool] = {}
        self.revoked: set[str] = set()

    def hides(self, anchor: str) -> bool:
        name, parents, held = next(line[1:] for line in self.lines if line[0] == anchor)
        own = name in self.revoked or self.held.get(anchor, held)
        return own or any(self.hides(parent) for parent in parents)

    def shown(self) -> set[str]:
        return {line[0] for line in self.lines if not self.hides(line[0])}


async def do(lattice: Lattice, model: Model, step: tuple[Any, ...]) -> None:
    if step[0] == "write":
        _, name, above, held = step
        known = [line[0] for line in model.lines]
        parents = list(dict.fromkeys(known[int(at * len(known))] for at in above if known))
        writer = lattice.as_writer(name, quarantine=held).derived_from(*parents)
        anchor = await writer.put([1.0, 0.5], context={"n": len(known)})
        model.lines.append((anchor, name, parents, held))
        return
    deed, name, at = step
    if deed in ("revoke", "reinstate"):
        await getattr(lattice, deed)(name)
        (model.revoked.add if deed == "revoke" else model.revoked.discard)(name)
    elif model.lines:
        anchor = model.lines[int(at * len(model.lines))][0]
        await getattr(lattice, deed)(anchor)
        model.held[anchor] = deed == "quarantine"


@settings(max_examples=40)
@given(st.lists(writing | acting, max_size=20))
async def test_a_lattice_shows_what_a_look_at_everything_shows(steps: list[Any]) -> None:
    async with Lattice(MemoryStore(), dim=2) as lattice:
        model, states = Model(), []
        for step in steps:
            await do(lattice, model, step)
            shown = {line.anchor for line in await lattice.query([1.0, 0.5], 99)}
            assert shown == model.shown()
            states.append((lattice.revision, shown))
            for anchor, *_ in model.lines:
                status = (await lattice.why(anchor))[0].status
                assert (status == "shown") == (anchor in shown)
        for revision, shown in states:
            view = lattice.at(revision)
            assert {line.anchor for line in await view.query([1.0, 0.5], 99)} == shown


@pytest.mark.parametrize(
    "act", [Act("quarantine", ANCHOR), Act("release", ANCHOR), Act("revoke", "a")]
)
def test_an_act_reads_back(act: Act) -> None:
    assert act_of(act_note(act)) == act


@pytest.mark.parametrize(
    "facts",
    [
        {"policy": "revoke"},
        {"policy": {"act": "forgive", "of": "a"}},
        {"policy": {"act": "revoke", "of": 5}},
        {"policy": {"act": "release", "of": "not an anchor"}},
        {"policy": {"act": "revoke", "of": "a"}, "source": {"principal": "a", "trust": 1}},
        {},
    ],
)
def test_what_is_no_act_acts_not(facts: dict[str, Any]) -> None:
    assert act_of(stamp({}, facts)) is None


def test_the_last_act_holds() -> None:
    acts = [Act("revoke", "a"), Act("quarantine", ANCHOR), Act("revoke", "b")]
    standing = Standing([*acts, Act("release", ANCHOR), Act("reinstate", "a")])
    assert (standing.revoked, standing.held) == ({"b"}, {ANCHOR: False})


@pytest.mark.parametrize(
    "facts", [5, {}, {"principal": "a"}, {"principal": 5, "trust": 1}, {"trust": 1}]
)
def test_what_names_nobody_is_the_owners(facts: Any) -> None:
    assert source_of({"pmll": {"source": facts}}) is None
    assert source_of({"pmll": facts}) is None


@pytest.mark.parametrize("trust", [0.0, 0.3, 1 / 3, 1.0])
def test_a_stamped_context_has_the_same_bytes_at_once_and_in_steps(trust: float) -> None:
    context = sourced({"topic": "x", "n": {"a": 1}}, Source("a", trust, "mail"))
    at_once = encode_at_once(context, 1024)
    assert at_once == encode_context(context) == reencode_context(dict(context))
    assert encode_at_once(context, 10) is None
    with pytest.raises(InvalidContextError):
        encode_context(context, 10)


def test_a_source_reads_back_and_trust_only_sinks() -> None:
    source = Source("a", 0.5, "mail", (ANCHOR,), quarantined=True)
    context = sourced({"topic": "x"}, source)
    assert source_of(context) == source
    assert low_water(0.75, [context, {}]) == 0.5
    assert low_water(0.25, [context]) == 0.25
