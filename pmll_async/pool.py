"""Many tenants: a lattice for each, of which so many are open at once.

A tenant's folder is named by a digest of the tenant's name, so that any text is a safe name; behind
it stands what can be read of the name. ``tenant.json`` in it has the whole name, ``memory`` is the
lattice.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import anyio

from pmll_async.errors import (
    CorruptionError,
    DurabilityUnknownError,
    InvalidInputError,
    LatticeClosedError,
    PmllError,
    StoreLockedError,
    StoreMovedError,
)
from pmll_async.lattice import Lattice
from pmll_async.loop.jobs import begin
from pmll_async.loop.logs import logger
from pmll_async.loop.workers import CALLS
from pmll_async.protocols import Index

Result = TypeVar("Result")

_OF_NO_MORE_USE: Final = (
    CorruptionError,
    DurabilityUnknownError,
    LatticeClosedError,
    StoreMovedError,
)
"""After these a lattice answers, or takes writes, only once it is opened anew."""

_NAME: Final = "tenant.json"
_READABLE: Final = 40
"""Characters of a tenant's name in the name of its folder."""
_FOLDER: Final = re.compile(r"[0-9a-f]{32}(-[a-z0-9-]*)?")
_LISTED: Final = 256
"""Folders whose names are read at once."""


class LatticePool:
    """Leases of lattices, one for each tenant, in folders below `root`.

    At most `max_open` are open at once: who asks for another waits until one is in no use, of which
    the one that was used least lately is closed. So a task that asks for a second lease while it
    has one may wait for itself. `index` makes the index of each lattice, and `options` are those of
    `Lattice.open`; what cannot be opened is refused here. ::

        async with LatticePool("tenants", dim=384) as pool:
            async with pool.lease("anna") as lattice:
                await lattice.put(key)

    It belongs to one event loop and to one process: where another has a tenant's lattice open, a
    lease is a `StoreLockedError`, or waits for it as long as `lock_timeout` says. Its lattices are
    closed by the pool alone.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        max_open: int = 256,
        index: Callable[[], Index] | None = None,
        **options: Any,
    ) -> None:
        if max_open < 1:
            raise InvalidInputError(f"max_open is 1 lattice or more, not {max_open}")
        if options.get("seal_on_close") is not None:
            raise InvalidInputError("seal_on_close names one file: call seal() within a lease")
        self._root, self._most = Path(root), max_open
        self._index, self._options = index, options
        self._tenants: dict[str, _Tenant] = {}
        self._idle: OrderedDict[str, _Tenant] = OrderedDict()
        """Open and in no use; the one that was used least lately comes first."""
        self._open = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()
        self._is_closed = False
        self._lattice(self._root)

    async def __aenter__(self) -> Self:
        """Remove what an interrupted `delete` has left."""
        await _called(_tidy, self._root)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @asynccontextmanager
    async def lease(self, tenant: str) -> AsyncIterator[Lattice]:
        """The lattice of a tenant, made if there is none; the same for all who have it now."""
        with self._using(tenant) as mine:
            lattice = mine.lattice or await self._opened(tenant, mine)
            try:
                yield lattice
            except _OF_NO_MORE_USE:
                # The next lease is of one that is opened anew.
                mine.retire(lattice)
                raise

    async def delete(self, tenant: str) -> bool:
        """Remove a tenant's folder, with all that is in it; whether there was one.

        A lease that somebody has becomes a `LatticeClosedError`, and the next one begins anew.
        `StoreLockedError`, and nothing is removed, where another process has it open.
        """
        with self._using(tenant) as mine:
            async with mine.turn:
                await self._shut(mine)
                folder = self.path(tenant).parent
                if not await _called(folder.exists):
                    return False
                lattice = self._lattice(self.path(tenant))
                try:
                    await self._held(lattice)
                    gone = await _called(_hide, folder)
                finally:
                    # There is nothing left that it could write to.
                    with suppress(PmllError):
                        await lattice.aclose()
                await _called(shutil.rmtree, gone)
                return True

    async def tenants(self) -> AsyncIterator[str]:
        """The names of all tenants that have a folder, in no particular order."""
        folders = await _called(_folders, self._root)
        for start in range(0, len(folders), _LISTED):
            for name in await _called(_names, folders[start : start + _LISTED]):
                yield name

    def path(self, tenant: str) -> Path:
        """Where a tenant's lattice is, or would be."""
        return self._root / _folder_of(tenant) / "memory"

    async def aclose(self) -> None:
        """Close all lattices, also those that are leased. Idempotent."""
        self._is_closed = True
        self._freed.set()
        async with anyio.create_task_group() as tasks:
            for mine in list(self._tenants.values()):
                tasks.start_soon(self._shut_in_turn, mine)

    def _check_usable(self) -> None:
        if self._is_closed:
            raise LatticeClosedError("this pool is closed")

    @contextmanager
    def _using(self, tenant: str) -> Iterator[_Tenant]:
        """What is known of a tenant, which nobody evicts meanwhile."""
        self._check_usable()
        if not isinstance(tenant, str):
            raise InvalidInputError(f"a tenant is named by a text, not by {tenant!r}")
        mine = self._tenants.setdefault(tenant, _Tenant())
        mine.users += 1
        self._idle.pop(tenant, None)
        try:
            yield mine
        finally:
            mine.users -= 1
            if not mine.users:
                self._rest(tenant, mine)

    def _lattice(self, path: Path) -> Lattice:
        index = self._index() if self._index else None
        return Lattice.open(path, index=index, **self._options)

    async def _opened(self, tenant: str, mine: _Tenant) -> Lattice:
        async with mine.turn:
            if mine.lattice is None:
                await self._shut(mine)
                await self._make_room()
                lattice = self._lattice(self.path(tenant))
                try:
                    if not self._options.get("read_only"):
                        await _called(_begin, self.path(tenant).parent, tenant)
                    mine.lattice = await lattice
                # Whatever stopped it, what was begun is undone before another takes its place.
                except BaseException:
                    mine.ending = lattice
                    raise
            return mine.lattice

    async def _make_room(self) -> None:
        """Wait until one more may be open, and count it; who came first goes first."""
        async with self._turn:
            while self._open >= self._most:
                self._check_usable()
                if self._idle:
                    await self._evict()
                else:
                    self._freed.clear()
                    await self._freed.wait()
            self._check_usable()
            self._open += 1

    async def _evict(self) -> None:
        tenant, mine = next(iter(self._idle.items()))
        with self._using(tenant):
            await self._shut_in_turn(mine)

    async def _shut_in_turn(self, mine: _Tenant) -> None:
        async with mine.turn:
            await self._shut(mine)

    async def _shut(self, mine: _Tenant) -> None:
        """Close what a tenant has open; what a cancelled call has begun to close is waited for."""
        if mine.lattice is not None:
            mine.retire(mine.lattice)
        if mine.ending is None:
            return
        await self._close(mine.ending)
        mine.ending = None
        self._open -= 1
        self._freed.set()

    async def _held(self, lattice: Lattice) -> None:
        """Open it, so that nobody else does; what cannot be opened can be deleted all the same."""
        try:
            await lattice
        except StoreLockedError:
            raise
        except PmllError as exc:
            await _log("pool.deleted_unopened", exc)

    async def _close(self, lattice: Lattice) -> None:
        try:
            await lattice.aclose()
        # It is closed all the same, and who waits for its place has no part in it.
        except Exception as exc:  # noqa: BLE001
            await _log("pool.close_failed", exc)

    def _rest(self, tenant: str, mine: _Tenant) -> None:
        """Nobody uses a tenant: keep it until its place is needed, or forget it."""
        if mine.lattice is None and mine.ending is None:
            del self._tenants[tenant]
        else:
            self._idle[tenant] = mine
            self._freed.set()


