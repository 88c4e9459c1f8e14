"""Write clean.parquet from slices that workers hold: they encode the row groups, and one of them joins their bytes.

Where they do not see the file's folder, this process joins them.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from reviewlm.core.store import note_sha256
from reviewlm.corpus.cleaning.business import Businesses
from reviewlm.corpus.cleaning.clean_table import ROW_GROUP, encode_group, join_clean, kept_rows
from reviewlm.corpus.cleaning.node_slices import NodeSlices
from reviewlm.corpus.splitting.split import TABLE


def write_from_nodes(
    folder: Path,
    slices: NodeSlices,
    code: np.ndarray,
    businesses: Businesses | None,
) -> dict[str, Any]:
    """Write the kept reviews to `folder/clean.parquet`: the bytes and facts of `clean_table.write_clean`.

    Args:
        folder: Output folder.
        slices: The reviews in their order.
        code: (N,) for each review: 0 if it is kept.
        businesses: Names, cities and categories to join.
    """
    engine = slices.engine
    pieces: list[list[Any]] = []
    room = 0
    for one, code_N in slices.split_values(code):
        kept = code_N == 0
        count = int(kept.sum())
        if not count:
            continue

        ends = list(range(room, count, ROW_GROUP))
        cuts = [0, *(end for end in ends if end), count]
        made = engine.submit(
            _cut_kept,
            one.rows,
            kept,
            cuts,
            results=len(cuts) - 1,
        )
        if room:
            pieces[-1].append(made.pop(0))
        pieces += [[piece] for piece in made]
        room = (room - count) % ROW_GROUP

    there = engine.put(businesses)
    groups = [engine.submit(_group, there, *some)[0] for some in pieces]
    del pieces
    facts, sha256 = engine.write(folder, partial(join_clean, businesses), groups)
    note_sha256(folder / TABLE, sha256)
    written: dict[str, Any] = facts
    return written


def _cut_kept(
    rows: pl.DataFrame,
    kept: np.ndarray,
    cuts: list[int],
) -> list[pl.DataFrame]:
    """Return the kept rows of a slice, cut where row groups end; on a worker."""
    left = kept_rows(rows, kept)
    return [left[start:stop] for start, stop in pairwise(cuts)]


def _group(
    businesses: Businesses | None, *pieces: pl.DataFrame
) -> list[tuple[np.ndarray, pl.DataFrame]]:
    """Return a row group as a file, and its sums; on a worker."""
    return [encode_group(pl.concat(pieces).rechunk(), businesses)]
