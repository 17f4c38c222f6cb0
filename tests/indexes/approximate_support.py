"""A kernel of numpy alone, and a lattice whose best lines are of different kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pmll_async.indexes import coder as craft
from pmll_async.indexes.approximate import ApproximateIndex
from pmll_async.indexes.coder import Kernel
from pmll_async.testing.oracle import Landscape, landscape
from pmll_async.values.concert import Float32

COUNT = craft.FIRST_ROWS + 1000
DIM = 130


class Rounded:
    """A kernel of numpy alone: keys to two bits a dimension, so that codes err by much."""

    def train(self, units: Float32) -> None:
        self._step = float(np.abs(units).mean())
        self._codes = np.empty((0, units.shape[1]), dtype=np.float32)

    def add(self, units: Float32) -> None:
        codes = np.clip(np.rint(units / self._step), -1, 1).astype(np.float32)
        self._codes = np.concatenate([self._codes, codes])

    def search(self, units: Float32, m: int) -> tuple[Float32, np.ndarray]:
        products = np.array([np.vecdot(self._codes, unit) for unit in units]) * self._step
        rows = np.argsort(-products, axis=1)[:, :m]
        return np.take_along_axis(products, rows, axis=1), rows


class RoundedIndex(ApproximateIndex):
    def _kernel(self, dim: int) -> Kernel:
        return Rounded()


def faiss_index(**options: object) -> ApproximateIndex:
    pytest.importorskip("faiss", reason="pip install 'pmll-async[faiss]'")
    from pmll_async.indexes.faiss import FaissIndex

    return FaissIndex(**options)


def scann_index(**options: object) -> ApproximateIndex:
    pytest.importorskip("scann", reason="pip install 'pmll-async[scann]'")
    from pmll_async.indexes.scann import ScannIndex

    return ScannIndex(**options)


KINDS = {"numpy": RoundedIndex, "faiss": faiss_index, "scann": scann_index}
Make = Callable[..., ApproximateIndex]


def built(make: Make, land: Landscape, **options: object) -> ApproximateIndex:
    index = make(**options)
    index.open(land.keys.shape[1])
    index.add(land.keys, land.norms)
    index.build()
    return index


def disjoint(seed: int, *, kept: int = 30) -> Landscape:
    """The newest, the most novel, the strongest and the most similar to key 0 are all others."""
    random = np.random.default_rng(seed)
    keys = random.standard_normal((COUNT, DIM)).astype(np.float32)
    similar, new, novel, strong, *_ = np.split(
        random.permutation(COUNT - 1) + 1, [kept, 2 * kept, 3 * kept, 4 * kept]
    )
    keys[similar] = keys[0] + 0.3 * random.standard_normal((kept, DIM))
    land = landscape(seed, COUNT, 1)
    now = land.now
    ages = random.uniform(2 * 86400, 40 * 86400, COUNT)
    ages[new] = random.uniform(-600, 3600, kept)
    novelties = random.uniform(0.0, 0.4, COUNT)
    novelties[novel] = random.uniform(0.9, 1.0, kept)
    strengths = random.uniform(0.3, 0.5, COUNT)
    strengths[strong] = 1.0
    columns = replace(land.columns, timestamps=now - ages, novelties=novelties, strengths=strengths)
    return Landscape(keys, columns, now)


LANDS = {seed: disjoint(seed) for seed in range(2)}


@cache
def asked(make: Make, seed: int) -> ApproximateIndex:
    """An index of a whole land, made once for all tests that do no more than ask it."""
    return built(make, LANDS[seed])
