"""Compute figures of a model from its scores: perplexities, bits per byte, figures by star rating.

Every figure is a ratio of sums over reviews, so reviews of unequal length weigh by their tokens (or bytes), and
figures of parts add up. Denominators are the same for all models:

    tokens  tokens of the text + 1 end token per review; never the begin or the star token
    words   words between white space + 1 for the end of a review
    bytes   UTF-8 bytes of the cleaned text + 1 for the end of a review; counted once, by the prepare stage

An unknown word is scored as `<unk>`, which represents many words at once and is therefore too cheap. The *open* figures
add the cost of spelling the word (`spelling_nats`); only they compare models of different vocabularies. They also
include the cost of what a vocabulary of words folds away (case, typographic quotes, spaces;
`models/tokens/surface.py`), except for vocabularies without such prices. The policies next to
the figures say so.

How well a model is calibrated is measured too (`reliability`, `calibration_error`).

Shapes: N positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
import polars as pl

from reviewlm.models.base import STATIC

LN2 = math.log(2)
Sums = Mapping[Any, Any]
"""Sums over reviews by the name of a column: one number each, or one per draw of the bootstrap."""
SUMS = ("reviews", "tokens", "bytes", "words", "oov", "nats", "spelling_nats")
LABELS = ("unit", "vocabulary", "boundary", "adaptation")
"""Properties without which the figures cannot be interpreted."""
BINS = 15


def _ratio(numerator: Any, denominator: Any) -> Any:
    if isinstance(denominator, np.ndarray) or denominator:
        return numerator / denominator
    return math.nan


def _exp(mean: Any) -> Any:
    """Return e^mean, infinite if it is too large for a float."""
    if isinstance(mean, np.ndarray):
        return np.exp(mean)
    if not mean > 700:
        return math.exp(mean)
    return math.inf


def _open(sums: Sums) -> Any:
    return sums["nats"] + sums["spelling_nats"]


FIGURES: dict[str, Callable[[Sums], Any]] = {
    "perplexity": lambda sums: _exp(_ratio(sums["nats"], sums["tokens"])),
    "word_perplexity": lambda sums: _exp(_ratio(_open(sums), sums["words"] + sums["reviews"])),
    "byte_perplexity": lambda sums: _exp(_ratio(sums["nats"], sums["bytes"])),
    "bits_per_byte": lambda sums: _ratio(sums["nats"] / LN2, sums["bytes"]),
    "open_bits_per_byte": lambda sums: _ratio(_open(sums) / LN2, sums["bytes"]),
    "bits_per_character": lambda sums: _ratio(sums["nats"] / LN2, sums["tokens"]),
    "oov_share": lambda sums: _ratio(sums["oov"], sums["tokens"]),
}
"""Every figure as a function of sums; `Figures` explains each."""


@dataclass(frozen=True)
class Figures:
    """Sums over the reviews of a test set, and the figures that follow from them.

    Args:
        reviews: Number of reviews.
        tokens: Scored tokens, end tokens included.
        bytes: UTF-8 bytes, including one for each end.
        words: White-space words, without the ends.
        oov: Tokens that are `<unk>`.
        nats: −Σ log p.
        spelling_nats: Cost of what the tokens leave out: the letters of unknown words, case, spaces and quotes.
        unit: Unit of the vocabulary: "word", "bpe", "unigram" or "char".
        vocabulary: Digest of the vocabulary.
        boundary: Boundary policy of the vocabulary: which tokens are at the ends of a review.
        adaptation: "static", or how the model adapts to the text that it is measured on (`models/base.py`).
        impossible: Reviews to which the model gives probability 0. One such review makes every figure infinite. This is
            intended: leaving it out would reward a model for giving probability 0 to something that happened.
    """

    reviews: int
    tokens: int
    bytes: int
    words: int
    oov: int
    nats: float
    spelling_nats: float
    unit: str = ""
    vocabulary: str = ""
    boundary: str = ""
    adaptation: str = STATIC
    impossible: int = 0

    @property
    def perplexity(self) -> float:
        """exp(mean nats per token); compares models of one vocabulary only."""
        return float(FIGURES["perplexity"](vars(self)))

    @property
    def bits_per_token(self) -> float:
        """Mean bits per token: l in perplexity = 2^l."""
        return float(FIGURES["bits_per_character"](vars(self)))

    @property
    def word_perplexity(self) -> float:
        """exp(nats per white-space word), with unknown words spelt out."""
        return float(FIGURES["word_perplexity"](vars(self)))

    @property
    def byte_perplexity(self) -> float:
        """exp(nats per byte) = 2^(bits per byte)."""
        return float(FIGURES["byte_perplexity"](vars(self)))

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of text, with unknown words at the price of `<unk>`."""
        return float(FIGURES["bits_per_byte"](vars(self)))

    @property
    def open_bits_per_byte(self) -> float:
        """Bits per byte of text, including unknown words, case and spaces; compares models of any vocabularies."""
        return float(FIGURES["open_bits_per_byte"](vars(self)))

    @property
    def bits_per_character(self) -> float | None:
        """Bits per token of a character model (a rare character counts as its bytes); None for other units."""
        return self.bits_per_token if self.unit == "char" else None

    @property
    def oov_share(self) -> float:
        """Share of the scored tokens that are `<unk>`."""
        return float(FIGURES["oov_share"](vars(self)))

    def to_dict(self) -> dict[str, Any]:
        """Return sums and figures under the names used by tables, tracking and the command line."""
        return {name: getattr(self, name) for name in (*SUMS, "impossible", *FIGURES, *LABELS)}


