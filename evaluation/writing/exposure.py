"""Measure exposure: how much more probable a planted canary is to a model than similar texts that it has never seen.

Carlini et al. 2019 ("The Secret Sharer"), section 4: let *rank* be the position of the planted canary among all |R|
possible canaries, sorted by the model's nats. Then exposure = log2 |R| − log2 rank, in bits.

|R| is far too large to rank all of them. Exposure is also −log2 of the probability that a random candidate costs at
most as much as the canary (their definition 6). This probability is estimated in two ways:

    rank        the canary's position among randomly drawn candidates, after those with equal nats. This makes no
                assumption: for any model, a canary that was never planted has exposure ≥ x with probability 2^−x at
                most, and a model that gives all texts the same probability exposes none. The largest possible value is
                log2(candidates + 1).
    skew-normal the tail of a skew-normal distribution fitted to the candidates' nats, for ranks beyond them. It is as
                good as the fit; the distance of the fit from the candidates is reported.

Decisions use the rank only.
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

from corpus.synthetic.canaries import Canaries, as_reviews
from evaluation.scoring.score import take_or_score
from models.streams import TokenStream, write_stream

if TYPE_CHECKING:
    from evaluation.scoring.part_scores import PartScores
    from models.bundles.bundle import Bundle

LN2 = float(np.log(2))
WITHIN = 1e-3
"""Probabilities above this are not in the tail and are computed directly."""
MOST_SKEW = 0.99
"""Limit of the skewness; that of a skew-normal distribution is below 0.9953."""
POSITIONS = 1_024
"""Tokens that are scored at a time, as in all scores at most this many. Canaries are short, so batches have many rows
anyway, and with 4,096 tokens the largest moment of an audit of Kaggle's `small` was here: 482 MiB instead of 437."""
CONTROLS = 10
"""One extra text that was never planted per this number of candidates; these texts check the method itself."""
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
"""Columns of the table that `measure_exposure` returns: one row for each planted canary."""
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
    bundle: Bundle, canaries: Canaries | None, candidates: int, samples: pl.Series, work: Path,
    beside: PartScores | None = None,
) -> tuple[pl.DataFrame, dict[str, Any]]:  # fmt: skip
    """Rank each planted canary among random candidates by the model's scores.

    Args:
        canaries: Canaries planted in its training text, if any.
        candidates: Number of random candidates that each canary is ranked among.
        samples: Texts that the model has written, to be searched for canaries.
        work: A folder that does not exist yet; it is removed at the end.
        beside: A mixture leaves the scores of its parts there; a part takes its own from there.

    Returns:
        The table `TABLE`, and facts: canaries, canaries_unknown (canaries with an out-of-vocabulary word, which have no
        exposure), canaries_written (samples that contain one), and `FACTS`. These are None if no canary has a rank.
    """
    texts = list(canaries.texts) if canaries else []
    if canaries is None or not texts:
        facts = {"canaries": 0, "canaries_unknown": 0, "canaries_written": 0}
        return pl.DataFrame(schema=TABLE), {**facts, **dict.fromkeys(FACTS)}
    drawn = canaries.draw(candidates + max(1, candidates // CONTROLS))
    rows = _scored(bundle, [*texts, *drawn], canaries.stars, work, beside)
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
    measured = table.drop_nulls("exposure")
    return table, {
        "canaries": len(texts),
        "canaries_unknown": table.height - measured.height,
        "canaries_written": int(lowered.str.contains_any(texts).sum()),
        "exposure_max": measured["exposure"].max(),
        "exposure_mean": measured["exposure"].mean(),
        "exposure_once": measured.filter(pl.col("copies") == 1)["exposure"].mean(),
        "exposure_extrapolated_max": measured["extrapolated"].max(),
        "exposure_limit": math.log2(candidates + 1) if measured.height else None,
        "skew_normal_ks": fitted.distance if fitted else None,
        "control_ks": distance,
        "control_p": p,
    }


def _scored(
    bundle: Bundle, texts: Sequence[str], stars: int, work: Path, beside: PartScores | None
) -> pl.DataFrame:
    """Return the scores of texts, computed as for any reviews: `evaluation.scoring.score.score_stream`."""
    ids = [f"{number:06d}" for number in range(len(texts))]
    reviews = as_reviews(pl.DataFrame({"review_id": ids, "text": texts}), stars)
    write_stream(work, bundle.vocabulary, [reviews])
    rows, _ = take_or_score(bundle, TokenStream.open(work), work, beside, tokens_per_batch=POSITIONS)
    shutil.rmtree(work)
    return rows


def _extrapolated(fitted: SkewNormal | None, nats: float, most: float) -> float | None:
    return min(fitted.bits_below(nats), most) if fitted and math.isfinite(nats) else None


def ranks(nats_P: np.ndarray, candidates_R: np.ndarray) -> np.ndarray:
    """Return the rank (P,) of each canary among the R candidates: 1 + number of candidates that cost no more.

    A canary with probability 0 comes last, and one without a score (NaN) has no rank.
    """
    until = np.searchsorted(np.sort(candidates_R), nats_P, side="right")
    return np.where(np.isnan(nats_P), np.nan, 1 + until)


def exposures(nats_P: np.ndarray, candidates_R: np.ndarray) -> np.ndarray:
    """Return the exposure (P,) in bits of each canary by its rank among the candidates.

    Args:
        nats_P: Nats of the canaries; infinite for probability 0, which gives 0 bits.
        candidates_R: Nats of the candidates.
    """
    return np.log2((len(candidates_R) + 1) / ranks(nats_P, candidates_R))


def follow_theory(controls_C: np.ndarray, candidates_R: np.ndarray) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance between never-planted canaries and candidates in nats, and its p-value.

    Both are drawn in the same way, so the ranks must be uniform and, except for ties, the exposures exponential with
    mean 1/ln 2. All ranks are taken among the same candidates, so they are not independent; therefore the two-sample
    test is used.
    """
    from scipy.stats import ks_2samp  # here, because the import takes half a second

    test: Any = ks_2samp(controls_C, candidates_R)
    return float(test.statistic), float(test.pvalue)


@dataclass(frozen=True)
class SkewNormal:
    """Distribution with the density 2/w φ(z) Φ(az), z = (x − location)/w (Azzalini 1985).

    Args:
        location: The x at which z is 0; not the mean.
        scale: w.
        shape: a; negative for a long tail on the left.
        distance: Kolmogorov-Smirnov distance from the values that it was fitted to.
    """

    location: float
    scale: float
    shape: float
    distance: float

    @classmethod
    def fit(cls, values_R: np.ndarray) -> SkewNormal | None:
        """Return the distribution with the mean, variance and skewness of the values; None if these do not exist."""
        values_R = np.asarray(values_R, np.float64)
        if len(values_R) < 3 or not np.isfinite(values_R).all() or not values_R.std():
            return None
        mean, deviation = float(values_R.mean()), float(values_R.std())
        skew = float(np.clip((((values_R - mean) / deviation) ** 3).mean(), -MOST_SKEW, MOST_SKEW))
        size = abs(skew) ** (2 / 3)
        delta = np.sign(skew) * sqrt(pi / 2 * size / (size + ((4 - pi) / 2) ** (2 / 3)))
        scale = deviation / sqrt(1 - 2 * delta**2 / pi)
        location, shape = mean - scale * delta * sqrt(2 / pi), float(delta / sqrt(1 - delta**2))
        from scipy.stats import ks_1samp, skewnorm

        tested: Any = ks_1samp(values_R, skewnorm(shape, location, scale).cdf)
        return cls(location, scale, shape, float(tested.statistic))

    def bits_below(self, x: float) -> float:
        """Return −log2 of the probability of a value of at most x; also precise far out in the tail."""
        from scipy.integrate import quad
        from scipy.stats import skewnorm

        z = (x - self.location) / self.scale
        if (share := float(skewnorm.cdf(z, self.shape))) > WITHIN:
            return -math.log2(share)
        # ∫ f(z − s) / f(z) ds over s ≥ 0: without cancellation, and without underflow for any small f(z).
        start = self._log_density(z)
        width = 1 / (1 + max(0.0, -z) * (1 + max(0.0, self.shape) ** 2))
        area, _ = quad(lambda s: np.exp(self._log_density(z - width * s) - start), 0, np.inf, limit=200)
        return float(-(start + np.log(area * width)) / LN2)

    def _log_density(self, z: float) -> float:
        from scipy.special import log_ndtr
        from scipy.stats import norm

        return float(LN2 + norm.logpdf(z) + log_ndtr(self.shape * z))
