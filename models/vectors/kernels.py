"""Train skip-gram and CBOW vectors with compiled loops: one call reads one chunk of reviews.

For each predicted word w the kernel chooses the context words c_1 … c_M of its window and the output rows o_1 … o_R
with labels y: w itself (y = 1) and the drawn noise words (y = 0), or the inner nodes of w's Huffman path. Skip-gram has
the M inputs h_m = v_{c_m}; CBOW has one, their mean. All noise words of a window are shared by its inputs (Ji et al.
2016, "Parallelizing word2vec in shared and distributed memory"), so the scores are one small matrix product:

    x_mr = h_m · u_r,    g_mr = y_r − σ(x_mr),    ∂h_m = Σ_r g_mr u_r,    ∂u_r = Σ_m g_mr h_m

These are the gradients of Σ_mr log σ(±x_mr), all taken before the update. As in word2vec's own program, skip-gram's
inputs are the context words and its output is the centre: over a text these are the same pairs.

The inputs are copied first and the output rows are changed last, so that all gradients are those from before the
update; a row that is drawn twice gets both. All kernels are in this file: numba compiles again only when it changes.
"""

from __future__ import annotations

import math

import numpy as np

from ..compiled import kernel

GOLDEN, MIX_1, MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S27, S30, S31, S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
LOW = np.uint64(0xFFFFFFFF)
WORDS, KEPT, PAIRS, ROWS = 0, 1, 2, 3
"""Places in the array of counts: words read, words not left out, inputs, and output rows multiplied with each."""


@kernel
def draw(random):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return 64 random bits: SplitMix64 (Steele et al. 2014)."""
    random[0] += GOLDEN
    bits = random[0]
    bits = (bits ^ (bits >> S30)) * MIX_1
    bits = (bits ^ (bits >> S27)) * MIX_2
    return bits ^ (bits >> S31)


@kernel
def below(random, most):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return a random whole number from 0 to *most* − 1."""
    return np.int64(((draw(random) >> S32) * np.uint64(most)) >> S32)


@kernel
def draw_noise(random, threshold_N, alias_N):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return a noise word of an alias table."""
    bits = draw(random)
    column = np.int64(((bits >> S32) * np.uint64(len(threshold_N))) >> S32)
    return column if np.int64(bits & LOW) < threshold_N[column] else np.int64(alias_N[column])


@kernel
def slopes(h_MD, M, u_RD, output_R, R, y_R, rate, g_MR):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write rate × (y − σ(h_m · u_r)) of the first M inputs and R output rows into *g_MR*; four rows at a time."""
    D = h_MD.shape[1]
    for m in range(M):
        h, r = h_MD[m], 0
        while r + 4 <= R:
            u0, u1, u2, u3 = u_RD[output_R[r]], u_RD[output_R[r + 1]], u_RD[output_R[r + 2]], u_RD[output_R[r + 3]]
            x0 = x1 = x2 = x3 = h[0] * 0
            for d in range(D):
                x0 += h[d] * u0[d]
                x1 += h[d] * u1[d]
                x2 += h[d] * u2[d]
                x3 += h[d] * u3[d]
            g_MR[m, r], g_MR[m, r + 1], g_MR[m, r + 2], g_MR[m, r + 3] = x0, x1, x2, x3
            r += 4
        while r < R:
            u0 = u_RD[output_R[r]]
            x0 = h[0] * 0
            for d in range(D):
                x0 += h[d] * u0[d]
            g_MR[m, r] = x0
            r += 1
        for r in range(R):
            g_MR[m, r] = rate * (y_R[r] - 1 / (1 + math.exp(-g_MR[m, r])))


@kernel
def add_rows(into_ND, into_I, rows, from_ND, from_J, terms, g, turned):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add Σ_j g[i, j] × row from_J[j] to row into_I[i], with g[j, i] if *turned*; four terms at a time."""
    D = into_ND.shape[1]
    for i in range(rows):
        into, j = into_ND[into_I[i]], 0
        while j + 4 <= terms:
            if turned:
                a, b, c, e = g[j, i], g[j + 1, i], g[j + 2, i], g[j + 3, i]
            else:
                a, b, c, e = g[i, j], g[i, j + 1], g[i, j + 2], g[i, j + 3]
            f0, f1, f2, f3 = from_ND[from_J[j]], from_ND[from_J[j + 1]], from_ND[from_J[j + 2]], from_ND[from_J[j + 3]]
            for d in range(D):
                into[d] += a * f0[d] + b * f1[d] + c * f2[d] + e * f3[d]
            j += 4
        while j < terms:
            a = g[j, i] if turned else g[i, j]
            f0 = from_ND[from_J[j]]
            for d in range(D):
                into[d] += a * f0[d]
            j += 1


@kernel
def kept_words(words_T, begin, end, keep_N, random, kept):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write the words of a review that are not left out into *kept*; return their number, and that of all words."""
    length = words = 0
    for t in range(begin, end):
        word = words_T[t]
        if word < 0:
            continue
        words += 1
        share = keep_N[word]
        if share < 1 and np.float64(draw(random) >> S32) >= share * 4294967296.0:
            continue
        kept[length] = word
        length += 1
    return length, words


