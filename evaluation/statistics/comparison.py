"""Compare models in one table, and decide by which figures they may be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import polars as pl

from reviewlm.core.figures import FIGURE
from reviewlm.evaluation.scoring.metrics import Figures
from reviewlm.models.base import STATIC

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


def own_baselines(
    adaptations: Mapping[str, str],
    parts: Mapping[str, Sequence[str]],
    baseline: str,
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
    figures: Mapping[str, Figures],
    kinds: Mapping[str, str] | None = None,
    baseline: Baseline = "",
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


def comparable(
    name: str,
    one: Figures,
    other: Figures,
) -> bool:
    """Return whether two models may be compared by a metric; never if they use other tokens at the ends of a review."""
    same = one.vocabulary == other.vocabulary
    return one.boundary == other.boundary and (name in ANY_VOCABULARY or same)
