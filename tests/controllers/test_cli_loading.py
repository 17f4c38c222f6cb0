"""``MODULE:CONTROLLER``: what may be named, and what is said of anything else."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
import typer

from controllers.cli.targets import attribute, opened
from pmll_async import LatticeClosedError

AGENT = """
from contextlib import asynccontextmanager

from controllers import Done, Plan, RTMController
from pmll_async import Candidate, Lattice
from pmll_async.text import TextMemory

STEPS = {
    "plan": lambda ctx: Plan(),
    "act": [lambda ctx, plan: Candidate(key=[1, 0], context={"deps": ctx.deps})],
    "reflect": lambda ctx, outcome: Done(str(outcome.winner.context["deps"])),
}
controller = RTMController(Lattice.open("runs", dim=2), **STEPS, max_cycles=3)
number = 17
left = []


class Holder:
    inner = controller


def plainly():
    return RTMController(Lattice.open("runs", dim=2), **STEPS)


async def awaited():
    return RTMController(await Lattice.open("runs", dim=2), **STEPS)


@asynccontextmanager
async def made(more=None):
    async with Lattice.open("runs", dim=2) as lattice:
        yield RTMController(lattice, **STEPS), "some"
        await lattice.put([1, 0])  # it is still open
        left.append("made")


def text():
    async def act(ctx, plan):
        return await ctx.texts.candidate("a text", context={"deps": None})
    return RTMController(TextMemory.open("texts"), **STEPS | {"act": [act]})


def needy(argument):
    raise AssertionError


def wrong():
    return 17


@asynccontextmanager
async def void():
    yield None
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "an_agent.py").write_text(AGENT, encoding="utf-8")
    (tmp_path / "broken_agent.py").write_text("import no_such_package\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "an_agent", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", ["controller", "Holder.inner", "plainly", "awaited", "text"])
def test_each_way_is_opened_and_closed(name: str) -> None:
    found = attribute(f"an_agent:{name}")

    async def use() -> None:
        async with opened(found) as known:
            result = await known.controller.run("count", known.deps)
            assert (result.status, result.text) == ("done", "None")
            assert known.max_cycles == (3 if name in ("controller", "Holder.inner") else 8)
            lattice = known.lattice()
        with pytest.raises(LatticeClosedError):
            await lattice.put([1, 0])

    asyncio.run(use())


def test_a_context_manager_keeps_its_lattice_and_gives_deps() -> None:
    found = attribute("an_agent:made")

    async def use() -> None:
        async with opened(found) as known:
            assert (await known.controller.run("count", known.deps)).text == "some"

    asyncio.run(use())
    assert sys.modules["an_agent"].left == ["made"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("an_agent", "'an_agent' is not of the form MODULE:CONTROLLER"),
        ("an_agent:", "is not of the form MODULE:CONTROLLER"),
        ("nowhere:controller", "there is no module 'nowhere', here in "),
        ("an_agent.inner:controller", "there is no module 'an_agent.inner'"),
        ("an_agent:nothing", "there is no 'nothing' in the module 'an_agent'"),
        ("an_agent:Holder.outer", "there is no 'Holder.outer'"),
        ("an_agent:number", "what it names, of int, is, or gives, int"),
        ("an_agent:needy", "'needy' takes arguments"),
        ("an_agent:wrong", "'wrong' is, or gives, int"),
        ("an_agent:void", "'void' is, or gives, NoneType"),
    ],
)
def test_anything_else_is_refused_with_an_example(name: str, reason: str) -> None:
    async def use(found: object) -> None:
        async with opened(found):
            raise AssertionError

    with pytest.raises(typer.BadParameter) as refused:
        asyncio.run(use(attribute(name)))
    assert reason in refused.value.message
    assert "yield RTMController(lattice" in refused.value.message


def test_what_a_module_itself_lacks_is_its_own_affair() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        attribute("broken_agent:controller")


def test_the_current_folder_comes_first(here: Path) -> None:
    attribute("an_agent:number")
    attribute("an_agent:number")
    assert sys.path[0] == str(here)
    assert sys.path.count(str(here)) == 1