class _Tenant:
    """Who uses a lattice or waits for it, and the lattice while it is open, or being closed."""

    def __init__(self) -> None:
        self.lattice: Lattice | None = None
        self.ending: Lattice | None = None
        self.users = 0
        self.turn = asyncio.Lock()

    def retire(self, lattice: Lattice) -> None:
        """Have nobody else use this lattice; closing it is what comes next."""
        if self.lattice is lattice:
            self.lattice, self.ending = None, lattice


async def _log(event: str, exc: Exception) -> None:
    # The first line that is logged loads the library, which takes its time.
    await _called(lambda: logger("pmll.pool").error(event, error=repr(exc)))


async def _called(function: Callable[..., Result], *args: object) -> Result:
    return await asyncio.shield(begin(CALLS, function, *args))


# --- folders ------------------------------------------------------------------------------------


def _folder_of(tenant: str) -> str:
    # Lone surrogates are text for Python, and for names of files, too.
    digest = blake2b(tenant.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    readable = re.sub(r"[^a-z0-9]+", "-", tenant.lower())[:_READABLE].strip("-")
    return f"{digest}-{readable}" if readable else digest


def _begin(folder: Path, tenant: str) -> None:
    """Make a tenant's folder with its name in it, unless it is there."""
    if folder.exists():
        return
    new = folder.with_name(f".{folder.name}.new")
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new.mkdir(mode=0o700, exist_ok=True)
    number = os.open(new / _NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(number, "w", encoding="ascii") as file:
        json.dump({"tenant": tenant}, file)
        file.flush()
        os.fsync(file.fileno())
    new.rename(folder)
    _sync(folder.parent)


def _hide(folder: Path) -> Path:
    """Give a folder another name, under which it is nobody's however far its removal comes."""
    gone = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    _sync(folder.parent)
    return gone


def _tidy(root: Path) -> None:
    for gone in root.glob(".*.gone"):
        shutil.rmtree(gone)


def _folders(root: Path) -> list[Path]:
    with suppress(FileNotFoundError), os.scandir(root) as entries:
        return [Path(entry.path) for entry in entries if _FOLDER.fullmatch(entry.name)]
    return []


def _names(folders: list[Path]) -> list[str]:
    names = []
    for folder in folders:
        # One that was deleted meanwhile is none.
        with suppress(FileNotFoundError):
            names.append(json.loads((folder / _NAME).read_bytes())["tenant"])
    return names


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
