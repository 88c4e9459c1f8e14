"""Tune the weights of a mixture by EM on held-out text: read batches, score them with each part, open the parts.

Expectation–maximisation (EM) finds the λ of

    p(w | h)  =  Σ_i λ_i p_i(w | h),        λ_i ≥ 0,  Σ_i λ_i = 1

Think of every held-out token as drawn in two steps: first a part with probability λ_i, then the word from that part.
The two steps of EM are

    E   r_i(t)  =  λ_i p_i(w_t | h_t) / Σ_j λ_j p_j(w_t | h_t)      the part's share of the token (Bayes' rule)
    M   λ_i     =  mean of r_i(t) over all tokens

No round lowers the likelihood of the held-out text (Dempster, Laird and Rubin 1977). The log-likelihood is a concave
function of λ, so EM converges to its maximum if all start weights are above 0.

Sources: F. Jelinek and R. L. Mercer (1980), "Interpolated estimation of Markov source parameters from sparse data",
Pattern Recognition in Practice; A. P. Dempster, N. M. Laird and D. B. Rubin (1977), "Maximum likelihood from incomplete
data via the EM algorithm", Journal of the Royal Statistical Society B 39.

Shapes: T held-out tokens, P parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reviewlm.models.base import LanguageModel, ModelError
from reviewlm.models.bundles.bundle import load_bundle
from reviewlm.models.mixture.parts import Part
from reviewlm.models.streams import TokenStream, side_by_side
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS
from reviewlm.training.context import FitContext, journal

if TYPE_CHECKING:
    from reviewlm.models.tokens.vocabulary import Vocabulary


NO_TOKEN = "there is no held-out token to tune the weights on"
TUNING_TOKENS = 100_000
"""Approximate number of held-out tokens for tuning weights: whole reviews, evenly spaced, at least one."""
POSITIONS = 16_384
"""Maximum number of positions in a batch, padding included; changes the result only by rounding."""
ROUNDS = 1000
"""Most rounds of EM."""
TOLERANCE = 1e-9
"""EM stops when no weight changes by this or more."""


class TuningBatch(NamedTuple):
    """A batch of whole reviews, padded with `<bos>`; `scored_BT` is the mask of the predicted tokens."""

    ids_BT: np.ndarray
    scored_BT: np.ndarray


def batches(
    stream: TokenStream,
    limit: int,
    positions: int = POSITIONS,
) -> Iterator[TuningBatch]:
    """Yield about *limit* tokens of the stream: reviews evenly spaced over it, in batches of similar length.

    Raises:
        ModelError: kind "input": the stream has no token to predict.
    """
    lengths_D = np.diff(np.asarray(stream.offsets))
    count = len(lengths_D)
    if not count or np.isin(stream.ids, sorted(CONTEXT_IDS)).all():
        raise ModelError(NO_TOKEN, "input")
    total = int(lengths_D.sum())
    if total > limit:
        count = max(1, count * limit // total)
    chosen = np.arange(count) * len(lengths_D) // count
    for some in side_by_side(lengths_D[chosen], positions):
        yield _pad([np.asarray(stream.document(int(i))) for i in chosen[some]])


def _pad(documents: Sequence[np.ndarray]) -> TuningBatch:
    ids_BT = np.full((len(documents), max(map(len, documents))), BOS, np.int64)
    for row_T, document in zip(ids_BT, documents, strict=True):
        row_T[: len(document)] = document
    return TuningBatch(ids_BT, ~np.isin(ids_BT, sorted(CONTEXT_IDS)))


def token_nats(parts: Sequence[LanguageModel], batch: TuningBatch) -> np.ndarray:
    """Return −log p of the scored tokens under each part, (T, P) float64, in the order of the batch, row by row."""
    columns = [
        part.score(batch.ids_BT, part.start(len(batch.ids_BT)))[0][batch.scored_BT]
        for part in parts
    ]
    return np.stack(columns, 1).astype(np.float64)


def em(nats_TP: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the weights λ that make held-out tokens most probable, and the number of rounds.

    If EM has converged, no other weights are better. If the number is `ROUNDS`, it has not; also then the mixture is at
    least as good on this text as each of its parts. Tokens with probability 0 in all parts are ignored.
    Without any other token the weights are equal.

    Args:
        nats_TP: −log p_i(w_t | h_t), ∞ allowed.
    """
    parts = nats_TP.shape[1]
    weights_P = np.full(parts, 1.0 / parts)
    lowest_T = nats_TP.min(1)
    possible_T = np.isfinite(lowest_T)
    if not possible_T.any():
        return weights_P, 0

    # Relative to the best part, so that nothing underflows; a factor per token does not change its shares.
    p_TP = np.exp(lowest_T[possible_T, None] - nats_TP[possible_T])
    rounds = 0
    moved = np.inf
    while rounds < ROUNDS and moved >= TOLERANCE:
        before_P = weights_P
        weights_P = em_round(p_TP, weights_P)
        rounds += 1
        moved = np.abs(weights_P - before_P).max()

    return _at_least_as_good_as_each(p_TP, weights_P), rounds


def em_round(p_TP: np.ndarray, weights_P: np.ndarray) -> np.ndarray:
    """Return λ after one round; *p_TP* may have any factor per token."""
    joint_TP = p_TP * weights_P
    weights_P = (joint_TP / joint_TP.sum(1, keepdims=True)).mean(0)
    return weights_P / weights_P.sum()


def _at_least_as_good_as_each(p_TP: np.ndarray, weights_P: np.ndarray) -> np.ndarray:
    """Return weight 1 for one part if that is better, because EM is slow if the maximum is such a corner."""
    corners = [weights_P, *np.eye(len(weights_P))]
    with np.errstate(divide="ignore"):
        likelihood = [float(np.log(p_TP @ corner_P).sum()) for corner_P in corners]
    return corners[int(np.argmax(likelihood))]


def open_parts(
    names: Sequence[str],
    vocabulary: Vocabulary,
    context: FitContext,
) -> list[Part]:
    """Open the fitted models that `context.parts` names.

    Raises:
        ModelError: kind "input": a part is missing or has another vocabulary; kind "bundle": a part is damaged.
    """
    parts = []
    for name in names:
        if name not in context.parts:
            available = ", ".join(context.parts) or "none"
            raise ModelError(
                f"the part '{name}' is not a fitted model; fitted models: {available}", "input"
            )
        bundle = load_bundle(context.parts[name], context.device)
        if bundle.vocabulary.digest != vocabulary.digest:
            raise ModelError(
                f"the part '{name}' has another vocabulary than the model that uses it", "input"
            )
        parts.append(Part(name, bundle.spec, bundle.model, Path(context.parts[name])))

    return parts


def journal_tuning(context: FitContext, summary: Mapping[str, float]) -> None:
    """Write the progress line of a fit that tunes weights; figures that are not finite are left out."""
    figures = {name: summary[name] for name in ("validation/nats", "validation/perplexity")}
    finite = {name: value for name, value in figures.items() if math.isfinite(value)}
    journal(context, int(summary["tokens"]), finite)
