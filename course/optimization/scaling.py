"""Predict the loss of a large fit from small ones with the scaling law L(D) = E + A·D^−α, with an interval.

D is the number of training tokens read (or of parameters), L is validation loss in nats per token. This is the law of
Hestness et al. 2017 and Kaplan et al. 2020 with the floor E of Hoffmann et al. 2022, eq. 2. A few small fits leave α
almost undetermined, so no single law is fitted. For each α of a grid the law is linear in E and A, and Bayesian linear
regression gives their distribution and that of the noise in closed form (Gelman et al. 2013, chapter 14). The
prediction is the mixture of all these laws, each weighted by how well it explains the small fits, restricted to E ≥ 0
and A > 0, plus the noise of one fit. Prior: α uniform on the grid, E and A flat, and log σ flat above a minimum noise.

    python -m reviewlm.course.optimization.scaling --epochs 6 [--text reviews.txt]

The program fits a small LSTM for parts of its epochs, predicts the loss of all of them, fits that too, and compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp

import numpy as np

from reviewlm.course.inputs import data_of, fit_model_here, program, show, small_lstm

EXPONENTS = np.linspace(0.05, 1.2, 116)
"""Grid of α. Measured exponents of language models are 0.05 to 0.5; those of small fits, which still learn quickly, are
higher.
"""
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
SEEDS = 2
"""Parts of the epochs that are fitted, and fits of each."""
DRAWS = 40_000
LEAST_NOISE = 1e-3
"""Minimum noise in nats per token: small fits with equal losses by chance must not give an interval of width 0."""


@dataclass(frozen=True)
class Law:
    """The single law that explains the small fits best, for tables and figures.

    Args:
        floor: E, nats per token.
        scale: A.
        exponent: α.
        noise: Standard deviation of a fit's loss around the law, nats per token.
    """

    floor: float
    scale: float
    exponent: float
    noise: float

    def __call__(self, size: float) -> float:
        """Return the loss of a fit of this size."""
        return self.floor + self.scale * size**-self.exponent


@dataclass(frozen=True)
class Prediction:
    """Prediction for one larger fit.

    Args:
        size: Its training tokens (or parameters).
        nats: Median of its validation loss.
        low: Lower end of the interval.
        high: Upper end.
        coverage: Probability that the loss is inside the interval, e.g. 0.8.
        law: The best single law.
    """

    size: float
    nats: float
    low: float
    high: float
    coverage: float
    law: Law

    def holds(self, nats: float) -> bool:
        """Return whether a loss that was measured later is inside the interval."""
        return self.low <= nats <= self.high


def foretell(
    sizes: Sequence[float],
    losses: Sequence[float],
    size: float,
    coverage: float,
    seed: int,
) -> Prediction:
    """Predict the loss of a fit from the losses of smaller ones.

    Args:
        sizes: N training sizes, at least three different ones.
        losses: N validation losses, nats per token.
        size: Training size of the larger fit.
        coverage: Coverage of the interval, in (0, 1).
        seed: Seed of the draws; equal seeds give equal intervals.

    Raises:
        ValueError: Fewer than four fits or three sizes, or a number that is not positive and finite; or losses that
            follow no such law: they do not fall with size, or fall faster and faster.
    """
    sizes_N = np.asarray(sizes, np.float64)
    losses_N = np.asarray(losses, np.float64)
    _require(sizes_N, losses_N, size)
    laws, weights_K, fits = _laws(sizes_N, losses_N, size)
    generator = np.random.default_rng(seed)
    drawn_R = _draws(
        fits,
        weights_K,
        sizes_N,
        size,
        generator,
    )
    tail = (1 - coverage) / 2
    low, middle, high = np.quantile(drawn_R, [tail, 0.5, 1 - tail])
    best = max(
        range(len(laws)), key=lambda k: (laws[k].scale > 0 and laws[k].floor >= 0, weights_K[k])
    )
    return Prediction(
        float(size),
        float(middle),
        float(low),
        float(high),
        coverage,
        laws[best],
    )


def _require(
    sizes_N: np.ndarray,
    losses_N: np.ndarray,
    size: float,
) -> None:
    numbers = np.concatenate([sizes_N, losses_N, [size]])
    if not (np.isfinite(numbers).all() and (numbers > 0).all()):
        raise ValueError("sizes and losses must be positive and finite")
    if len(sizes_N) < 4 or len(set(sizes_N)) < 3:
        raise ValueError(
            f"a law with three constants needs at least 4 fits of 3 sizes; there are {len(sizes_N)} of "
            f"{len(set(sizes_N))}"
        )
    if np.polyfit(np.log(sizes_N), losses_N, 1)[0] >= 0:
        raise ValueError(
            "the losses do not fall as the fits become larger, so no scaling law can be fitted"
        )
    if _speeds_up(np.log(sizes_N), losses_N):
        raise ValueError(
            "each doubling of the small fits gains more than the one before, but by a scaling law it gains less: the "
            "fits are still in the first steep part of learning; use larger shares"
        )


def _speeds_up(logs_N: np.ndarray, losses_N: np.ndarray) -> bool:
    """Return whether loss against log D bends downwards beyond chance (one-sided 1 %); scaling laws bend upwards."""
    # Student's t quantile; `scipy.stats` takes twice as long to import.
    from scipy.special import stdtrit

    x_N3 = np.stack([np.ones_like(logs_N), logs_N, (logs_N - logs_N.mean()) ** 2], 1)
    freedom = len(losses_N) - 3
    inverse_33 = np.linalg.inv(x_N3.T @ x_N3)
    mean_3 = inverse_33 @ (x_N3.T @ losses_N)
    squares = float(((losses_N - x_N3 @ mean_3) ** 2).sum()) + freedom * LEAST_NOISE**2
    return bool(mean_3[2] < stdtrit(freedom, 0.01) * np.sqrt(squares / freedom * inverse_33[2, 2]))


@dataclass(frozen=True)
class _Regression:
    """Regression of losses on (1, (D/D₀)^−α): E and scaled A, their covariance for σ = 1, residual sum of squares."""

    exponent: float
    mean_2: np.ndarray
    root_22: np.ndarray
    squares: float


def _laws(
    sizes_N: np.ndarray,
    losses_N: np.ndarray,
    size: float,
) -> tuple[list[Law], np.ndarray, list[_Regression]]:
    """Return for each exponent its law, its weight and the regression of both.

    The weight is the likelihood with E, A and σ integrated out: |XᵀX|^−½ · S^−(N−2)/2, times the contribution of the
    column's scale, so that A (and not A·D₀^−α) has the flat prior over the range of losses.
    """
    middle = np.exp(np.log(sizes_N).mean())
    freedom = len(sizes_N) - 2
    least = freedom * LEAST_NOISE**2
    laws = []
    logs = []
    fits = []
    for exponent in EXPONENTS:
        column_N = (sizes_N / middle) ** -exponent
        x_N2 = np.stack([np.ones_like(column_N), column_N], 1)
        inverse_22 = np.linalg.inv(x_N2.T @ x_N2)
        mean_2 = inverse_22 @ (x_N2.T @ losses_N)
        squares = float(((losses_N - x_N2 @ mean_2) ** 2).sum()) + least
        # Flat in the loss explained between the smallest and the largest fit: a prior that is independent of D's unit.
        spread = column_N.max() - column_N.min()
        logs.append(
            0.5 * np.linalg.slogdet(inverse_22)[1]
            + np.log(spread)
            - 0.5 * freedom * np.log(squares)
        )
        fits.append(_Regression(float(exponent), mean_2, np.linalg.cholesky(inverse_22), squares))
        scale = float(mean_2[1] * middle**exponent)
        laws.append(
            Law(float(mean_2[0]), scale, float(exponent), float(np.sqrt(squares / freedom)))
        )

    weights_K = np.exp(np.array(logs) - max(logs))
    return laws, weights_K / weights_K.sum(), fits


def _draws(
    fits: Sequence[_Regression],
    weights_K: np.ndarray,
    sizes_N: np.ndarray,
    size: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw losses of the larger fit: an exponent, σ, E and A, then noise; draws with E < 0 or A ≤ 0 are dropped."""
    middle = np.exp(np.log(sizes_N).mean())
    freedom = len(sizes_N) - 2
    drawn = []
    for fit, count in zip(fits, generator.multinomial(DRAWS, weights_K), strict=True):
        if count == 0:
            continue
        sigma_C = np.sqrt(fit.squares / generator.chisquare(freedom, count))
        law_C2 = fit.mean_2 + sigma_C[:, None] * (
            generator.standard_normal((count, 2)) @ fit.root_22.T
        )
        possible_C = (law_C2[:, 0] >= 0) & (law_C2[:, 1] > 0)
        loss_C = law_C2[:, 0] + law_C2[:, 1] * (size / middle) ** -fit.exponent
        drawn.append((loss_C + sigma_C * generator.standard_normal(count))[possible_C])

    found_R = np.concatenate(drawn)
    if len(found_R) < DRAWS // 100:
        raise ValueError("no law with a floor of 0 or more explains the small fits")

    return found_R


