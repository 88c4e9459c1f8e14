"""Measure where a mixture gains over its parts: perplexity by the length of the context that the n-gram model knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ..base import ModelError
from .context import matched_before, ngram_models, ngram_states
from .lm import MixtureLM
from .parts import Part
from .tuning import TuningBatch, batches

if TYPE_CHECKING:
    from ..streams import TokenStream


def gain_table(model: MixtureLM, stream: TokenStream, limit: int = 200_000) -> pl.DataFrame:
    """Measure a mixture and its parts on about *limit* tokens of a stream.

    Returns:
        One row per length of the longest context that the n-gram model knows and has seen continued, and one row for
        all tokens, whose length is null. The n-gram model is the first one among the parts or inside them. Columns:
        `context`, `tokens`, `perplexity` of the mixture, and for each part `perplexity NAME`, `gain NAME` =
        1 − perplexity of the mixture / perplexity of the part, and `share NAME`, its mean share of the predictions
        (see `mixture/attribution.py`; not for log-linear mixtures).

    Raises:
        ModelError: kind "input": there is no n-gram model among the parts or inside them, or no token to score.
    """
    if not ngram_models(model.parts):
        raise ModelError("gains by context need an n-gram model among the parts of the mixture; there is none", "input")
    columns: list[tuple[np.ndarray, ...]] = []
    for batch in batches(stream, limit):
        found, _ = model.attribute(batch.ids_BT, model.start(len(batch.ids_BT)))
        share_BTP = found.weights_BTP if found.share_BTP is None else found.share_BTP
        scored = (array[batch.scored_BT] for array in (found.nats_BT, found.part_nats_BTP, share_BTP))
        columns.append((known_lengths(model.parts, batch), *scored))
    length_T, nats_T, part_TP, share_TP = (np.concatenate(column) for column in zip(*columns, strict=True))
    return gains(model.names, length_T, nats_T, part_TP, None if found.share_BTP is None else share_TP)


def known_lengths(parts: Sequence[Part], batch: TuningBatch) -> np.ndarray:
    """Return the length of the longest known context before each scored token (T,); 0 without an n-gram model."""
    ngrams = ngram_models(parts)
    if not ngrams:
        return np.zeros(int(batch.scored_BT.sum()), np.int64)
    states = [part.model.start(len(batch.ids_BT)) for part in parts]
    known = matched_before(ngrams[0], batch.ids_BT, ngram_states(parts, states)[0])
    return known.length[batch.scored_BT]


def gains(
    names: Sequence[str], length_T: np.ndarray, nats_T: np.ndarray, part_TP: np.ndarray, share_TP: np.ndarray | None
) -> pl.DataFrame:
    """Return the table of `gain_table` from the values of each token.

    Args:
        names: Names of the P parts.
        length_T: Length of the longest known context.
        nats_T: Nats of the mixture.
        part_TP: Nats of the parts.
        share_TP: Shares of the parts; None for a mixture without shares.
    """
    groups = [(length, length_T == length) for length in np.unique(length_T).tolist()]
    rows = []
    for length, rows_T in [*groups, (None, np.ones(len(length_T), bool))]:
        perplexity = float(np.exp(nats_T[rows_T].mean()))
        row = {"context": length, "tokens": int(rows_T.sum()), "perplexity": perplexity}
        for i, name in enumerate(names):
            row[f"perplexity {name}"] = float(np.exp(part_TP[rows_T, i].mean()))
            row[f"gain {name}"] = 1 - perplexity / row[f"perplexity {name}"]
            if share_TP is not None:
                row[f"share {name}"] = float(share_TP[rows_T, i].mean())
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
