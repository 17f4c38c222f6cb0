"""Products in the calling thread: as near as float32 comes, whatever the shapes."""

from __future__ import annotations

import numpy as np
import pytest

from pmll_async.values.vectors import own_product


@pytest.mark.parametrize(
    ("rows", "others"), [(0, 5), (5, 0), (1, 1), (31, 33), (64, 127), (300, 2)]
)
@pytest.mark.parametrize("dim", [1, 3, 384, 4096, 500_000])
def test_a_product_is_that_of_its_rows(rows: int, others: int, dim: int) -> None:
    rows, others = (min(rows, 3), min(others, 3)) if dim > 10_000 else (rows, others)
    random = np.random.default_rng(rows + others)
    left = random.standard_normal((rows, dim)).astype(np.float32)
    right = random.standard_normal((others, dim)).astype(np.float32)
    exact = left.astype(np.float64) @ right.astype(np.float64).T
    found = own_product(left, right)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, atol=1e-5 * dim)
