"""Compare models in one table, and decide by which figures they may be compared.

Compute the source entropy of the embedded corpus (the floor of all models), and the gap of each model to it.

The grammar knows the exact probability of each of its texts, and by Gibbs' inequality no model can need fewer bits for
them on average. A model's gap is the mean difference over reviews between its nats and the grammar's. It estimates the
Kullback–Leibler divergence between the two. Real reviews were not written by a grammar and have no floor.

Judge whether the best neural model of a run was trained too little or too much, and suggest what to change.

The rule reads the model's losses on validation, in nats per token ("Trained too little or too much" in
docs/concepts/models/training.md). It says nothing where the evidence is thin: with fewer than three evaluations, or
where nothing below applies.

    rise            loss at the last evaluation − lowest loss
    fall            loss at two thirds of the training (interpolated) − loss at the last evaluation

    over-trained    rise ≥ 0.02
    under-trained   not surely better than the baseline, rise = 0, fall ≥ 0.05
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from reviewlm.core.errors import ReviewLMError
from reviewlm.core.figures import FIGURE
from reviewlm.evaluation.scoring.metrics import LN2, Figures
from reviewlm.models.base import STATIC, perplexity

Baseline = str | Mapping[str, str]
"""Name of the model that all others are compared with; or one name per model, "" for a model without a baseline."""
METRICS = {
    name: FIGURE[name].words
    for name in (
        "open_bits_per_byte",
        "word_perplexity",
        "bits_per_byte",
        "byte_perplexity",
        "perplexity",
    )
}
"""Figures to compare models by (lower is better), and their names to show."""
ANY_VOCABULARY = ("open_bits_per_byte", "word_perplexity")
"""Those that compare models of different vocabularies: a smaller vocabulary turns more words into `<unk>`, or cuts the
text into more tokens."""
JUDGED = pl.Schema({"review_id": pl.String(), "bytes": pl.Int64(), "nats": pl.Float64()})
"""Columns of judged reviews: `nats` is −log p(text | stars) under the grammar, null if it cannot generate the text."""
LEAST_EVALUATIONS = 3
"""Fewer points cannot tell a trend from a step."""
RISE = 0.02
FALL = 0.05
"""In nats per token: 0.02 are 2 % of the perplexity."""


def own_baselines(
    adaptations: Mapping[str, str], parts: Mapping[str, Sequence[str]], baseline: str
) -> dict[str, str]:
    """Choose the baseline of each model: a static one for static models, an adaptive one for adaptive models.

    A model that learns from the text it is measured on solves another task than a static one, so a gain of one over the
    other says little. Adaptive models are compared with the variant of the baseline that adapts (for example a cache on
    top of it): the first one that has only the baseline as a part. Without such a variant they have no baseline and no
    gain. If the baseline itself adapts, static models are compared with its only part.

    Args:
        adaptations: By name of model, "static" or how it adapts.
        parts: By name of model, the models that it combines.
        baseline: The one named in the configuration.

    Returns:
        Name of the baseline by name of model; "" if there is none.
    """
    made_of = {name: tuple(parts.get(name, ())) for name in adaptations}
    adapts = {name: way != STATIC for name, way in adaptations.items()}

    def variant(adapting: bool) -> str:
        if adapts.get(baseline) == adapting:
            return baseline
        kin = []
        for name in adapts:
            if made_of[name] == (baseline,) or made_of.get(baseline) == (name,):
                kin.append(name)

        return next((name for name in kin if adapts[name] == adapting), "")

    variants = {adapting: variant(adapting) for adapting in (False, True)}
    return {name: variants[adapting] for name, adapting in adapts.items()}


def baseline_of(baseline: Baseline, model: str) -> str:
    """Return the name of a model's baseline; "" if it has none."""
    if isinstance(baseline, str):
        return baseline
    return baseline.get(model, "")


def comparison_table(
    figures: Mapping[str, Figures], kinds: Mapping[str, str] | None = None, baseline: Baseline = ""
) -> pl.DataFrame:
    """Return one row per model: static models, then adaptive ones, each sorted by open bits per byte (lowest first).

    Args:
        figures: By name of model; all of the same test reviews.
        kinds: Kind of each model ("ngram", "lstm" …).
        baseline: The model that `baseline_gain` is measured against: 1 − open bits per byte / those of the baseline. Null if
            either is infinite, or a model has no baseline.
    """
    bits = {name: entry.open_bits_per_byte for name, entry in figures.items()}
    rows = []
    for name, entry in figures.items():
        reference = baseline_of(baseline, name)
        base = bits.get(reference, math.nan)
        gain = None
        if math.isfinite(bits[name] + base):
            gain = 1 - bits[name] / base

        kind = (kinds or {}).get(name, "")
        rows.append(
            {
                "model": name,
                "kind": kind,
                **entry.to_dict(),
                "baseline": reference,
                "baseline_gain": gain,
            }
        )

    table = pl.DataFrame(rows, infer_schema_length=None)
    return table.sort(
        pl.col("adaptation") != STATIC, "open_bits_per_byte", "model", nulls_last=True
    )


