"""Exposure: how much more a model expects a planted canary than others of its kind that it has never seen.

Carlini et al. 2019 ("The Secret Sharer"), section 4: of |R| possible canaries let *rank* be the place of the planted
one when all are sorted by the model's nats. Then exposure = log2 |R| − log2 rank, in bits.

|R| is far too large to rank them all. Two estimates are made of the probability that a random candidate is at most as
costly as the canary, whose −log2 is the exposure (their definition 6):

    rank        the canary's place among candidates that are drawn at random, behind those of equal nats. Nothing is
                assumed, and a canary that was never planted has exposure ≥ x with probability 2^−x at most, whatever
                the model: one that expects all texts alike exposes none. It cannot say more than log2(candidates + 1).
    skew-normal the tail of a skew-normal distribution that is fitted to the candidates' nats, for ranks beyond them.
                It is as good as the fit, whose distance from the candidates is stated.

Decisions rest on the rank alone.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from scipy.integrate import quad
from scipy.special import log_ndtr
from scipy.stats import ks_1samp, ks_2samp, norm, skewnorm

from corpus.synthetic.canaries import Canaries, as_reviews
from evaluation.scoring.score import score_stream
from models.streams import TokenStream, write_stream

if TYPE_CHECKING:
    from models.bundles.bundle import Bundle

LN2 = float(np.log(2))
WITHIN = 1e-3
"""Probabilities above this are no tail: they are computed as usual."""
MOST_SKEW = 0.99
"""A skew-normal distribution has a skewness below 0.9953."""
CONTROLS = 10
"""One more text that was never planted for so many candidates: these check the method itself."""
TABLE = {
    "canary": pl.String,
    "copies": pl.Int64,
    "oov": pl.Int64,
    "nats": pl.Float64,
    "rank": pl.Float64,
    "exposure": pl.Float64,
    "extrapolated": pl.Float64,
    "written": pl.Int64,
}
"""Columns of what `measure_exposure` returns: a row for each planted canary."""
FACTS = (
    "exposure_max",
    "exposure_mean",
    "exposure_once",
    "exposure_extrapolated_max",
    "exposure_limit",
    "skew_normal_ks",
    "control_ks",
    "control_p",
)


def measure_exposure(
    bundle: Bundle, canaries: Canaries | None, candidates: int, samples: pl.Series, work: Path
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Rank each planted canary among random candidates, as the model scores them.

    Args:
        bundle: The model.
        canaries: What was planted in its training text, if anything was.
        candidates: How many others each is ranked among.
        samples: Texts that the model has written, to be looked through for canaries.
        work: A folder that does not exist yet; it is gone afterwards.

    Returns:
        The table `TABLE`, and facts: canaries, canaries_unknown (that hold a word the vocabulary lacks: they have no
        exposure), canaries_written (samples that hold one), and `FACTS`, which are None where no canary has a rank.
    """
    texts = list(canaries.texts) if canaries else []
    if canaries is None or not texts:
        facts = {"canaries": 0, "canaries_unknown": 0, "canaries_written": 0}
        return pl.DataFrame(schema=TABLE), {**facts, **dict.fromkeys(FACTS)}
    drawn = canaries.draw(candidates + max(1, candidates // CONTROLS))
    rows = _scored(bundle, [*texts, *drawn], canaries.stars, work)
    nats = rows["nats"].to_numpy()
    planted_P, candidates_R, controls_C = np.split(nats, [len(texts), len(texts) + candidates])
    planted_P = np.where(rows["oov"].to_numpy()[: len(texts)] > 0, np.nan, planted_P)
    fitted = SkewNormal.fit(candidates_R)
    lowered = samples.str.to_lowercase()
    table = pl.DataFrame(
        {
            "canary": texts,
            "copies": canaries.copies,
            "oov": rows["oov"].head(len(texts)),
            "nats": planted_P,
            "rank": ranks(planted_P, candidates_R),
            "exposure": exposures(planted_P, candidates_R),
            "extrapolated": [_extrapolated(fitted, x, canaries.bits) for x in planted_P],
            "written": [int(lowered.str.contains(text, literal=True).sum()) for text in texts],
        },
        schema=TABLE,
    ).with_columns(pl.col("nats", "rank", "exposure").fill_nan(None))
    distance, p = follow_theory(controls_C, candidates_R)
    known = table.drop_nulls("exposure")
    return table, {
        "canaries": len(texts),
        "canaries_unknown": table.height - known.height,
        "canaries_written": int(lowered.str.contains_any(texts).sum()),
        "exposure_max": known["exposure"].max(),
        "exposure_mean": known["exposure"].mean(),
        "exposure_once": known.filter(pl.col("copies") == 1)["exposure"].mean(),
        "exposure_extrapolated_max": known["extrapolated"].max(),
        "exposure_limit": math.log2(candidates + 1) if known.height else None,
        "skew_normal_ks": fitted.distance if fitted else None,
        "control_ks": distance,
        "control_p": p,
    }


def _scored(bundle: Bundle, texts: Sequence[str], stars: int, work: Path) -> pl.DataFrame:
    """Return the scores of texts in the same way as those of any reviews: `evaluation.scoring.score.score_stream`."""
    ids = [f"{number:06d}" for number in range(len(texts))]
    reviews = as_reviews(pl.DataFrame({"review_id": ids, "text": texts}), stars)
    write_stream(work, bundle.vocabulary, [reviews])
    rows = score_stream(bundle, TokenStream.open(work))
    shutil.rmtree(work)
    return rows


def _extrapolated(fitted: SkewNormal | None, nats: float, most: float) -> float | None:
    return min(fitted.bits_below(nats), most) if fitted and math.isfinite(nats) else None


def ranks(nats_P: np.ndarray, candidates_R: np.ndarray) -> np.ndarray:
    """Return the place (P,) of each canary among the R candidates and itself: 1 + how many are at least as cheap.

    A canary that the model calls impossible comes last, and one without a score (NaN) has no rank.
    """
    until = np.searchsorted(np.sort(candidates_R), nats_P, side="right")
    return np.where(np.isnan(nats_P), np.nan, 1 + until)


def exposures(nats_P: np.ndarray, candidates_R: np.ndarray) -> np.ndarray:
    """Return the exposure (P,) in bits of each canary by its rank among the candidates.

    Args:
        nats_P: Of the canaries; infinite for what the model calls impossible, which has 0 bits.
        candidates_R: Of the candidates.
    """
    return np.log2((len(candidates_R) + 1) / ranks(nats_P, candidates_R))


def follow_theory(controls_C: np.ndarray, candidates_R: np.ndarray) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance of never-planted canaries' nats from those of the candidates, and p.

    Both are drawn alike, so their ranks must be uniform and, but for ties, their exposures exponential with mean
    1/ln 2. Since all ranks are taken among the same candidates they are not independent, and the test is that of two
    samples.
    """
    found: Any = ks_2samp(controls_C, candidates_R)
    return float(found.statistic), float(found.pvalue)


@dataclass(frozen=True)
class SkewNormal:
    """The density 2/w φ(z) Φ(az), z = (x − location)/w (Azzalini 1985).

    Args:
        location: Where z is 0; not the mean.
        scale: w.
        shape: a; negative for a long tail on the left.
        distance: Kolmogorov-Smirnov distance from what it was fitted to.
    """

    location: float
    scale: float
    shape: float
    distance: float

    @classmethod
    def fit(cls, values_R: np.ndarray) -> SkewNormal | None:
        """Return the distribution with the mean, variance and skewness of the values; None where these are none."""
        values_R = np.asarray(values_R, np.float64)
        if len(values_R) < 3 or not np.isfinite(values_R).all() or not values_R.std():
            return None
        mean, deviation = float(values_R.mean()), float(values_R.std())
        skew = float(np.clip((((values_R - mean) / deviation) ** 3).mean(), -MOST_SKEW, MOST_SKEW))
        size = abs(skew) ** (2 / 3)
        delta = np.sign(skew) * sqrt(pi / 2 * size / (size + ((4 - pi) / 2) ** (2 / 3)))
        scale = deviation / sqrt(1 - 2 * delta**2 / pi)
        location, shape = mean - scale * delta * sqrt(2 / pi), float(delta / sqrt(1 - delta**2))
        tested: Any = ks_1samp(values_R, skewnorm(shape, location, scale).cdf)
        return cls(location, scale, shape, float(tested.statistic))

    def bits_below(self, x: float) -> float:
        """Return −log2 of the probability to be at most x; precise far out in the tail, too."""
        z = (x - self.location) / self.scale
        if (share := float(skewnorm.cdf(z, self.shape))) > WITHIN:
            return -math.log2(share)
        # ∫ f(z − s) / f(z) ds over s ≥ 0: no cancellation, and nothing underflows, however small f(z) is.
        start = self._log_density(z)
        width = 1 / (1 + max(0.0, -z) * (1 + max(0.0, self.shape) ** 2))
        area, _ = quad(lambda s: np.exp(self._log_density(z - width * s) - start), 0, np.inf, limit=200)
        return float(-(start + np.log(area * width)) / LN2)

    def _log_density(self, z: float) -> float:
        return float(LN2 + norm.logpdf(z) + log_ndtr(self.shape * z))
