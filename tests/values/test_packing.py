"""Packing: exact for what it takes, and one form for each row."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from drawing import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pmll_async.text import HashingEmbedder
from pmll_async.values import packing
from pmll_async.values.packing import (
    pack,
    pack_many,
    split,
    unpack,
    unpack_many,
    unpack_rows,
)

TEXTS = (
    "What did you do on Friday?",
    "the cat and the dog and the bird and the cat again",
    "x",
    "naïve café — 東京 🎉",
    " ".join(f"word{i}" for i in range(40)),
)
SIGNS = st.sampled_from([-1, 1])


def row_of(whole: list[int]) -> np.ndarray:
    numbers = np.array(whole, dtype=np.float64)
    return (numbers / math.sqrt(float(numbers @ numbers))).astype("<f4")


@st.composite
def whole_rows(draw: st.DrawFn) -> list[int]:
    """Whole numbers in lowest terms, some of them zero; most pack."""
    small = draw(st.integers(1, 600)) * draw(SIGNS)
    largest = draw(st.sampled_from([3, 64, 128, 300, 2**14 - 1]))
    rest = draw(st.lists(st.integers(-largest, largest), max_size=40))
    whole = draw(st.permutations([small, 0, *rest]))
    divisor = math.gcd(*whole)
    return [number // divisor for number in whole]


@given(arrays("<f4", st.integers(0, 24), elements=st.floats(width=32)))
@example(np.array([0.0, -0.0, 1.0], "<f4"))
@example(np.array([0.0, np.nan], "<f4"))
@example(np.array([0.0, np.inf, 1.0], "<f4"))
@example(np.array([0.0, 1e-45, 3e-45], "<f4"))
@example(np.array([0.0, 3.4e38, 1e-45], "<f4"))
@example(np.array([0.0, 1.0], "<f4"))
@example(np.array([0.0, 0.0], "<f4"))
def test_any_row_comes_back_or_is_left_alone(row: np.ndarray) -> None:
    raw = row.tobytes()
    packed = pack(raw)
    if packed is not None:
        assert unpack(packed) == raw
        assert len(packed) < len(raw)


@given(whole_rows())
def test_whole_numbers_by_their_length_pack(whole: list[int]) -> None:
    raw = row_of(whole).tobytes()
    packed = pack(raw)
    magnitudes = [abs(number) for number in whole if number]
    if min(magnitudes) > 512 or min(magnitudes) * max(magnitudes) > 2**20:
        assert packed is None
        return
    assert packed is not None
    assert unpack(packed) == raw
    # A multiple is the same row, and so has the same form.
    assert pack(row_of([3 * number for number in whole]).tobytes()) == packed


@given(st.lists(whole_rows(), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_many_rows_pack_as_each_does(several: list[list[int]], seed: int) -> None:
    dim = max(map(len, several)) + 1
    rows = [row_of([*whole, *[0] * (dim - len(whole))]) for whole in several if any(whole)]
    random = np.random.default_rng(seed)
    rows += [random.standard_normal(dim).astype("<f4"), np.zeros(dim, "<f4")]
    rows += [np.where(random.random(dim) < 0.5, np.float32(0.0), rows[-2]) for _ in range(2)]
    rows += [np.array([0.0, *[other] * (dim - 1)], "<f4") for other in (np.nan, np.inf, -0.0)]
    raws = [row.tobytes() for row in rows]
    assert pack_many(raws) == [pack(raw) for raw in raws]


def test_many_texts_pack_as_each_does() -> None:
    texts = [" ".join(f"w{(i * j) % 61}" for j in range(i % 40 + 1)) for i in range(300)]
    raws = [row.tobytes() for row in HashingEmbedder().embed(texts)]
    packed = pack_many(raws)
    assert packed == [pack(raw) for raw in raws]
    assert None not in packed


@given(whole_rows(), st.data())
def test_one_bit_off_is_no_such_row(whole: list[int], data: st.DataObject) -> None:
    row = row_of(whole)
    place = data.draw(st.integers(0, len(row) - 1))
    row.view(np.uint32)[place] ^= 1
    packed = pack(row.tobytes())
    assert packed is None or unpack(packed) == row.tobytes()


@given(whole_rows(), st.data())
def test_other_bytes_are_refused_or_are_another_row(whole: list[int], data: st.DataObject) -> None:
    """Whoever compares a packed row with what we would write finds it the only one."""
    packed = pack(row_of(whole).tobytes())
    if packed is None:
        return
    other = bytearray(packed)
    match data.draw(st.sampled_from(["flip", "cut", "more"])):
        case "flip":
            bit = data.draw(st.integers(0, 8 * len(other) - 1))
            other[bit // 8] ^= 1 << bit % 8
        case "cut":
            del other[data.draw(st.integers(0, len(other) - 1)) :]
        case _:
            other += data.draw(st.binary(min_size=1, max_size=3))
    is_canonical(bytes(other))


@settings(max_examples=examples(500))
@given(st.integers(0, 20), st.binary(max_size=16))
def test_any_bytes_are_refused_or_are_what_we_would_write(dim: int, rest: bytes) -> None:
    is_canonical(dim.to_bytes(2, "little") + rest)


def is_canonical(packed: bytes) -> None:
    try:
        raw = unpack(packed)
    except ValueError:
        return
    assert pack(raw) == packed


@given(st.lists(whole_rows().filter(lambda row: len(row) < 30), min_size=1, max_size=6))
def test_many_rows_are_unpacked_as_each_is(several: list[list[int]]) -> None:
    dim = 1 + max(map(len, several))
    rows = [row_of([*whole, *[0] * (dim - len(whole))]) for whole in several]
    found = [(pack(row.tobytes()), row) for row in rows]
    kept = [(split(packed), row) for packed, row in found if packed is not None]
    parts = [b"".join(row[i] for row, _ in kept) for i in (1, 2, 3)]
    expected = [row.tobytes() for _, row in kept]
    assert unpack_rows(parts[0], parts[1], parts[2], dim).tobytes() == b"".join(expected)
    forms = [packed for packed, _ in found if packed is not None]
    if forms:
        assert unpack_many(forms, dim).tobytes() == b"".join(expected)
        with pytest.raises(ValueError, match="another dimension"):
            unpack_many(forms, dim + 1)


@settings(max_examples=examples(300))
@given(st.lists(whole_rows(), min_size=1, max_size=3), st.data())
def test_many_are_refused_where_one_would_be(several: list[list[int]], data: st.DataObject) -> None:
    dim = 1 + max(map(len, several))
    rows = [row_of([*whole, *[0] * (dim - len(whole))]) for whole in several]
    forms = [form for form in (pack(row.tobytes()) for row in rows) if form is not None]
    if not forms:
        return
    place = data.draw(st.integers(0, len(forms) - 1))
    other = bytearray(forms[place])
    bit = data.draw(st.integers(16, 8 * len(other) - 1))
    other[bit // 8] ^= 1 << bit % 8
    forms[place] = bytes(other)
    try:
        expected = b"".join(map(unpack, forms))
    except ValueError:
        with pytest.raises(ValueError, match="packed vector"):
            unpack_many(forms, dim)
    else:
        assert unpack_many(forms, dim).tobytes() == expected


@pytest.mark.parametrize("dim", [8, 64, 384, 1000])
def test_what_hashing_makes_packs(dim: int) -> None:
    for row in HashingEmbedder(dim).embed(TEXTS):
        packed = pack(row.tobytes())
        assert (packed is None) is bool(row.all())
        if packed is not None:
            assert unpack(packed) == row.tobytes()
            assert len(packed) < dim * 4


def test_a_packed_row_is_for_ever() -> None:
    row = row_of([1, 0, -3, 65, 0, 0, 0, 0, 0, -200])
    assert unpack(bytes.fromhex("0a00 b040 00 05 80 8f 01 03")) == row.tobytes()
    assert pack(row.tobytes()) == bytes.fromhex("0a00 b040 00 05 80 8f 01 03")


def test_a_model_s_rows_are_told_at_once() -> None:
    rows = [row.tobytes() for row in np.random.default_rng(0).normal(size=(200, 384)).astype("<f4")]
    started = time.thread_time()
    assert not any(map(pack, rows))
    assert (time.thread_time() - started) / len(rows) < 50e-6


def test_numbers_with_a_common_divisor_are_no_form(monkeypatch: pytest.MonkeyPatch) -> None:
    row = np.array([3.0, 0.0, -6.0]) / np.sqrt(45.0)
    assert pack(row.astype("<f4").tobytes()) is not None
    monkeypatch.setattr(packing, "_whole_numbers", lambda _: np.array([3.0, -6.0]))
    assert pack(row.astype("<f4").tobytes()) is None
