"""Define what training maximises, in plain numpy: the reference for the kernels, and the measure on held-out windows.

    negative sampling      log σ(u_w · h) + Σ_k log σ(−u_{n_k} · h)          Mikolov et al. 2013
    hierarchical softmax   log p(w | h) = Σ_j log σ(s_j u_j · h)             `huffman.py`

h is the vector of a context word (skip-gram) or the mean over the window (CBOW). Negative sampling is not the
noise-contrastive estimation that it comes from (Gutmann & Hyvärinen 2010): the noise probabilities are no part of it,
so its scores are no probabilities of words. A noise word that is w itself is left out, as in word2vec's own program.
"""

from __future__ import annotations

import numpy as np

from .huffman import HuffmanTree


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    """Return log σ(x), also for large |x|."""
    return np.asarray(-np.logaddexp(0.0, -x))


def negative_sampling(h_ND: np.ndarray, u_ND: np.ndarray, noise_NKD: np.ndarray, used_NK: np.ndarray) -> np.ndarray:
    """Return log σ(u · h) + Σ_k log σ(−noise_k · h) of each example (N).

    Args:
        h_ND: Input vectors.
        u_ND: Output vectors of the true words.
        noise_NKD: Output vectors of their noise words.
        used_NK: False for noise words that are left out.
    """
    real_N = np.einsum("nd,nd->n", u_ND, h_ND)
    noise_NK = np.einsum("nkd,nd->nk", noise_NKD, h_ND)
    return np.asarray(log_sigmoid(real_N) + np.where(used_NK, log_sigmoid(-noise_NK), 0.0).sum(1))


def path_log_probability(h_ND: np.ndarray, words_N: np.ndarray, u_RD: np.ndarray, tree: HuffmanTree) -> np.ndarray:
    """Return log p(w | h) of each example (N) with hierarchical softmax.

    Args:
        h_ND: Input vectors.
        u_RD: Vectors of the inner nodes.
        tree: Paths of the words.
    """
    lengths_N = tree.lengths_N[words_N]
    rows = np.repeat(np.arange(len(words_N)), lengths_N)
    first = np.repeat(tree.starts[words_N] - np.cumsum(lengths_N) + lengths_N, lengths_N)
    places = first + np.arange(len(rows))
    x = np.einsum("pd,pd->p", u_RD[tree.nodes_P[places]], h_ND[rows])
    found = log_sigmoid((2.0 * tree.first_P[places] - 1.0) * x)
    return np.bincount(rows, weights=found, minlength=len(words_N))
