"""Working memory: what a process keeps at hand for a while, bounded, and each thing made once."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from pmll_async.errors import InvalidInputError, ReentrantError, copy_error
from pmll_async.values import checks

Item = TypeVar("Item")

# Enough for the context of many turns, and a bound for who never drops anything.
_SIZE: Final = 1024
_FOREVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class WorkingStats:
    """Counts since the memory was made; `items` and `pending` as of now.

    `hits` found an item, `joined` waited for one in the making, `made` ran a factory to its end.
    """

    items: int
    pending: int
    hits: int
    joined: int
    made: int
    failed: int
    evicted: int
    expired: int


@dataclass(slots=True, eq=False)
class _Kept:
    item: Any
    until: float


@dataclass(slots=True, eq=False)
class _Pending:
    """A key whose item is in the making: the calls that wait, first come first, some cancelled."""

    key: Hashable
    waiting: list[asyncio.Future[bool]] = field(default_factory=list)
    needs: set[_Pending] = field(default_factory=set)
    """What the one who makes it waits for meanwhile."""
    kept: _Kept | None = None
    error: Exception | None = None


# What this task makes right now, outermost first; tasks that it starts inherit it.
_MAKING: ContextVar[tuple[_Pending, ...]] = ContextVar("pmll_making", default=())


class _Nobody:
    """The key of an item that was pushed without one."""

    __slots__ = ()


class WorkingMemory:
    """Short-term context, for one event loop; nothing of it is stored.

    Holds `size` items at most and forgets the oldest; what is in the making is never forgotten.
    `ttl` is in seconds of `clock`. `scope` gives a memory of its own by name, at most `scopes` of
    them: the one not asked for longest goes first.
    """

    def __init__(
        self,
        *,
        size: int = _SIZE,
        scopes: int = _SIZE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size = checks.count(size, "size", 1)
        self._most_scopes = checks.count(scopes, "scopes", 1)
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._pending: dict[Hashable, _Pending] = {}
        self._scopes: OrderedDict[str, WorkingMemory] = OrderedDict()
        self._hits = self._joined = self._made = self._failed = 0
        self._evicted = self._expired = 0

    def __len__(self) -> int:
        """How many items it holds, some of which may have expired."""
        return len(self._kept)

    def __bool__(self) -> bool:
        """Always true: an empty memory is a memory."""
        return True

    def push(self, item: Any, *, key: Hashable | None = None, ttl: float | None = None) -> None:
        """Keep an item as the newest, for `ttl` seconds; of a key only the last is kept."""
        self._keep(_Nobody() if key is None else key, _Kept(item, self._until(ttl)))

    def peek(self, key: Hashable | None = None) -> Any:
        """The item of a key, or the newest; None if there is none. It stays."""
        found = self._find(key)
        return None if found is None else found[1].item

    def pop(self, key: Hashable | None = None) -> Any:
        """The same, and it goes; `LookupError` if there is none."""
        found = self._find(key)
        if found is None:
            what = "working memory is empty" if key is None else f"no item of the key {key!r}"
            raise LookupError(what)
        del self._kept[found[0]]
        return found[1].item

    async def once(
        self, key: Hashable, factory: Callable[[], Awaitable[Item]], *, ttl: float | None = None
    ) -> Item:
        """The key's item; where there is none, what `factory` makes, once for all who ask.

        It runs in the first caller's task. If that one is cancelled, the next who waits runs its
        own anew; if it raises, all who wait get the error, and the next call tries again. A factory
        that comes to wait for its own key gets `ReentrantError`.
        """
        kept = self._live(key)
        if kept is not None:
            self._hits += 1
            item: Item = kept.item
            return item
        self._until(ttl)  # a bad one is refused before anything is made
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = _Pending(key)
        elif not await self._is_handed(pending):
            self._joined += 1
            return cast(Item, _outcome(pending))
        await self._make(pending, factory, ttl)
        return cast(Item, _outcome(pending))

    def scope(self, name: str) -> WorkingMemory:
        """The memory of its own that goes by this name; the same for the same name."""
        found = self._scopes.get(name)
        if found is None:
            found = self._scopes[name] = WorkingMemory(
                size=self._size, scopes=self._most_scopes, clock=self._clock
            )
            if len(self._scopes) > self._most_scopes:
                self._drop_a_scope(name)
        self._scopes.move_to_end(name)
        return found

    def drop(self, name: str) -> None:
        """Forget the scope of this name, if there is one; what is in the making there goes on."""
        self._scopes.pop(name, None)

    def _drop_a_scope(self, kept: str) -> None:
        """Drop the one not asked for longest that makes nothing now."""
        for name, memory in self._scopes.items():
            if name != kept and not memory.stats.pending:
                del self._scopes[name]
                return

    def clear(self) -> None:
        """Forget every item and every scope; what is in the making goes on."""
        self._kept.clear()
        self._scopes.clear()

    @property
    def stats(self) -> WorkingStats:
        """What it did so far."""
        return WorkingStats(
            len(self._kept),
            len(self._pending),
            self._hits,
            self._joined,
            self._made,
            self._failed,
            self._evicted,
            self._expired,
        )

    # --- items ---------------------------------------------------------------------------------

    def _keep(self, key: Hashable, kept: _Kept) -> None:
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
            self._evicted += 1

    def _live(self, key: Hashable) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is not None and kept.until < _FOREVER and kept.until <= checks.time_by(self._clock):
            del self._kept[key]
            self._expired += 1
            return None
        return kept

    def _find(self, key: Hashable | None) -> tuple[Hashable, _Kept] | None:
        if key is not None:
            kept = self._live(key)
            return None if kept is None else (key, kept)
        while self._kept:
            newest = next(reversed(self._kept))
            kept = self._live(newest)
            if kept is not None:
                return newest, kept
        return None

    def _until(self, ttl: float | None) -> float:
        if ttl is None:
            return _FOREVER
        seconds = checks.number(ttl, "ttl")
        if seconds <= 0:
            raise InvalidInputError(f"ttl must be more than 0 seconds, not {ttl!r}")
        return checks.time_by(self._clock) + seconds

    # --- making --------------------------------------------------------------------------------

    async def _make(
        self, pending: _Pending, factory: Callable[[], Awaitable[Any]], ttl: float | None
    ) -> None:
        # So that a factory that comes to wait for itself is told, instead of waiting for ever.
        token = _MAKING.set((*_MAKING.get(), pending))
        try:
            item = await factory()
        # Whatever it is, all who wait must learn it.
        except Exception as exc:  # noqa: BLE001
            pending.error = exc
            self._failed += 1
            self._settle(pending)
        # Cancelled: what was begun is lost, and the next who waits begins anew.
        except BaseException:
            self._hand_on(pending)
            raise
        else:
            pending.kept = _Kept(item, self._until(ttl))
            self._made += 1
            self._settle(pending)
            self._keep(pending.key, pending.kept)
        finally:
            _MAKING.reset(token)

    async def _is_handed(self, pending: _Pending) -> bool:
        """Wait until the item is there (False), or is this caller's to make (True)."""
        making = _MAKING.get()
        if any(_needs(pending, own) for own in making):
            raise ReentrantError(str(pending.key))
        turn = asyncio.get_running_loop().create_future()
        pending.waiting.append(turn)
        for own in making:
            own.needs.add(pending)
        try:
            is_handed: bool = await turn
            return is_handed
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():
                self._hand_on(pending)
            raise
        finally:
            for own in making:
                own.needs.discard(pending)

    def _settle(self, pending: _Pending) -> None:
        del self._pending[pending.key]
        for turn in pending.waiting:
            if not turn.done():
                turn.set_result(False)

    def _hand_on(self, pending: _Pending) -> None:
        while pending.waiting:
            turn = pending.waiting.pop(0)
            if not turn.done():
                turn.set_result(True)
                return
        del self._pending[pending.key]


def _needs(pending: _Pending, own: _Pending) -> bool:
    """Whether making the one comes to wait for the other."""
    return pending is own or any(_needs(each, own) for each in pending.needs)


def _outcome(pending: _Pending) -> Any:
    if pending.error is not None:
        raise copy_error(pending.error)
    if pending.kept is None:
        raise RuntimeError("nothing was made")
    return pending.kept.item
