"""A lattice for each of many tenants, of which so many are open at once."""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thread_support import our_threads, threads_gone

from pmll_async import (
    DimensionMismatchError,
    InvalidInputError,
    Lattice,
    LatticeClosedError,
    LatticePool,
    StoreLockedError,
    StoreMovedError,
)
from pmll_async.indexes.exact import ExactIndex
from pmll_async.pool import _folder_of
from pmll_async.text import TextMemory

STRANGE = ["", ".", "..", "../../etc", "CON", "a/b\\c", "\0", "Anna", "anna", "\ud800", "🐘" * 300]


@pytest.fixture
async def root(tmp_path: Path) -> AsyncIterator[Path]:
    yield tmp_path / "tenants"
    await threads_gone()


def pool_of(root: Path, **options: Any) -> LatticePool:
    return LatticePool(root, **{"dim": 2, **options})


async def put(pool: LatticePool, tenant: str) -> str:
    async with pool.lease(tenant) as lattice:
        return await lattice.put([1.0, len(lattice)], None, {"tenant": tenant.encode().hex()})


def are_open(root: Path) -> int:
    """How many folders have a lattice open here: each keeps its lock."""
    held = 0
    for entry in Path("/proc/self/fd").iterdir():
        # The listing's own is gone.
        with suppress(FileNotFoundError):
            held += entry.readlink().match(f"{root}/*/memory/LOCK")
    return held


# --- leases -------------------------------------------------------------------------------------


async def test_what_is_put_for_a_tenant_is_there_for_that_tenant_alone(root: Path) -> None:
    async with pool_of(root) as pool:
        anchors = [await put(pool, name) for name in ("anna", "bert", "anna")]
        async with pool.lease("anna") as lattice:
            assert [line.anchor async for line in lattice.rewind()] == [anchors[2], anchors[0]]
    async with pool_of(root) as pool, pool.lease("bert") as lattice:
        assert len(lattice) == 1
        assert anchors[1] in lattice


async def test_all_who_lease_a_tenant_share_its_lattice(root: Path) -> None:
    async with pool_of(root, max_open=1) as pool:
        async with pool.lease("anna") as one, pool.lease("anna") as other:
            assert one is other
        async with pool.lease("anna") as again:
            assert again is one, "it stays open while nobody needs its place"


async def test_any_text_names_a_tenant(root: Path) -> None:
    async with pool_of(root, max_open=2) as pool:
        for name in STRANGE:
            async with pool.lease(name) as lattice:
                await lattice.note({"tenant": name.encode("utf-8", "surrogatepass").hex()})
        for name in STRANGE:
            async with pool.lease(name) as lattice:
                [line] = [line async for line in lattice.rewind()]
                assert line.context["tenant"] == name.encode("utf-8", "surrogatepass").hex()
        assert sorted([name async for name in pool.tenants()]) == sorted(STRANGE)
    assert all(path.parent == root for path in root.iterdir())


@given(st.lists(st.text(), max_size=5, unique=True))
def test_folders_of_different_tenants_differ(names: list[str]) -> None:
    folders = {_folder_of(name).lower() for name in names}
    assert len(folders) == len(names)
    assert all(len(folder) < 100 and folder.isascii() and "/" not in folder for folder in folders)


