"""Estimate the n-grams of a partition, and bring them into the order of the tables.

A partition has all n-grams of its contexts and all their suffixes of two or more words, so it needs no other one: only
the discounts and the probabilities of single words come from outside. Within a context its n-grams are added in the
order of their last words, as on one machine, so the results have the same bits.

Tables are sorted from the first word on. So each partition sends its n-grams to ranges of first words
(`estimate_part`), and each range sorts its n-grams of all orders at once (`table_part`): a context is then the last
n-gram before with a word less. Logarithms are taken where the tables are put together (see `training/ngram/engine.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reviewlm.models.ngram.lookup import word_type
from reviewlm.training.ngram.counting.memory import MOST_WINDOWS
from reviewlm.training.ngram.counting.window_sorting import sort_windows
from reviewlm.training.ngram.partitions.counted import CountedPart
from reviewlm.training.ngram.smoothing.by_context import ContextBlock, Discounts
from reviewlm.training.ngram.smoothing.kneser_ney import interpolate


class EstimatedRows(NamedTuple):
    """Estimated n-grams of one order.

    Args:
        code_KM: Their words, first word first, as codes (id + 1).
        p_M: p.
        gamma_M: γ of the context of each.
    """

    code_KM: np.ndarray
    p_M: np.ndarray
    gamma_M: np.ndarray


class OrderTable(NamedTuple):
    """The n-grams of one order whose first words are in a range, in the order of the tables.

    Args:
        word_M: Last words.
        followers_C: Number of n-grams of each context: of each word of the range at order 2, else of each row of the
            order below in this range.
        gamma_C: γ of each context; 1 where nothing follows.
        p_M: p.
    """

    word_M: np.ndarray
    followers_C: np.ndarray
    gamma_C: np.ndarray
    p_M: np.ndarray


def estimate_part(
    discounts: Sequence[Discounts],
    edges: np.ndarray,
    part: CountedPart,
    p_V: np.ndarray,
) -> list[list[EstimatedRows]]:
    """Return the n-grams that stay, for each range of first words: those of the orders 2 … N.

    Args:
        discounts: Of the orders 2 … N.
        edges: First id of every range, and V.
        p_V: p of each word without any context.
    """
    ranges = len(edges) - 1
    range_V = np.repeat(np.arange(ranges, dtype=np.uint16), np.diff(edges))
    buckets: list[list[EstimatedRows]] = [[] for _ in range(ranges)]
    below_M = p_V
    label_M = np.zeros(0, np.int64)
    for k, (rows, discount) in enumerate(zip(part.orders, discounts, strict=True), start=2):
        first_M = part.code_NU[k - 1].take(rows.at_M)
        if k == 2:
            label_M = _number_pairs(np.zeros(len(first_M), np.int64), first_M, len(p_V) + 1)
        else:  # a context is its own suffix, and the word before
            label_M = _number_pairs(label_M.take(rows.suffix_M), first_M, len(p_V) + 1)
        contexts = slice(0, int(label_M.max(initial=-1)) + 1)
        block = ContextBlock(contexts, slice(0, len(label_M)), label_M, below_M.take(rows.suffix_M))
        p_M, gamma_C = interpolate(block, rows.adjusted_M, discount, rows.kept_M)
        below_M = p_M
        _deal_rows(
            part,
            k,
            range_V,
            p_M,
            gamma_C.take(label_M),
            buckets,
        )

    return buckets


def _number_pairs(
    high_M: np.ndarray,
    low_M: np.ndarray,
    lows: int,
) -> np.ndarray:
    """Number pairs of numbers from 0 on, equal pairs alike; (M,) int64."""
    key_M = high_M.astype(np.uint64) * np.uint64(lows) + low_M
    place_bits = max(len(key_M) - 1, 0).bit_length()
    if not len(key_M) or int(key_M.max()).bit_length() + place_bits > 64:
        return np.unique(key_M, return_inverse=True)[1]

    # To sort keys with their places in one integer is three times as fast as to sort indices.
    key_M <<= np.uint64(place_bits)
    key_M |= np.arange(len(key_M), dtype=np.uint64)
    key_M.sort()
    place_M = (key_M & np.uint64((1 << place_bits) - 1)).astype(np.int64)
    key_M >>= np.uint64(place_bits)
    label_M = np.empty(len(key_M), np.int64)
    label_M[place_M] = np.cumsum(np.diff(key_M, prepend=key_M[:1]) != 0)
    return label_M


def _deal_rows(
    part: CountedPart,
    order: int,
    range_V: np.ndarray,
    p_M: np.ndarray,
    gamma_M: np.ndarray,
    buckets: list[list[EstimatedRows]],
) -> None:
    """Append the n-grams of an order that stay to the ranges of their first words."""
    rows = part.orders[order - 2]
    kept = np.flatnonzero(rows.kept_M)
    at_K = rows.at_M.take(kept)
    range_K = range_V.take(part.code_NU[order - 1].take(at_K).astype(np.int64) - 1)
    order_K = np.argsort(range_K, kind="stable")
    ends = np.cumsum(np.bincount(range_K, minlength=len(buckets)))
    kept = kept.take(order_K)
    at_K = at_K.take(order_K)
    first = 0
    for bucket, last in zip(buckets, ends.tolist(), strict=True):
        some = slice(first, last)
        code_NK = part.code_NU[order - 1 :: -1].take(at_K[some], axis=1)
        kept_K = kept[some]
        bucket.append(EstimatedRows(code_NK, p_M.take(kept_K), gamma_M.take(kept_K)))
        first = last


def table_part(
    low: int,
    high: int,
    vocabulary_size: int,
    buckets: Sequence[Sequence[EstimatedRows]],
) -> list[OrderTable]:
    """Return the n-grams whose first words are from *low* to *high* − 1, in the order of the tables, by order.

    Args:
        buckets: Of each partition, its n-grams of this range, by order.
    """
    order = len(buckets[0]) + 1
    parts = [rows for bucket in buckets for rows in bucket]
    sizes = [len(rows.p_M) for rows in parts]
    code_NP = np.zeros((order, sum(sizes)), parts[0].code_KM.dtype)
    length_P = np.repeat(np.array([len(rows.code_KM) for rows in parts], np.uint8), sizes)
    start = 0
    for rows, size in zip(parts, sizes, strict=True):
        code_NP[: len(rows.code_KM), start : start + size] = rows.code_KM
        start += size

    order_P, _ = sort_windows(list(code_NP), vocabulary_size, MOST_WINDOWS)
    length_P = length_P.take(order_P)
    p_P = np.concatenate([rows.p_M for rows in parts]).take(order_P)
    gamma_P = np.concatenate([rows.gamma_M for rows in parts]).take(order_P)
    tables: list[OrderTable] = []
    for k in range(2, order + 1):
        at_M = np.flatnonzero(length_P == k)
        if k == 2:
            context_M = code_NP[0].take(order_P.take(at_M)).astype(np.int64) - (low + 1)
            contexts = high - low
        else:
            row_P = np.cumsum(length_P == k - 1) - 1
            context_M = row_P.take(at_M)
            contexts = len(tables[-1].p_M)
        gamma_C = np.ones(contexts)
        gamma_C[context_M] = gamma_P.take(at_M)
        word_M = code_NP[k - 1].take(order_P.take(at_M)).astype(np.int64) - 1
        tables.append(
            OrderTable(
                word_M.astype(word_type(vocabulary_size)),
                np.bincount(context_M, minlength=contexts),
                gamma_C,
                p_P.take(at_M),
            )
        )

    return tables
