"""Train skip-gram and CBOW vectors with compiled loops: one call reads one chunk of reviews.

For each predicted word w the kernel chooses the context words c_1 … c_M of its window and the output rows o_1 … o_R
with labels y: w itself (y = 1) and the drawn noise words (y = 0), or the inner nodes of w's Huffman path. Skip-gram has
the M inputs h_m = v_{c_m}; CBOW has one, their mean. All noise words of a window are shared by its inputs (Ji et al.
2016, "Parallelizing word2vec in shared and distributed memory"), so the scores are one small matrix product:

    x_mr = h_m · u_r,    g_mr = y_r − σ(x_mr),    ∂h_m = Σ_r g_mr u_r,    ∂u_r = Σ_m g_mr h_m

These are the gradients of Σ_mr log σ(±x_mr), all taken before the update. As in word2vec's own program, skip-gram's
inputs are the context words and its output is the centre: over a text these are the same pairs.

Rows are copied into small buffers first, which stay in the processor's first cache, and added back at the end; a row
that is drawn twice gets both gradients. All kernels are in this file: numba compiles again only when it changes.
"""

from __future__ import annotations

import math

import numpy as np

from ..neural.fused.kernels import kernel

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
def noise_counts(random, threshold_N, alias_N, draws):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return how often each word is drawn, for tests of the sampler that training uses."""
    counts = np.zeros(len(threshold_N), np.int64)
    for _ in range(draws):
        counts[draw_noise(random, threshold_N, alias_N)] += 1
    return counts


@kernel
def update(h_MD, M, u_RD, R, y_R, rate, g_MR, dh_MD, du_RD):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write rate × gradient of Σ_mr log σ(±h_m · u_r) into *dh_MD* and *du_RD*, for the first M and R rows."""
    D = h_MD.shape[1]
    for m in range(M):
        h = h_MD[m]
        r = 0
        while r + 4 <= R:
            u0, u1, u2, u3 = u_RD[r], u_RD[r + 1], u_RD[r + 2], u_RD[r + 3]
            x0 = x1 = x2 = x3 = h[0] * 0
            for d in range(D):
                x0 += h[d] * u0[d]
                x1 += h[d] * u1[d]
                x2 += h[d] * u2[d]
                x3 += h[d] * u3[d]
            g_MR[m, r], g_MR[m, r + 1], g_MR[m, r + 2], g_MR[m, r + 3] = x0, x1, x2, x3
            r += 4
        while r < R:
            u0 = u_RD[r]
            x0 = h[0] * 0
            for d in range(D):
                x0 += h[d] * u0[d]
            g_MR[m, r] = x0
            r += 1
        for r in range(R):
            g_MR[m, r] = rate * (y_R[r] - 1 / (1 + math.exp(-g_MR[m, r])))
    add_products(g_MR, M, R, u_RD, dh_MD, False)
    add_products(g_MR, R, M, h_MD, du_RD, True)


@kernel
def add_products(g, rows, terms, from_D, into_D, turned):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Set into_D[i] = Σ_j g[i, j] from_D[j], with g[j, i] if *turned*; four terms at a time."""
    D = from_D.shape[1]
    for i in range(rows):
        into = into_D[i]
        for d in range(D):
            into[d] = 0
        j = 0
        while j + 4 <= terms:
            if turned:
                a, b, c, e = g[j, i], g[j + 1, i], g[j + 2, i], g[j + 3, i]
            else:
                a, b, c, e = g[i, j], g[i, j + 1], g[i, j + 2], g[i, j + 3]
            f0, f1, f2, f3 = from_D[j], from_D[j + 1], from_D[j + 2], from_D[j + 3]
            for d in range(D):
                into[d] += a * f0[d] + b * f1[d] + c * f2[d] + e * f3[d]
            j += 4
        while j < terms:
            a = g[j, i] if turned else g[i, j]
            f0 = from_D[j]
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
def gather(from_ND, rows, count, mean, into):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Copy rows into a buffer, or with *mean* their mean into its first row; return the number of buffer rows."""
    D = from_ND.shape[1]
    for place in range(0 if mean else count):
        into[place] = from_ND[rows[place]]
    if not mean:
        return count
    first = into[0]
    for d in range(D):
        first[d] = 0
    for place in range(count):
        row = from_ND[rows[place]]
        for d in range(D):
            first[d] += row[d]
    share = first.dtype.type(1.0 / count)
    for d in range(D):
        first[d] *= share
    return 1


@kernel
def scatter(into_ND, rows, count, mean, change):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add the rows of a buffer to these rows; with *mean*, to each the first one divided by their number."""
    D = into_ND.shape[1]
    if mean:
        first, share = change[0], into_ND.dtype.type(1.0 / count)
        for d in range(D):
            first[d] *= share
    for place in range(count):
        row, one = into_ND[rows[place]], change[0 if mean else place]
        for d in range(D):
            row[d] += one[d]


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
    h_MD, dh_MD = np.empty((most, D), v_ND.dtype), np.empty((most, D), v_ND.dtype)
    o_RD, do_RD = np.empty((rows, D), v_ND.dtype), np.empty((rows, D), v_ND.dtype)
    g_MR, y_R = np.empty((most, rows), v_ND.dtype), np.empty(rows, v_ND.dtype)
    context_M, output_R, kept = np.empty(most, np.int64), np.empty(rows, np.int64), np.empty(longest, np.int64)
    for number in range(len(starts) - 1):
        length, words = kept_words(words_T, starts[number], starts[number + 1], keep_N, random, kept)
        counts[WORDS] += words
        counts[KEPT] += length
        for t in range(length):
            reach, M = 1 + below(random, window), 0
            for near in range(max(0, t - reach), min(length, t + reach + 1)):
                if near != t:
                    context_M[M] = kept[near]
                    M += 1
            if M == 0:
                continue
            if hierarchical:
                R = choose_path(kept[t], nodes_P, first_P, path_starts, output_R, y_R)
            else:
                R = choose_noise(kept[t], negatives, threshold_N, alias_N, random, output_R, y_R)
            gather(u_RD, output_R, R, False, o_RD)
            inputs = gather(v_ND, context_M, M, cbow, h_MD)
            update(h_MD, inputs, o_RD, R, y_R, rate, g_MR, dh_MD, do_RD)
            scatter(u_RD, output_R, R, False, do_RD)
            scatter(v_ND, context_M, M, cbow, dh_MD)
            counts[PAIRS] += inputs
            counts[ROWS] += inputs * R