def comparable(name: str, one: Figures, other: Figures) -> bool:
    """Return whether two models may be compared by a metric; never if they use other tokens at the ends of a review."""
    same = one.vocabulary == other.vocabulary
    return one.boundary == other.boundary and (name in ANY_VOCABULARY or same)


def floor_of(judged: pl.DataFrame) -> dict[str, float]:
    """Return the floor of judged reviews (`JUDGED`).

    Returns:
        reviews (judged), explained (those that the grammar can generate; the sums are over these), nats
        (−Σ log p(text | stars) under the grammar), bytes, and bits_per_byte: a lower bound of those of any model, up to
        the sampling error of these reviews.
    """
    explained = judged.drop_nulls("nats")
    nats = float(explained["nats"].sum())
    size = int(explained["bytes"].sum())
    return {
        "reviews": len(judged),
        "explained": len(explained),
        "nats": nats,
        "bytes": size,
        "bits_per_byte": nats / LN2 / size,
    }


def floor_nats(judged: pl.DataFrame, scores: pl.DataFrame) -> np.ndarray:
    """Return the grammar's nats (D,) of each scored review, NaN if it was not judged or cannot be explained.

    Args:
        scores: Columns review_id and bytes; see `reviewlm.evaluation.scoring.score.score_stream`.

    Raises:
        ReviewLMError: A review has other bytes in the two tables, so they are not of the same text.
    """
    joined = scores.select("review_id", "bytes").join(
        judged, on="review_id", how="left", suffix="_judged", maintain_order="left", validate="1:1"
    )
    if len(other := joined.filter(pl.col("bytes") != pl.col("bytes_judged"))):
        raise ReviewLMError(
            "The floor was computed on other texts than the scores",
            value=f"review {other['review_id'][0]}",
            remedy="run again with --rebuild floor",
        )

    return joined["nats"].fill_null(float("nan")).to_numpy()


class Training(NamedTuple):
    """Training of one neural model.

    Args:
        model: Name of the model in tables.
        passes: Passes over the training reviews (`training.epochs`).
        curve: Lines of its journal, with `step` and `validation/nats`.
    """

    model: str
    passes: float
    curve: Sequence[Mapping[str, float]]


def training_hints(trainings: Sequence[Training], table: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences about the best static neural model of a run; none if the figures do not support any.

    Args:
        table: Rows of `reviewlm.evaluation.statistics.comparison.comparison_table`, with the intervals of the gain.
    """
    training_of = {training.model: training for training in trainings}
    static = (row for row in table if row["model"] in training_of and row["adaptation"] == STATIC)
    rows = [row for row in static if math.isfinite(row["open_bits_per_byte"] or math.nan)]
    if not rows:
        return []

    row = min(rows, key=lambda row: float(row["open_bits_per_byte"]))
    name, passes, curve = training_of[row["model"]]
    losses = {line["step"]: line["validation/nats"] for line in curve if "validation/nats" in line}
    steps = np.array(sorted(losses), np.float64)
    nats = np.array([losses[step] for step in sorted(losses)], np.float64)
    if len(steps) < LEAST_EVALUATIONS or not np.isfinite(nats).all():
        return []

    end = float(nats[-1])
    best = float(nats.min())
    low = row.get("baseline_gain_lo")
    fall = float(np.interp(steps[-1] * 2 / 3, steps, nats)) - end
    if end - best >= RISE:
        at = passes * float(steps[nats.argmin()] / steps[-1])
        change = f"({perplexity(best):,.4g}) and rose to {perplexity(end):,.4g}"
        return [
            f"{name} is over-trained: its validation perplexity was best after {at:.2g} of {passes:.3g} passes "
            f"{change}. The best weights were kept.",
            f"Fewer passes ({_setting(name, at)}), more dropout or more reviews would help.",
        ]
    if row.get("baseline") and low is not None and low <= 0 and end == best and fall >= FALL:
        change = f"by {-math.expm1(-fall):.0%}, to {perplexity(end):,.4g}"
        return [
            f"{name} is under-trained: in the last third of {passes:.3g} passes its validation perplexity still fell "
            f"{change}.",
            f"More passes ({_setting(name, 2 * passes)}) or more reviews would help.",
        ]

    return []


def _setting(name: str, passes: float) -> str:
    return f"--set models.{name}.training.epochs={passes:.2g}"
