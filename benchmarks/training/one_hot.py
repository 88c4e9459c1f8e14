"""Measure a word layer with one-hot features and with an embedding look-up.

The table is in `benchmarks/results/2026-11-28-collected-training.md`.

    python -m benchmarks.training.one_hot
    python -m benchmarks.training.one_hot --write

Both ways give the same features of the same words: the one-hot matrix times the embedding, or the looked-up rows of the
embedding. Bytes are all memory that torch allocates, milliseconds are CPU time on one thread, without a backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from time import process_time
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness import Report, arguments, finish, say

POSITIONS, FEATURES, ROUNDS = 800, 256, 7
"""Positions of an update of 16 streams and 50 tokens; size of the embedding; number of rounds for the median."""
ENTRIES = (1_000, 5_000, 20_000)
Way = Callable[[Tensor, Tensor], Tensor]


def one_hot_product(ids_N: Tensor, weight_VE: Tensor) -> Tensor:
    """Return the features (N, E) as the course writes them: the one-hot matrix times the embedding."""
    one_hot_NV = weight_VE.new_zeros(len(ids_N), len(weight_VE)).scatter_(1, ids_N[:, None], 1.0)
    return one_hot_NV @ weight_VE


def allocated(run: Callable[[], Any]) -> int:
    """Return all bytes that torch allocates on the CPU while *run* runs, including those that are freed again."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        kept = run()
    del kept
    return sum(max(0, event.self_cpu_memory_usage) for event in seen.events())


def measured(entries: int) -> dict[str, Any]:
    """Return bytes and CPU milliseconds of both ways for the features of the same words."""
    torch.manual_seed(1)
    weight_VE = torch.randn(entries, FEATURES)
    ids_N = torch.randint(0, entries, (POSITIONS,))
    row: dict[str, Any] = {}
    ways: dict[str, Way] = {"one-hot": one_hot_product, "look-up": nn.functional.embedding}
    for name, way in ways.items():
        times = []
        for _ in range(ROUNDS):
            began = process_time()
            way(ids_N, weight_VE)
            times.append(process_time() - began)
        row |= {f"{name}_bytes": allocated(partial(way, ids_N, weight_VE))}
        row |= {f"{name}_ms": round(1000 * median(times), 2)}

    return row


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and report."""
    args = arguments(__doc__ or "").parse_args(argv)
    torch.set_num_threads(1)
    rows = {}
    for entries in ENTRIES:
        rows[f"{entries:,} entries"] = measured(entries)
        say(f"{entries}: {rows[f'{entries:,} entries']}")
    notes = (f"{POSITIONS} positions, {FEATURES} features of four bytes.",)
    finish(
        args,
        Report(
            "one_hot",
            "One-hot and dense features",
            rows,
            {},
            ("torch",),
            notes,
        ),
    )
    return rows


if __name__ == "__main__":
    main()
