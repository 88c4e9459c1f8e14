"""Where a mixture gains over its parts: perplexities by how much of the context the n-gram model has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ..base import ModelError
from .context import matched_before, ngram_models, ngram_states
from .lm import MixtureLM
from .tuning import batches

if TYPE_CHECKING:
    from ..streams import TokenStream


def gain_table(model: MixtureLM, stream: TokenStream, limit: int = 200_000) -> pl.DataFrame:
    """Measure a mixture and its parts on about *limit* tokens of a stream.

    Returns:
        One row per length of the longest context that the n-gram model among the parts, or inside one (of several: the
        first), knows and has seen continued, and one of all tokens, whose length is null: `context`, `tokens`,
        `perplexity` of the mixture, and for each part `perplexity NAME`, `gain NAME` = 1 − perplexity of the mixture /
        perplexity of the part, and `share NAME`, its mean share of the predictions (see `attribution.py`; not of
        log-linear mixtures).

    Raises:
        ModelError: kind "input": no part is an n-gram model, or there is no token to score.
    """
    ngrams = ngram_models(model.parts)
    if not ngrams:
        raise ModelError("no part of the mixture is an n-gram model, whose contexts could be told apart", "input")
    columns: list[tuple[np.ndarray, ...]] = []
    for ids_BT, scored_BT in batches(stream, limit):
        state = model.start(len(ids_BT))
        found, _ = model.attribute(ids_BT, state)
        length_BT = matched_before(ngrams[0], ids_BT, ngram_states(model.parts, state.parts)[0]).length
        share_BTP = found.weights_BTP if found.share_BTP is None else found.share_BTP
        columns.append(tuple(a[scored_BT] for a in (length_BT, found.nats_BT, found.part_nats_BTP, share_BTP)))
    length_T, nats_T, part_TP, share_TP = (np.concatenate(column) for column in zip(*columns, strict=True))
    groups = [(length, length_T == length) for length in np.unique(length_T).tolist()]
    rows = []
    for length, rows_T in [*groups, (None, np.ones(len(length_T), bool))]:
        perplexity = float(np.exp(nats_T[rows_T].mean()))
        row = {"context": length, "tokens": int(rows_T.sum()), "perplexity": perplexity}
        for i, name in enumerate(model.names):
            row[f"perplexity {name}"] = float(np.exp(part_TP[rows_T, i].mean()))
            row[f"gain {name}"] = 1 - perplexity / row[f"perplexity {name}"]
            row[f"share {name}"] = float(share_TP[rows_T, i].mean())
        rows.append(row)
    table = pl.DataFrame(rows)
    return table if found.share_BTP is not None else table.drop([f"share {name}" for name in model.names])
