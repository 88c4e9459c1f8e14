"""Merge the clusters of Brown et al. (1992) in O(V C²): the windowed algorithm of Liang (2005, section 4.2), compiled.

A slot holds an active cluster, of which there are at most C + 1. With n(c, d) the number of bigrams from cluster c to
d, T all bigrams, and l(c), r(c) those that begin and end in c:

    q(c, d) = n(c, d) / T · ln(n(c, d) T / (l(c) r(d)))        I = Σ q(c, d) over all pairs of active clusters

Merging c and d loses

    L(c, d) = Σ of q over the rows and columns of c and d  −  Σ of q over the row and column of c ∪ d

L is a sum over the other clusters e of `_loss_at`, and of the terms of c and d alone, `_loss_inside`. So a table of all
L is kept up to date in O(1) for each pair when a cluster e comes or goes. Pairs with a new cluster are summed in O(C).

Counts are whole numbers below 2^53, so they are exact. There is no fast-math: only the logarithm and the order of the
sums are subject to rounding.
Shapes: N words, S = C + 1 slots, M bigram types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...compiled import kernel

TIE = 1e-12
"""Losses that differ by at most this number of nats are equal: then the clusters with the most frequent words merge."""


def exact(function: Callable[..., Any]) -> Any:
    """Compile a function without fast-math."""
    return kernel(function, fast=False)


@exact
def _q(count, left, right, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return a pair's part of the mutual information, in nats; 0 without a bigram."""
    return count / total * np.log(count * total / (left * right)) if count > 0 else 0.0


