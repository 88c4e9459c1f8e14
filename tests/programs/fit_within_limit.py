"""Fit a 5-gram model within a limit of memory, and print the most memory held, in bytes.

Arguments: LIMIT (bytes; 0: none) FOLDER SMOOTHING PRUNE (counts as JSON). The model is written to FOLDER.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from reviewlm.models.specs import NGramSpec
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.counting.memory import ArrayAllocator
from reviewlm.training.ngram.fitting import fit_tables

V = 60_000
LENGTH = 30


def make_text() -> Any:
    """Return texts of 29 tokens each, with the frequencies of Zipf's law."""
    random = np.random.default_rng(1)
    ids = np.minimum(random.zipf(1.2, 1_500_000) + 2, V - 1).astype(np.int32)
    ids[::LENGTH] = 1
    offsets = np.append(np.arange(0, len(ids), LENGTH), len(ids))
    return SimpleNamespace(ids=ids, offsets=offsets)


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    mark = next(line for line in status if line.startswith("VmHWM"))
    return int(mark.split()[1]) << 10


def main(
    limit: int,
    folder: Path,
    smoothing: Any,
    prune: tuple[int, ...],
) -> None:
    counts = count_ngrams(
        make_text(),
        5,
        V,
        {1},
        ArrayAllocator.within(limit or None, folder),
    )
    spec = NGramSpec(
        order=5,
        smoothing=smoothing,
        prune=prune,
    )
    fitted = fit_tables(counts, spec, precision="single")
    fitted.tables.save(folder / "model", "single")
    print(peak_bytes())


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], tuple(json.loads(sys.argv[4])))
