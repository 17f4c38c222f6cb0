"""FNV-1a/64: published vectors, and the plain loop."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmll_async.integrity.fnv import EMPTY, fnv1a


def byte_by_byte(data: bytes, state: int) -> int:
    for byte in data:
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return state


# From the reference implementation's own test vectors.
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xCBF29CE484222325),
        (b"a", 0xAF63DC4C8601EC8C),
        (b"foobar", 0x85944171F73967E8),
        (b"chongo was here!\n", 0x46810940EFF5F915),
    ],
)
def test_published_vectors(data: bytes, expected: int) -> None:
    assert fnv1a(data) == expected


@pytest.mark.parametrize("length", [127, 128, 129, 1000, 32767, 32768, 32769, 70_000])
def test_long_runs_are_those_of_the_plain_loop(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert fnv1a(data) == byte_by_byte(data, EMPTY)


@given(st.binary(max_size=600), st.integers(0, 600), st.integers(0, 2**64 - 1))
def test_it_goes_on_from_where_it_was(data: bytes, cut: int, state: int) -> None:
    whole = fnv1a(data, state)
    assert whole == byte_by_byte(data, state)
    assert fnv1a(data[cut:], fnv1a(data[:cut], state)) == whole
