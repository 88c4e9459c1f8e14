"""Measure where a mixture gains over its parts: perplexity by the length of the context that the n-gram model knows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from models.mixture.context import matched_before, ngram_models, ngram_states
from models.mixture.parts import Part
from training.mixture.tuning import TuningBatch


def known_lengths(parts: Sequence[Part], batch: TuningBatch) -> np.ndarray:
    """Return the length of the longest known context before each scored token (T,); 0 without an n-gram model."""
    ngrams = ngram_models(parts)
    if not ngrams:
        return np.zeros(int(batch.scored_BT.sum()), np.int64)
    states = [part.model.start(len(batch.ids_BT)) for part in parts]
    known = matched_before(ngrams[0], batch.ids_BT, ngram_states(parts, states)[0])
    return known.length[batch.scored_BT]


def gains(names: Sequence[str], length_T: np.ndarray, nats_T: np.ndarray, part_TP: np.ndarray) -> pl.DataFrame:
    """Return perplexities of a mixture and its parts by the length of the known context.

    Args:
        names: Names of the P parts.
        length_T: Length of the longest context that the n-gram model knows and has seen continued.
        nats_T: Nats of the mixture.
        part_TP: Nats of the parts.

    Returns:
        One row per length, and one row for all tokens, whose length is null. Columns: `context`, `tokens`, `perplexity`
        of the mixture, and for each part `perplexity NAME`, `gain NAME` = 1 − perplexity of the mixture / perplexity of
        the part.
    """
    groups = [(length, length_T == length) for length in np.unique(length_T).tolist()]
    rows = []
    for length, rows_T in [*groups, (None, np.ones(len(length_T), bool))]:
        perplexity = float(np.exp(nats_T[rows_T].mean()))
        row = {"context": length, "tokens": int(rows_T.sum()), "perplexity": perplexity}
        for i, name in enumerate(names):
            row[f"perplexity {name}"] = float(np.exp(part_TP[rows_T, i].mean()))
            row[f"gain {name}"] = 1 - perplexity / row[f"perplexity {name}"]
        rows.append(row)
    return pl.DataFrame(rows)


def gain_figures(table: pl.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Return the table's gains as figures of a run, by name: `gain/PART/context_2`, `gain_tokens/context_2`.

    Gains that are not finite are left out, for example where part and mixture both give a word probability 0.
    """
    figures = {}
    for row in table.filter(pl.col("context").is_not_null()).iter_rows(named=True):
        figures[f"gain_tokens/context_{row['context']}"] = float(row["tokens"])
        figures |= {f"gain/{name}/context_{row['context']}": row[f"gain {name}"] for name in names}
    return {name: value for name, value in figures.items() if math.isfinite(value)}
