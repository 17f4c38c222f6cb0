"""How many examples the tests draw at random, and how many places of a file they damage.

`PMLL_TEST_EXAMPLES=10` takes ten times as many as every test run does.
"""

from __future__ import annotations

import os
from typing import Final

_TIMES: Final = float(os.environ.get("PMLL_TEST_EXAMPLES", "1"))


def examples(count: int) -> int:
    """What stands for `count` examples of a usual run."""
    return max(1, round(count * _TIMES))


def step(usual: int) -> int:
    """How far apart places are; odd, so that all bits of a byte have their turn."""
    return max(1, round(usual / _TIMES)) | 1
