"""`python -m benchmarks.cuda`: ranking on a graphics card, against what torch and the card can do.

For each number of lines and of questions at once: `CudaIndex` with and without its fused kernel,
torch's product with topk (plain similarity, nothing exact), FAISS on the card where its package is
there, and the bound, which is the bytes of the keys over the bandwidth that a copy of them reaches.
Medians of several rounds that take turns. `--device cpu --rows 20000` shows that it runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from pmll_async.indexes.cuda import CudaIndex
from pmll_async.protocols import Columns, RankQuery
from pmll_async.values.concert import Concert, exact_norm, exact_norms

NOW = 1.7e9
BATCH = 1 << 17


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__)
    made.add_argument("--device", default="cuda", help="torch's name of it (%(default)s)")
    made.add_argument("--dtype", choices=["float16", "float32"], default="float16")
    made.add_argument("--dim", type=int, default=384, help="(%(default)s)")
    made.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    made.add_argument("--questions", type=int, nargs="+", default=[1, 64, 1024])
    made.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    return made


class Land:
    """Random keys and their columns; no more of them is on the host than the indexes keep."""

    def __init__(self, options: argparse.Namespace, rows: int) -> None:
        self.options, self.rows = options, rows
        random = np.random.default_rng(rows)
        self.columns = Columns(
            count=rows,
            timestamps=NOW - random.uniform(0.0, 30 * 86400.0, rows),
            novelties=random.uniform(0.0, 1.0, rows),
            strengths=np.ones(rows),
            live=np.ones(rows, np.bool_),
            chain=np.ones(rows, np.bool_),
            order=np.arange(rows),
            anchors=np.arange(rows, dtype=np.uint64),
        )
        self.index = self._filled(random)

    def _filled(self, random: np.random.Generator) -> CudaIndex:
        made = CudaIndex(self.options.device, dtype=self.options.dtype)
        made.open(self.options.dim)
        for first in range(0, self.rows, BATCH):
            size = min(BATCH, self.rows - first)
            keys = random.standard_normal((size, self.options.dim), dtype=np.float32)
            made.add(keys, exact_norms(keys))
        return made

    def queries(self, count: int) -> list[RankQuery]:
        """Questions of the specification's weights."""
        random = np.random.default_rng(count)
        vectors = random.standard_normal((count, self.options.dim), dtype=np.float32)
        concert = Concert()
        return [
            RankQuery(vector, exact_norm(vector), 10, NOW, concert, concert.floor)
            for vector in vectors
        ]


def subjects(land: Land, queries: Sequence[RankQuery]) -> dict[str, Callable[[], object]]:
    """What is measured, by name; each call is done when it returns."""
    index, device = land.index, torch.device(land.options.device)
    index.rank(land.columns, queries[:1])
    keys = torch.cat([block.keys for block in index.blocks(land.rows)])
    vectors = torch.from_numpy(np.array([query.vector for query in queries]))
    units = torch.nn.functional.normalize(vectors).to(device, keys.dtype)
    target = torch.empty_like(keys)

    def ranked(*, fused: bool) -> object:
        index.fused = fused
        return index.rank(land.columns, queries)

    def product() -> object:
        step = max(1, (1 << 28) // land.rows)
        return [
            torch.topk(units[first : first + step] @ keys.T, 10, dim=1).values.cpu()
            for first in range(0, len(units), step)
        ]

    def copy() -> None:
        target.copy_(keys)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    found: dict[str, Callable[[], object]] = {
        "CudaIndex": partial(ranked, fused=False),
        "torch matmul + topk": product,
        "copy": copy,
    }
    if find_spec("triton") is not None and device.type == "cuda":
        found["CudaIndex, fused"] = partial(ranked, fused=True)
    faiss = _faiss(keys)
    if faiss is not None:
        host = units.float().cpu().numpy()
        found["FAISS flat"] = lambda: faiss.search(host, 10)
    return found


def _faiss(keys: torch.Tensor) -> Any:
    """FAISS's flat index on the card, None without the package that has it."""
    try:
        import faiss  # most machines have it for the host alone
    except ImportError:
        return None
    if keys.device.type != "cuda" or not hasattr(faiss, "StandardGpuResources"):
        return None
    index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), keys.shape[1])
    for part in keys.split(BATCH):
        index.add(part.float().cpu().numpy())
    return index


def measured(land: Land, count: int) -> dict[str, float]:
    """Seconds by subject, medians of rounds in which they take turns."""
    todo = subjects(land, land.queries(count))
    times: dict[str, list[float]] = {name: [] for name in todo}
    for _ in range(land.options.rounds + 1):
        for name, run in todo.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    # The first round compiles kernels.
    found = {name: median(taken[1:]) for name, taken in times.items()}
    # A copy reads and writes every byte, a look reads it.
    found["bound"] = found.pop("copy") / 2
    return found


def told(rows: int, count: int, found: dict[str, float]) -> str:
    """One line a subject."""
    lines = [f"{rows:,} lines, {count} questions at once"]
    for name, seconds in sorted(found.items(), key=lambda pair: pair[1]):
        rate = "" if name == "bound" else f"{count / seconds:12,.0f} questions/s"
        times = seconds / found["bound"]
        lines.append(f"  {name:22} {seconds * 1e3:9.3f} ms {times:7.2f} x bound {rate}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    options = parser().parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("torch finds no CUDA card here; --device cpu --rows 20000 shows that it runs")
        return 2
    everything = []
    for rows in options.rows:
        land = Land(options, rows)
        for count in options.questions:
            found = measured(land, count)
            everything.append({"rows": rows, "questions": count, "seconds": found})
            print(told(rows, count, found), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