async def test_folders_and_files_are_private(root: Path) -> None:
    async with pool_of(root) as pool:
        await put(pool, "anna")
    for path in [root, *root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


async def test_a_text_memory_works_over_a_lease(root: Path) -> None:
    async with LatticePool(root, dim=384, value_dim=0) as pool:
        async with pool.lease("anna") as lattice, TextMemory(lattice) as memory:
            await memory.remember("The spare key is in the green drawer")
        async with pool.lease("anna") as lattice, TextMemory(lattice) as memory:
            [found] = await memory.recall("Where is the spare key?")
            assert "green drawer" in found.text


# --- how many are open ----------------------------------------------------------------------------


async def test_the_one_that_was_used_least_lately_is_closed(root: Path) -> None:
    async with pool_of(root, max_open=2) as pool:
        async with pool.lease("a") as first:
            await put(pool, "b")
        await put(pool, "a")
        await put(pool, "c")
        assert are_open(root) == 2
        async with pool.lease("a") as again:
            assert again is first, "b was used before it"
        async with pool.lease("b") as lattice:
            assert len(lattice) == 1


async def test_where_all_are_in_use_one_waits_and_who_came_first_goes_first(root: Path) -> None:
    order = []
    async with pool_of(root, max_open=1) as pool, AsyncExitStack() as leased:
        await leased.enter_async_context(pool.lease("a"))

        async def lease(name: str) -> None:
            async with pool.lease(name):
                order.append(name)
                assert are_open(root) == 1

        waiting = []
        for name in "bcd":
            waiting.append(asyncio.ensure_future(lease(name)))
            await asyncio.sleep(0)
        async with pool.lease("a"):
            await asyncio.sleep(0)
        assert order == []
        await leased.aclose()
        await asyncio.gather(*waiting)
    assert order == ["b", "c", "d"]


async def test_many_tenants_in_a_few_places(root: Path) -> None:
    async with pool_of(root, max_open=8) as pool:

        async def use(number: int) -> None:
            await put(pool, f"tenant {number % 40}")
            assert are_open(root) <= 8

        await asyncio.gather(*(use(number) for number in range(200)))
        assert len(pool._tenants) == len(pool._idle) == pool._open == 8
        for number in range(40):
            async with pool.lease(f"tenant {number}") as lattice:
                assert len(lattice) == 5


async def test_while_all_are_idle_no_thread_is_kept(root: Path) -> None:
    async with pool_of(root) as pool:
        for number in range(20):
            await put(pool, str(number))
        assert are_open(root) == 20
        # The shared ones that commit and answer; none of a lattice's own.
        assert len(our_threads()) <= 12


# --- what goes wrong ------------------------------------------------------------------------------


async def test_a_cancelled_lease_leaves_no_trace(root: Path) -> None:
    async with pool_of(root, max_open=1) as pool:
        for turns in range(30):
            task = asyncio.ensure_future(put(pool, f"tenant {turns % 3}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for number in range(3):
            await put(pool, f"tenant {number}")
        assert are_open(root) == pool._open == 1


async def test_a_lattice_that_cannot_be_opened_keeps_no_place(root: Path) -> None:
    async with pool_of(root) as pool:
        await put(pool, "a")
    async with pool_of(root, dim=3, max_open=1) as pool:
        for _ in range(2):
            with pytest.raises(DimensionMismatchError):
                await put(pool, "a")
        async with pool.lease("b") as lattice:
            await lattice.put([1.0, 0.0, 0.0])


async def test_a_tenant_that_is_open_elsewhere(root: Path) -> None:
    async with pool_of(root) as pool:
        async with Lattice.open(pool.path("a"), dim=2):
            with pytest.raises(StoreLockedError):
                await put(pool, "a")
        await put(pool, "a")


async def test_a_lattice_that_takes_no_more_writes_is_opened_anew(root: Path) -> None:
    async with pool_of(root) as pool:
        await put(pool, "a")
        shutil.move(pool.path("a").parent, root / "moved")
        with pytest.raises(StoreMovedError):
            await put(pool, "a")
        await put(pool, "a")
        async with pool.lease("a") as lattice:
            assert len(lattice) == 1, "in a folder of its own"


async def test_an_error_in_the_block_is_the_caller_s(root: Path) -> None:
    async with pool_of(root, max_open=1) as pool:
        with pytest.raises(ZeroDivisionError):
            async with pool.lease("a"):
                raise ZeroDivisionError
        await put(pool, "b")


async def test_bad_arguments_are_refused_before_anything_is_made(root: Path) -> None:
    for options, message in (
        ({"max_open": 0}, "1 lattice or more"),
        ({"seal_on_close": "seal.json"}, "within a lease"),
        ({"novelty_window": 0}, "novelty_window"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            pool_of(root, **options)
    with pytest.raises(TypeError):
        pool_of(root, dimension=2)
    async with pool_of(root) as pool:
        with pytest.raises(InvalidInputError, match="named by a text"):
            await put(pool, 3)  # type: ignore[arg-type]  # what is refused
    assert not root.exists()


async def test_each_lattice_has_an_index_of_its_own(root: Path) -> None:
    made = []

    def index() -> ExactIndex:
        made.append(ExactIndex())
        return made[-1]

    async with pool_of(root, index=index) as pool:
        await put(pool, "a")
        await put(pool, "b")
    assert len(set(map(id, made))) >= 2


# --- deleting and closing -------------------------------------------------------------------------


async def test_deleting_a_tenant(root: Path) -> None:
    async with pool_of(root) as pool:
        await put(pool, "a")
        await put(pool, "b")
        assert await pool.delete("a")
        assert not await pool.delete("a")
        assert not await pool.delete("nobody")
        assert [name async for name in pool.tenants()] == ["b"]
        assert len(list(root.iterdir())) == 1
        async with pool.lease("a") as lattice:
            assert len(lattice) == 0


async def test_who_has_a_lease_of_a_deleted_tenant_is_told(root: Path) -> None:
    async with pool_of(root) as pool:
        async with pool.lease("a") as lattice:
            await pool.delete("a")
            with pytest.raises(LatticeClosedError):
                await lattice.put([1.0, 0.0])
            await put(pool, "a")
        async with pool.lease("a") as lattice:
            assert len(lattice) == 1


async def test_what_is_open_elsewhere_is_not_deleted(root: Path) -> None:
    async with pool_of(root) as pool:
        await put(pool, "a")
        async with pool_of(root) as elsewhere:
            # In this process, as well as in another.
            with pytest.raises(StoreLockedError):
                await elsewhere.delete("a")
            assert [name async for name in elsewhere.tenants()] == ["a"]
        assert await put(pool, "a")


async def test_what_cannot_be_opened_can_be_deleted(root: Path) -> None:
    async with pool_of(root) as pool:
        await put(pool, "a")
        await pool.aclose()
        (pool.path("a") / "store.json").write_bytes(b"{}")
    async with pool_of(root) as pool:
        assert await pool.delete("a")
        assert list(root.iterdir()) == []


async def test_a_lattice_that_somebody_closed_is_opened_anew(root: Path) -> None:
    async with pool_of(root) as pool:
        async with pool.lease("a") as lattice:
            await lattice.aclose()
        with pytest.raises(LatticeClosedError):
            await put(pool, "a")
        await put(pool, "a")


async def test_a_deletion_that_was_interrupted_is_finished(root: Path) -> None:
    async with pool_of(root) as pool:
        await put(pool, "a")
        folder = pool.path("a").parent
        folder.rename(folder.with_name(f".{folder.name}.gone"))
        assert [name async for name in pool.tenants()] == []
    async with pool_of(root) as pool:
        assert list(root.iterdir()) == []
        assert [name async for name in pool.tenants()] == []


async def test_a_closed_pool(root: Path) -> None:
    pool = pool_of(root, max_open=1)
    async with pool, pool.lease("a") as lattice:
        waiting = asyncio.ensure_future(put(pool, "b"))
        await asyncio.sleep(0)
        await pool.aclose()
        with pytest.raises(LatticeClosedError):
            await waiting
        with pytest.raises(LatticeClosedError):
            await lattice.put([1.0, 0.0])
    assert are_open(root) == 0
    with pytest.raises(LatticeClosedError):
        await put(pool, "a")
    with pytest.raises(LatticeClosedError):
        await pool.delete("a")