@kernel
def choose_context(kept, t, length, reach, context_M):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write the words around place *t* as inputs; return their number.

    Not in `train_chunk`, where numba would compile `add_rows` once more for the number 0 that the count begins with.
    """
    M = 0
    for near in range(max(0, t - reach), min(length, t + reach + 1)):
        if near != t:
            context_M[M] = kept[near]
            M += 1
    return M


@kernel
def choose_noise(centre, negatives, threshold_N, alias_N, random, output_R, y_R):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write a word and its noise words, those equal to it left out, as output rows; return the number of rows."""
    output_R[0], y_R[0] = centre, 1
    R = 1
    for _ in range(negatives):
        noise = draw_noise(random, threshold_N, alias_N)
        if noise != centre:
            output_R[R], y_R[R] = noise, 0
            R += 1
    return R


@kernel
def choose_path(centre, nodes_P, first_P, path_starts, output_R, y_R):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write the inner nodes of a word's Huffman path as output rows; return their number."""
    begin = path_starts[centre]
    R = path_starts[centre + 1] - begin
    for r in range(R):
        output_R[r], y_R[r] = nodes_P[begin + r], first_P[begin + r]
    return R


@kernel
def clear(row_D):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write zeros. As a loop, here and below: numba compiles an assignment to a slice for seconds."""
    for d in range(len(row_D)):
        row_D[d] = 0


@kernel
def copy_rows(v_ND, rows, count, into_MD):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Copy some rows."""
    for place in range(count):
        row, into = v_ND[rows[place]], into_MD[place]
        for d in range(len(row)):
            into[d] = row[d]


@kernel
def mean_of(v_ND, rows, count, mean_D):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write the mean of some rows."""
    clear(mean_D)
    for place in range(count):
        row = v_ND[rows[place]]
        for d in range(len(mean_D)):
            mean_D[d] += row[d]
    share = mean_D.dtype.type(1.0 / count)
    for d in range(len(mean_D)):
        mean_D[d] *= share


@kernel
def add_share(v_ND, rows, count, change_D):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add a change of the mean to each of the rows, divided by their number: the gradient of the mean."""
    share = v_ND.dtype.type(1.0 / count)
    for place in range(count):
        row = v_ND[rows[place]]
        for d in range(len(change_D)):
            row[d] += share * change_D[d]


@kernel
def train_chunk(  # type: ignore[no-untyped-def]  # noqa: ANN201
    words_T, starts, keep_N, threshold_N, alias_N, nodes_P, first_P, path_starts, v_ND, u_RD,  # noqa: ANN001
    window, negatives, cbow, hierarchical, rate, random, counts,  # noqa: ANN001
):  # fmt: skip
    """Read some reviews once and update the vectors after each word.

    Args:
        words_T: Rows of v_ND, review after review; −1 for what is no word of the vocabulary: it is skipped.
        starts: Where each review begins, and the end. No window reaches over the border of a review.
        keep_N: Probability of keeping each word.
        threshold_N, alias_N: Table of the noise words.
        nodes_P, first_P, path_starts: Paths in the Huffman tree.
        v_ND, u_RD: Input and output vectors; changed.
        window, negatives: Most words on each side; noise words of a window.
        cbow, hierarchical: Which model, and which output.
        rate: Learning rate.
        random: State of the random numbers; changed.
        counts: Added to: see `WORDS`.
    """
    D, most, rows, longest = v_ND.shape[1], 2 * window, negatives + 1, 0
    for word in range(len(path_starts) - 1):
        rows = max(rows, path_starts[word + 1] - path_starts[word])
    for number in range(len(starts) - 1):
        longest = max(longest, starts[number + 1] - starts[number])
    h_MD, change_1D, own_M = np.empty((most, D), v_ND.dtype), np.empty((1, D), v_ND.dtype), np.arange(most)
    g_MR, y_R = np.empty((most, rows), v_ND.dtype), np.empty(rows, v_ND.dtype)
    context_M, output_R, kept = np.empty(most, np.int64), np.empty(rows, np.int64), np.empty(longest, np.int64)
    for number in range(len(starts) - 1):
        length, words = kept_words(words_T, starts[number], starts[number + 1], keep_N, random, kept)
        counts[WORDS] += words
        counts[KEPT] += length
        for t in range(length):
            M = choose_context(kept, t, length, 1 + below(random, window), context_M)
            if M == 0:
                continue
            if hierarchical:
                R = choose_path(kept[t], nodes_P, first_P, path_starts, output_R, y_R)
            else:
                R = choose_noise(kept[t], negatives, threshold_N, alias_N, random, output_R, y_R)
            inputs = 1 if cbow else M
            if cbow:
                mean_of(v_ND, context_M, M, h_MD[0])
            else:
                copy_rows(v_ND, context_M, M, h_MD)
            slopes(h_MD, inputs, u_RD, output_R, R, y_R, rate, g_MR)
            if cbow:
                clear(change_1D[0])
                add_rows(change_1D, own_M, inputs, u_RD, output_R, R, g_MR, False)
                add_share(v_ND, context_M, M, change_1D[0])
            else:
                add_rows(v_ND, context_M, M, u_RD, output_R, R, g_MR, False)
            add_rows(u_RD, output_R, R, h_MD, own_M, inputs, g_MR, True)
            counts[PAIRS] += inputs
            counts[ROWS] += inputs * R