@exact
def _loss_at(e, c, d, n_SS, q_SS, l_S, r_S, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return what merging c and d loses in the bigrams with another cluster e."""
    after = _q(n_SS[e, c] + n_SS[e, d], l_S[e], r_S[c] + r_S[d], total)
    after += _q(n_SS[c, e] + n_SS[d, e], l_S[c] + l_S[d], r_S[e], total)
    return q_SS[e, c] + q_SS[e, d] + q_SS[c, e] + q_SS[d, e] - after


@exact
def _loss_inside(c, d, n_SS, q_SS, l_S, r_S, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return what merging c and d loses in the bigrams between the two."""
    inside = n_SS[c, c] + n_SS[c, d] + n_SS[d, c] + n_SS[d, d]
    after = _q(inside, l_S[c] + l_S[d], r_S[c] + r_S[d], total)
    return q_SS[c, c] + q_SS[c, d] + q_SS[d, c] + q_SS[d, d] - after


@exact
def _change(slot, leaving, sign, active, n_SS, q_SS, l_S, r_S, total, loss_SS):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Add (sign 1) a cluster's part to the losses of all pairs of other clusters, or take it away (sign −1).

    Pairs with a cluster that is *leaving* are left out.
    """
    for i in range(len(active)):
        c = active[i]
        for j in range(i + 1, len(active)):
            d = active[j]
            if c != slot and d != slot and c != leaving and d != leaving:
                loss_SS[c, d] += sign * _loss_at(slot, c, d, n_SS, q_SS, l_S, r_S, total)
                loss_SS[d, c] = loss_SS[c, d]


@exact
def _sum_losses(slot, active, n_SS, q_SS, l_S, r_S, total, loss_SS):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Compute q and the losses of all pairs with a new cluster."""
    for i in range(len(active)):
        e = active[i]
        q_SS[slot, e] = _q(n_SS[slot, e], l_S[slot], r_S[e], total)
        q_SS[e, slot] = _q(n_SS[e, slot], l_S[e], r_S[slot], total)
    for i in range(len(active)):
        d = active[i]
        if d != slot:
            loss = _loss_inside(slot, d, n_SS, q_SS, l_S, r_S, total)
            for j in range(len(active)):
                e = active[j]
                if e != slot and e != d:
                    loss += _loss_at(e, slot, d, n_SS, q_SS, l_S, r_S, total)
            loss_SS[slot, d] = loss_SS[d, slot] = loss


@exact
def _best_pair(active, first_S, loss_SS):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the two slots whose merge loses least; of equal losses the pair whose words are most frequent."""
    least = np.inf
    for i in range(len(active)):
        for j in range(i + 1, len(active)):
            least = min(least, loss_SS[active[i], active[j]])
    best_c, best_d = -1, -1
    for i in range(len(active)):
        for j in range(i + 1, len(active)):
            c, d = active[i], active[j]
            if loss_SS[c, d] <= least + TIE:
                if first_S[d] < first_S[c]:
                    c, d = d, c
                before = best_c < 0 or first_S[c] < first_S[best_c]
                if before or (c == best_c and first_S[d] < first_S[best_d]):
                    best_c, best_d = c, d
    return best_c, best_d


@exact
def _active_slots(first_S):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the slots that hold a cluster. Loops, here and below: numba compiles numpy's functions for seconds."""
    active, found = np.empty(len(first_S), np.int64), 0
    for slot in range(len(first_S)):
        if first_S[slot] >= 0:
            active[found] = slot
            found += 1
    return active[:found]


@exact
def _free_slot(first_S):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the first slot without a cluster, or the number of slots."""
    for slot in range(len(first_S)):
        if first_S[slot] < 0:
            return slot
    return len(first_S)


@exact
def _fill(slot, word, slot_N, n_SS, l_S, r_S, starts_N, next_M, counts_M, back_starts_N, back_M, back_counts_M):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Count the bigrams of a new cluster of one word with the active clusters."""
    for other in range(len(l_S)):
        n_SS[slot, other] = n_SS[other, slot] = 0
    l_S[slot] = r_S[slot] = 0
    for m in range(starts_N[word], starts_N[word + 1]):
        l_S[slot] += counts_M[m]
        if slot_N[next_M[m]] >= 0:
            n_SS[slot, slot_N[next_M[m]]] += counts_M[m]
    for m in range(back_starts_N[word], back_starts_N[word + 1]):
        r_S[slot] += back_counts_M[m]
        if slot_N[back_M[m]] >= 0 and back_M[m] != word:
            n_SS[slot_N[back_M[m]], slot] += back_counts_M[m]


@exact
def merge_all(clusters, starts_N, next_M, counts_M, back_starts_N, back_M, back_counts_M):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Merge all words into one cluster.

    Args:
        clusters: C, the number of active clusters.
        starts_N: Where the bigrams begin that begin with each word, and their end (N + 1); words by falling frequency.
        next_M: The second word of each bigram.
        counts_M: How often it occurs.
        back_starts_N: The same for the bigrams that end with each word.
        back_M: Their first word.
        back_counts_M: How often each occurs.

    Returns:
        For each merge, in order, the two clusters, each named by its most frequent word, the more frequent one first
        (N − 1, 2), and the loss in nats (N − 1).
    """
    words = len(starts_N) - 1
    slots = min(clusters + 1, words)
    n_SS, q_SS, loss_SS = np.zeros((slots, slots)), np.zeros((slots, slots)), np.zeros((slots, slots))
    l_S, r_S, first_S = np.zeros(slots), np.zeros(slots), np.full(slots, -1)
    slot_N = np.full(words, -1)
    merged, losses = np.zeros((words - 1, 2), np.int64), np.zeros(words - 1)
    total, word = 0.0, np.int64(0)  # numba compiles functions of a literal apart
    for m in range(len(counts_M)):
        total += counts_M[m]
    for step in range(words - 1):
        slot = _free_slot(first_S)
        while word < words and slot < slots:
            first_S[slot], slot_N[word] = word, slot
            _fill(slot, word, slot_N, n_SS, l_S, r_S, starts_N, next_M, counts_M, back_starts_N, back_M, back_counts_M)
            active = _active_slots(first_S)
            _sum_losses(slot, active, n_SS, q_SS, l_S, r_S, total, loss_SS)
            _change(slot, slot, 1.0, active, n_SS, q_SS, l_S, r_S, total, loss_SS)
            word += 1
            slot = _free_slot(first_S)
        active = _active_slots(first_S)
        c, d = _best_pair(active, first_S, loss_SS)
        merged[step, 0], merged[step, 1], losses[step] = first_S[c], first_S[d], loss_SS[c, d]
        _change(c, d, -1.0, active, n_SS, q_SS, l_S, r_S, total, loss_SS)
        _change(d, c, -1.0, active, n_SS, q_SS, l_S, r_S, total, loss_SS)
        for other in range(slots):
            n_SS[c, other] += n_SS[d, other]
        for other in range(slots):
            n_SS[other, c] += n_SS[other, d]
        l_S[c] += l_S[d]
        r_S[c] += r_S[d]
        first_S[d] = -1
        for other in range(word):
            if slot_N[other] == d:
                slot_N[other] = c
        active = _active_slots(first_S)
        _sum_losses(c, active, n_SS, q_SS, l_S, r_S, total, loss_SS)
        _change(c, c, 1.0, active, n_SS, q_SS, l_S, r_S, total, loss_SS)
    return merged, losses
