"""Room for large arrays is used again once no array is in it, and never before."""

from __future__ import annotations

import gc

import numpy as np

from pmll_async.values.room import RoomPool, fresh_bytes, give_back_freed


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_fresh_room_is_zeros() -> None:
    room = fresh_bytes(10_000)
    assert room.shape == (10_000,)
    assert not room.any()
    room[:] = 7
    assert fresh_bytes(0).shape == (0,)


def test_room_is_used_again_when_nothing_is_in_it() -> None:
    pool = RoomPool()
    room = pool.bytes(4096)
    first = address(room)
    del room
    assert address(pool.bytes(4000)) == first


def test_a_view_of_a_view_keeps_its_room() -> None:
    pool = RoomPool()
    room = pool.bytes(4096)
    room[:] = 1
    rows = room[: 4 * 64].view("<f4").reshape(8, 8)[2:]
    before = rows.copy()
    del room
    gc.collect()
    others = [pool.bytes(4096) for _ in range(3)]
    for other in others:
        other[:] = 9
    assert rows.tobytes() == before.tobytes()


def test_larger_room_is_made_where_it_is_wanted() -> None:
    pool = RoomPool()
    del (small := [pool.bytes(4096)])[0]
    assert not small
    assert pool.bytes(100_000).shape == (100_000,)


def test_giving_back_changes_nothing_else() -> None:
    give_back_freed()
