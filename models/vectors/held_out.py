"""Measure trained vectors on windows of held-out reviews: the loss, and how often the true word beats a noise word.

The loss depends on noise, window and vocabulary, so that it only compares trainings with equal ones. `ranked` compares
any two: the share of windows whose mean input vector gives the true centre a higher score than a noise word, drawn in
proportion to count^0.75; equal scores count half. Guessing gives 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..streams import TokenStream
from .huffman import HuffmanTree
from .noise import noise_share
from .objective import negative_sampling, path_log_probability
from .spec import EmbeddingSpec
from .training import Selection, Trained

WINDOWS = 20_000
"""Most windows that are measured, chosen at random."""
POWER = 0.75
SEED = 1


@dataclass(frozen=True)
class Windows:
    """N windows of held-out reviews; rows of words as in a `Selection`.

    Attributes:
        centre_N: The words in the middle.
        context_NC: The words around them, up to *window* on each side.
        real_NC: False where the review has ended.
    """

    centre_N: np.ndarray
    context_NC: np.ndarray
    real_NC: np.ndarray


def windows_of(stream: TokenStream, selection: Selection, window: int) -> Windows:
    """Return windows around words that have vectors; words without are skipped, as in training."""
    review_T = np.repeat(np.arange(len(stream)), np.diff(stream.offsets))
    words_T = selection.row_V[np.minimum(stream.ids, len(selection.row_V) - 1)]
    review_T, words_T = review_T[words_T >= 0], words_T[words_T >= 0]
    places_N = np.arange(len(words_T))
    if len(places_N) > WINDOWS:
        places_N = np.sort(np.random.default_rng(SEED).choice(len(places_N), WINDOWS, replace=False))
    around_C = np.array([step for step in range(-window, window + 1) if step], np.int64)
    near_NC = places_N[:, None] + around_C
    inside_NC = (near_NC >= 0) & (near_NC < len(words_T))
    near_NC = np.where(inside_NC, near_NC, 0)
    real_NC = inside_NC & (review_T[near_NC] == review_T[places_N][:, None]) if len(words_T) else inside_NC
    used_N = real_NC.any(1)
    return Windows(words_T[places_N][used_N], words_T[near_NC][used_N], real_NC[used_N])


def held_out(spec: EmbeddingSpec, trained: Trained, stream: TokenStream) -> dict[str, float]:
    """Return the mean loss of a prediction, `ranked`, and the number of windows; empty without any window."""
    chosen = windows_of(stream, trained.selection, spec.window)
    if not len(chosen.centre_N):
        return {}
    rng, N = np.random.default_rng(SEED), len(chosen.centre_N)
    share = noise_share(trained.selection.counts_N, POWER)
    noise_NK = rng.choice(len(share), (N, max(spec.negatives, 1)), p=share)
    mean_ND = mean_inputs(trained.v_ND, chosen)
    if spec.kind == "cbow":
        losses = -_gained(mean_ND, chosen.centre_N, noise_NK, trained)
    else:
        rows, columns = np.nonzero(chosen.real_NC)
        parts = np.array_split(np.arange(len(rows)), max(1, len(rows) // WINDOWS))
        losses = np.concatenate([
            -_gained(trained.v_ND[chosen.context_NC[rows[at], columns[at]]], chosen.centre_N[rows[at]],
                     noise_NK[rows[at]], trained)
            for at in parts
        ])  # fmt: skip
    ranked = ranked_share(mean_ND, chosen.centre_N, noise_NK[:, 0], trained.u_RD, trained.tree)
    return {"loss": float(losses.mean()), "ranked": ranked, "windows": float(N)}


def mean_inputs(v_ND: np.ndarray, windows: Windows) -> np.ndarray:
    """Return the mean input vector of each window (N, D)."""
    total_ND = np.zeros((len(windows.centre_N), v_ND.shape[1]), np.float64)
    for column in range(windows.context_NC.shape[1]):
        total_ND += np.where(windows.real_NC[:, column, None], v_ND[windows.context_NC[:, column]], 0)
    return np.asarray(total_ND / windows.real_NC.sum(1)[:, None])


def ranked_share(
    h_ND: np.ndarray, centre_N: np.ndarray, noise_N: np.ndarray, u_RD: np.ndarray, tree: HuffmanTree | None = None
) -> float:
    """Return how often the centre's score is above that of a noise word; a noise word equal to it is left out."""
    other_N = noise_N != centre_N
    h_ND, centre_N, noise_N = h_ND[other_N], centre_N[other_N], noise_N[other_N]
    if tree is None:
        gap_N = np.einsum("nd,nd->n", h_ND, u_RD[centre_N] - u_RD[noise_N])
    else:
        gap_N = path_log_probability(h_ND, centre_N, u_RD, tree) - path_log_probability(h_ND, noise_N, u_RD, tree)
    return float(((gap_N > 0) + 0.5 * (gap_N == 0)).mean()) if len(gap_N) else 0.5


def _gained(h_ND: np.ndarray, words_N: np.ndarray, noise_NK: np.ndarray, trained: Trained) -> np.ndarray:
    if trained.tree is not None:
        return path_log_probability(h_ND, words_N, trained.u_RD, trained.tree)
    u_ND = trained.u_RD
    return negative_sampling(h_ND, u_ND[words_N], u_ND[noise_NK], noise_NK != words_N[:, None])
