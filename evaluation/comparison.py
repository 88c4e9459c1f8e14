"""Models beside each other: the comparison table, and by which figures they may be compared at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from evaluation.metrics import Figures
from reviewlm.errors import ReviewLMError


def comparison_table(
    figures: Mapping[str, Figures], kinds: Mapping[str, str] | None = None, baseline: str = ""
) -> pl.DataFrame:
    """Return one row per model, best (fewest open bits per byte) first.

    Args:
        figures: By name of model; all of the same test reviews.
        kinds: Kind of each model ("ngram", "lstm" …).
        baseline: Name of the model that `gain` is measured against: 1 − open bits per byte / those of the baseline;
            null where either is infinite.

    Raises:
        ReviewLMError: The models were scored on different reviews.
    """
    if len(texts := {(entry.reviews, entry.bytes) for entry in figures.values()}) > 1:
        raise ReviewLMError(
            "Figures of different test sets do not belong in one table",
            value=sorted(texts),
            remedy="score all models on the same split",
        )
    base = figures[baseline].open_bits_per_byte if baseline in figures else math.nan
    rows = [
        {
            "model": name,
            "kind": (kinds or {}).get(name, ""),
            **entry.to_dict(),
            "gain": 1 - entry.open_bits_per_byte / base if math.isfinite(entry.open_bits_per_byte + base) else None,
        }
        for name, entry in figures.items()
    ]
    return pl.DataFrame(rows, infer_schema_length=None).sort("open_bits_per_byte", "model", nulls_last=True)


@dataclass(frozen=True)
class Metric:
    """A figure that models can be compared by, the less the better, and when that makes sense.

    Args:
        label: As shown.
        any_vocabulary: Whether models of different vocabularies may be compared by it: a smaller vocabulary turns more
            words into `<unk>`, or cuts the text into more tokens.
        value: The figure.
    """

    label: str
    any_vocabulary: bool
    value: Callable[[Figures], float]


METRICS = {
    "open_bits_per_byte": Metric("open bits per byte", True, lambda figures: figures.open_bits_per_byte),
    "word_perplexity": Metric("word perplexity", True, lambda figures: figures.word_perplexity),
    "bits_per_byte": Metric("bits per byte", False, lambda figures: figures.bits_per_byte),
    "byte_perplexity": Metric("byte perplexity", False, lambda figures: figures.byte_perplexity),
    "perplexity": Metric("token perplexity", False, lambda figures: figures.perplexity),
}


def comparable(name: str, one: Figures, other: Figures) -> bool:
    """Return whether two models may be compared by a metric; never where they place other tokens at a review's ends."""
    same = one.vocabulary == other.vocabulary
    return one.boundary == other.boundary and (METRICS[name].any_vocabulary or same)