def main() -> None:
    """Fit parts, predict the whole fit, fit it, and show whether it is inside the interval."""
    options = program(
        __doc__,
        reviews=2_000,
        epochs=8.0,
        coverage=0.8,
    ).parse_args()
    data = data_of(options)
    small = small_lstm(hidden=64, dropout=0.0)
    rows = []
    for share, number in ((share, number) for share in SHARES for number in range(SEEDS)):
        training = replace(
            small.training, epochs=options.epochs * share, seed=options.seed + number
        )
        summary = fit_model_here(replace(small, training=training), data).summary
        nats = summary["validation_nats"]
        rows.append(
            {
                "share": share,
                "seed": number + 1,
                "tokens": summary["tokens"],
                "nats": nats,
            }
        )
        print(f"share {share:g}, seed {number + 1}: {nats:.3f} nats", flush=True)

    whole = options.epochs * data.train.tokens
    sizes = [row["tokens"] for row in rows]
    losses = [row["nats"] for row in rows]
    found = foretell(
        sizes,
        losses,
        whole,
        options.coverage,
        options.seed,
    )
    show(rows)
    law = found.law
    print(f"law: {law.floor:.3f} + {law.scale:.3g} D^-{law.exponent:.2f}")
    print(
        f"predicted for {whole:,.0f} tokens: {found.nats:.3f} nats, {found.low:.3f} to {found.high:.3f} with "
        f"{found.coverage:.0%}; perplexity {exp(found.nats):.2f}"
    )
    whole_fit = fit_model_here(
        replace(small, training=replace(small.training, epochs=options.epochs, seed=options.seed)),
        data,
    )
    nats = whole_fit.summary["validation_nats"]
    print(f"came: {nats:.3f} nats, {'inside' if found.holds(nats) else 'outside'} the interval")


if __name__ == "__main__":
    main()
