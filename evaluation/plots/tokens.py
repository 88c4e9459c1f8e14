"""Draw figures of single tokens: ranks, certainty, and perplexity by context kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from evaluation.plots.canvas import GREY, WIDTH, canvas, ticks_at
from evaluation.scoring.metrics import LN2

CLASSES = 10
"""Number of classes of equal size in `certainty_figure`."""


def rank_figure(tokens: Mapping[str, pl.DataFrame], styles: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the share of tokens that are among a model's k most probable entries, over k.

    Args:
        tokens: By model, with the column rank (1 best, null: probability 0).
    """
    figure, axes = canvas(WIDTH, 4.6)
    for name, table in tokens.items():
        rank_N = table["rank"].drop_nulls().to_numpy()
        ks = _one_two_five(int(rank_N.max(initial=1)))
        shares = [float((rank_N <= k).sum()) / max(1, len(table)) for k in ks]
        axes.plot(ks, shares, **styles[name], markersize=5, linewidth=1.6, label=f"{name}: {shares[0]:.1%} at 1")
    axes.set_xscale("log")
    ks = _one_two_five(int(axes.get_xlim()[1]))
    ticks_at(axes.xaxis, ks, [f"{k:,}" for k in ks] if len(ks) < 8 else [f"{k:,}" * (f"{k}"[0] == "1") for k in ks])
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("k (log scale)")
    axes.set_ylabel("share of tokens among the k likeliest")
    axes.set_title("How far down the list the token that came stands; higher is better")
    if tokens:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _one_two_five(largest: int) -> list[int]:
    """Return 1, 2, 5, 10, 20 … up to the first number that is at least *largest*."""
    steps: list[int] = []
    for power in range(12):
        for digit in (1, 2, 5):
            steps.append(digit * 10**power)
            if steps[-1] >= largest:
                return steps
    return steps


def certainty_table(tokens: pl.DataFrame, classes: int = CLASSES) -> pl.DataFrame:
    """Return expected cost (entropy) and actual cost (surprisal), in classes with equal numbers of tokens.

    The entropy of a prediction is its mean surprisal if the prediction is correct. Tokens with probability 0 have no
    finite surprisal and are left out.

    Args:
        tokens: Columns nats and entropy (nats).
        classes: Maximum number of classes by entropy.

    Returns:
        entropy and surprisal (means, bits) and tokens of each class, lowest entropy first.
    """
    finite = tokens.filter(pl.col("nats").is_finite() & pl.col("entropy").is_finite()).sort("entropy")
    number = np.arange(len(finite)) * classes // max(1, len(finite))
    return (
        finite.with_columns(number=pl.Series(number))
        .group_by("number", maintain_order=True)
        .agg(entropy=pl.mean("entropy") / LN2, surprisal=pl.mean("nats") / LN2, tokens=pl.len())
        .drop("number")
    )


def certainty_figure(tokens: Mapping[str, pl.DataFrame], styles: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw `certainty_table` of each model; a point above the diagonal means that the model is overconfident.

    Args:
        tokens: By model.
    """
    figure, axes = canvas(WIDTH, 4.8)
    tables = {name: certainty_table(table) for name, table in tokens.items()}
    ends = [value for table in tables.values() for value in (*table["entropy"], *table["surprisal"])]
    most = max(ends, default=1.0)
    axes.plot([0, most], [0, most], color=GREY, linestyle="--", linewidth=1.2, label="as expected")
    for name, table in tables.items():
        axes.plot(table["entropy"], table["surprisal"], **styles[name], markersize=5, linewidth=1.4, label=name)
    axes.set_xlabel("bits that the model expected to need (entropy of its prediction)")
    axes.set_ylabel("bits that it needed")
    axes.set_title(f"Certainty, in {CLASSES} classes of equally many tokens")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