def figures_of(
    rows: pl.DataFrame,
    *,
    unit: str = "",
    vocabulary: str = "",
    boundary: str = "",
    adaptation: str = STATIC,
) -> Figures:
    """Add up the rows returned by `reviewlm.evaluation.scoring.score.score_stream`.

    Args:
        rows: Columns nats, tokens, bytes, oov, spelling_nats, words; one row per review.
        unit: Unit of the vocabulary.
        vocabulary: Digest of the vocabulary.
        boundary: Boundary policy of the stream.
        adaptation: "static", or how the model adapts.
    """
    sums: dict[str, Any] = {name: rows[name].sum() for name in SUMS if name != "reviews"}
    impossible = int(rows["nats"].is_infinite().sum())
    return Figures(
        reviews=len(rows),
        **sums,
        unit=unit,
        vocabulary=vocabulary,
        boundary=boundary,
        adaptation=adaptation,
        impossible=impossible,
    )


def policies(
    boundary: str,
    vocabulary: str,
    unit: str,
    adaptation: str = STATIC,
) -> dict[str, str]:
    """Return the policies without which a set of figures cannot be interpreted."""
    return {
        "log base": "natural logarithm inside (nats); bits = nats / ln 2; perplexity = exp(nats per token)",
        "end of review": "scored and counted as one <eos> token, 1 byte and 1 word per review",
        "begin and stars": "<bos> and the star token are given, never scored",
        "unknown words": "scored as <unk>; open figures add the cost of spelling the word",
        "folding": "open figures include the cost of what the vocabulary folds away (words: case, quotes, spacing)",
        "state": "every review starts from the fresh state",
        "adaptation": adaptation,
        "bytes": "UTF-8 bytes of the cleaned text, counted by the prepare stage",
        "boundary": boundary,
        "vocabulary": vocabulary,
        "unit": unit,
    }


def reliability(
    confidence_N: np.ndarray,
    correct_N: np.ndarray,
    bins: int = BINS,
) -> pl.DataFrame:
    """Return the reliability table: one row per bin [low, high); the last bin includes 1.

    At each position the model's top entry of the whole vocabulary is examined (`<unk>` and the end token included;
    ties go to the lowest id): its probability is the confidence, and how often it is the written token is the
    accuracy.

        ECE = Σ_b  n_b / N  · | accuracy of bin b − mean confidence of bin b |       bins of equal width over [0, 1]

    M. Pakdaman Naeini, G. Cooper and M. Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI. The number of bins (15) is from C. Guo, G. Pleiss, Y. Sun and K. Weinberger (2017), "On
    calibration of modern neural networks", ICML.

    Args:
        confidence_N: Probability that the model gave to its top entry.
        correct_N: Whether that entry is the written token.
        bins: Number of bins, of equal width.

    Returns:
        bin, low, high, count, mean_probability, mean_accuracy; the means are null in an empty bin.
    """
    bin_N = np.minimum((confidence_N * bins).astype(np.int64), bins - 1)
    count_K = np.bincount(bin_N, minlength=bins)
    sums = {
        "mean_probability": np.bincount(bin_N, weights=confidence_N, minlength=bins),
        "mean_accuracy": np.bincount(bin_N, weights=correct_N, minlength=bins),
    }
    edges = np.arange(bins + 1) / bins
    frame = pl.DataFrame(
        {
            "bin": np.arange(bins),
            "low": edges[:-1],
            "high": edges[1:],
            "count": count_K,
            **sums,
        }
    )
    means = pl.col(list(sums)) / pl.col("count")
    return frame.with_columns(pl.when(pl.col("count") > 0).then(means))


def calibration_error(table: pl.DataFrame) -> float:
    """Return the ECE of a reliability table."""
    gap = (pl.col("mean_accuracy") - pl.col("mean_probability")).abs() * pl.col("count")
    return float(table.select(gap.sum() / pl.col("count").sum()).item())


def chance_error(confidence_N: np.ndarray) -> float:
    """Return the mean ECE of a perfectly calibrated model with these confidences.

    It is above 0, because the accuracy of a bin is measured on a sample. The sum of the n_b differences has the
    variance Σ c(1 − c), and the absolute value of a normal variable has the mean σ √(2/π).
    """
    bin_N = np.minimum((confidence_N * BINS).astype(np.int64), BINS - 1)
    variance_K = np.bincount(bin_N, weights=confidence_N * (1 - confidence_N), minlength=BINS)
    return float(np.sqrt(2 / pi * variance_K).sum() / len(confidence_N))
