"""Build tables of what models remember, for the terminal, CSV and tracking, and measure how fast models score."""

from __future__ import annotations

from collections.abc import Mapping
from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import polars as pl

    from evaluation.probing.context_use import ContextUse
    from models.base import LanguageModel
    from models.streams import TokenStream

SIDE_BY_SIDE = 16


def context_table(
    found: Mapping[str, ContextUse], speeds: Mapping[str, Mapping[str, float | None]]
) -> list[dict[str, Any]]:
    """Return one row per model: perplexity by context kept, the effective context, and the speeds of the model.

    Args:
        found: Curve by the name of the model.
        speeds: Further columns by the name of the model.
    """
    return [
        {
            "model": name,
            **{"all" if row.context is None else f"{row.context}": row.perplexity for row in use.rows},
            "needs": "all" if use.effective is None else use.effective,
            **speeds.get(name, {}),
        }
        for name, use in found.items()
    ]


def probe_rows(tables: Mapping[str, pl.DataFrame], measure: str) -> list[dict[str, Any]]:
    """Return one row per kind and bin of distances: probes asked (fewest), skipped (most), one figure of each model.

    Args:
        tables: By the name of the model, results of `evaluation.probing.probes.table_of` on the same probes.
        measure: "accuracy", "shift", "probability" or "nats".
    """
    each = {name: {(row["kind"], row["distance"]): row for row in table.to_dicts()} for name, table in tables.items()}
    return [
        {
            "kind": kind,
            "words back": _span(row["distance"], row["to"]),
            "probes": min(own[kind, begin]["probes"] for own in each.values()),
            "skipped": max(own[kind, begin]["skipped"] for own in each.values()),
            **{name: own[kind, begin][measure] for name, own in each.items()},
        }
        for (kind, begin), row in next(iter(each.values())).items()
    ]


def scoring_speed(model: LanguageModel, stream: TokenStream, tokens: int = 20_000) -> float:
    """Return how many tokens a model scores per second of CPU time, with whole reviews side by side from a fresh state.

    The reviews of a batch are cut to the length of the shortest, so that there is no padding.

    Args:
        stream: Reviews as tokens of its vocabulary.
        tokens: Stop after this number of tokens.
    """
    lengths_D = np.diff(np.asarray(stream.offsets))
    order = np.argsort(-lengths_D, kind="stable")
    seconds, done = 0.0, 0
    for first in range(0, len(order), SIDE_BY_SIDE):
        rows = order[first : first + SIDE_BY_SIDE]
        width = int(lengths_D[rows].min())
        ids_BT = np.stack([np.asarray(stream.document(int(row)), np.int64)[:width] for row in rows])
        if first == 0:
            model.score(ids_BT, model.start(len(rows)))  # warm-up, not timed
        began = process_time()
        model.score(ids_BT, model.start(len(rows)))
        seconds, done = seconds + process_time() - began, done + ids_BT.size
        if done >= tokens:
            break
    return done / max(seconds, 1e-9)


def _span(first: int, last: int | None) -> str:
    return f"{first}+" if last is None else f"{first}" if first == last else f"{first}–{last}"
