"""Count the n-grams of a partition: all whose contexts end with some words.

Windows are sorted backwards, from the last token on. Then the n-grams of order k are neighbours, those with the same
suffix (the n-gram without its first word) too, and the row of the suffix at the order below is a cumulated sum. Rows
are numbered within the partition, so they need 32 bits, however large the text is. Only sums leave it (`PartSums`).

Shapes: P windows of the partition, U different ones, N words of a window, V entries of the vocabulary, M n-grams of an
order. A code is an id + 1; 0 stands before the begin of a document. *Greatest* n-grams are the last ones in this order:
`lmplz` counts them in another way, and the discounts can follow it (`kneser_ney.counts_of_counts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reviewlm.models.base import ModelError
from reviewlm.training.ngram.counting.memory import MOST_WINDOWS
from reviewlm.training.ngram.counting.window_counts import begins_new, occurrences_of, reach
from reviewlm.training.ngram.counting.window_sorting import sort_windows
from reviewlm.training.ngram.partitions.windows import Windows

HIGHEST_COUNT = 5
"""Adjusted counts of this number and above are counted together."""


class OrderRows(NamedTuple):
    """The n-grams of one order in a partition, sorted backwards; M rows.

    Args:
        at_M: Index of a window of the partition that begins (backwards) with each n-gram.
        suffix_M: Row, at the order below, of the n-gram without its first word; at order 2 the id of the last word.
        adjusted_M: Adjusted count (`kneser_ney.py`).
        raw_M: Occurrences.
        kept_M: Whether the n-gram stays in the model.
    """

    at_M: np.ndarray
    suffix_M: np.ndarray
    adjusted_M: np.ndarray
    raw_M: np.ndarray
    kept_M: np.ndarray


class CountedPart(NamedTuple):
    """The n-grams of a partition.

    Args:
        code_NU: Codes of its U different windows, backwards.
        orders: Those of the orders 2 … N.
    """

    code_NU: np.ndarray
    orders: tuple[OrderRows, ...]


class OpenRow(NamedTuple):
    """Raw and adjusted count of the greatest n-gram of an order, which `lmplz` has not finished at its end."""

    raw: int
    adjusted: int


class PartSums(NamedTuple):
    """The figures of a partition that its whole order needs.

    Args:
        ngrams: Number of n-grams, by order from 2 on.
        kept: How many of them stay in the model.
        numbers: How many have the adjusted count 0, 1, … `HIGHEST_COUNT` and more, by order from 2 on.
        followed_V: Number of different words before each word; int64.
        greatest: Last word of the context of the greatest bigram that ends with the greatest word; −1: none.
        open_rows: The greatest n-gram, by order from 2 on, until there is none.
        unseen: Number of held-out tokens whose n-gram is not among those counted, by order from 2 on.
    """

    ngrams: tuple[int, ...]
    kept: tuple[int, ...]
    numbers: tuple[np.ndarray, ...]
    followed_V: np.ndarray
    greatest: int
    open_rows: tuple[OpenRow, ...]
    unseen: tuple[int, ...]


class PartRules(NamedTuple):
    """Options of the counting.

    Args:
        given_V: Which ids are begin tokens.
        greatest: The greatest id that occurs.
        thresholds: Per order from 2 on, n-grams with so many occurrences or fewer are dropped.
        min_documents: Number of documents, or authors, that an n-gram needs; 1: nobody counts them.
    """

    given_V: np.ndarray
    greatest: int
    thresholds: tuple[int, ...]
    min_documents: int = 1


def count_part(
    rules: PartRules,
    blocks: Sequence[Windows],
    held_out: Sequence[Windows] = (),
) -> tuple[CountedPart, PartSums]:
    """Count the n-grams of the orders 2 … N of a partition.

    Args:
        blocks: Its windows, block by block, in the order of the text.
        held_out: Windows of another text with the same last words of contexts, for `PartSums.unseen`.

    Raises:
        ModelError: More windows than 32 bits can number; kind "input".
    """
    code_NP, source_P = _concatenate(blocks)
    order, windows = code_NP.shape
    if windows >= 1 << 31:
        raise ModelError(
            f"contexts with one last word have {windows:,} windows; at most {1 << 31:,} can be sorted at a time",
            kind="input",
        )

    order_P, shared_P = sort_windows(list(code_NP), len(rules.given_V), MOST_WINDOWS)
    code_NP = code_NP.take(order_P, axis=1)
    length_P = np.count_nonzero(code_NP, axis=0).astype(np.uint8)
    changed_P = None
    if rules.min_documents > 1:
        if len(source_P) and int(source_P.max()) >= 1 << 32:  # `reach` takes smaller ones
            source_P = np.unique(source_P, return_inverse=True)[1]
        source_P = source_P.take(order_P)
        changed_P = np.diff(source_P, prepend=-1) != 0

    # A window shares its first words, backwards, with the one before; if it shares all, the two are equal.
    is_new_P = shared_P < length_P
    different = np.flatnonzero(is_new_P)
    place_P = np.cumsum(is_new_P, dtype=np.int32) - 1
    part_orders = []
    row_P = code_NP[0].astype(np.int32) - 1  # at order 1, the id
    for k in range(2, order + 1):
        new_P = begins_new(shared_P, length_P, k)
        at_M = np.flatnonzero(new_P)
        raw_M = occurrences_of(at_M, length_P, k)
        suffix_M = row_P.take(at_M)
        kept_M = raw_M > rules.thresholds[k - 2]
        if changed_P is not None:
            kept_M &= reach(
                rules.min_documents,
                at_M,
                raw_M,
                changed_P,
                source_P.take,
            )
        first_M = code_NP[k - 1].take(at_M).astype(np.int32) - 1
        # After a begin, where nothing can stand before, the occurrences; the others follow from the order above.
        adjusted_M = np.where(rules.given_V.take(first_M), raw_M, 0)
        rows = OrderRows(
            place_P.take(at_M),
            suffix_M,
            adjusted_M,
            raw_M,
            kept_M,
        )
        part_orders.append(rows)
        row_P = np.cumsum(new_P, dtype=np.int32) - 1

    part = CountedPart(code_NP.take(different, axis=1), _adjust_counts(part_orders))
    unseen = _count_unseen(part, held_out, len(rules.given_V))
    return part, _sums(part, rules, unseen)


def _concatenate(blocks: Sequence[Windows]) -> tuple[np.ndarray, np.ndarray]:
    codes = np.concatenate([block.code_NP for block in blocks], axis=1)
    return codes, np.concatenate([one.source_P for one in blocks])


def _adjust_counts(orders: list[OrderRows]) -> tuple[OrderRows, ...]:
    """Return the orders with a(g): occurrences at the highest one or after a begin, else different words before.

    Args:
        orders: `adjusted_M` is 0 for n-grams that do not stand after a begin.
    """
    done = [orders[-1]._replace(adjusted_M=orders[-1].raw_M)]
    for rows, above in zip(orders[-2::-1], orders[:0:-1], strict=True):
        before_M = np.bincount(above.suffix_M, minlength=len(rows.at_M)).astype(np.int32)
        adjusted_M = np.where(rows.adjusted_M > 0, rows.adjusted_M, before_M)
        done.append(rows._replace(adjusted_M=adjusted_M))

    return tuple(done[::-1])


def _sums(
    part: CountedPart,
    rules: PartRules,
    unseen: tuple[int, ...],
) -> PartSums:
    """Return the counts of a part that are added up over all parts."""
    counted = []
    kept = []
    numbers = []
    for rows in part.orders:
        counted.append(len(rows.at_M))
        kept.append(int(np.count_nonzero(rows.kept_M)))
        capped_M = np.minimum(rows.adjusted_M, HIGHEST_COUNT)
        numbers.append(np.bincount(capped_M, minlength=HIGHEST_COUNT + 1))

    followed_V = np.bincount(part.orders[0].suffix_M, minlength=len(rules.given_V))
    greatest, open_rows = _find_open_rows(part, rules)
    return PartSums(
        tuple(counted),
        tuple(kept),
        tuple(numbers),
        followed_V,
        greatest,
        open_rows,
        unseen,
    )


def _find_open_rows(part: CountedPart, rules: PartRules) -> tuple[int, tuple[OpenRow, ...]]:
    """Return `PartSums.greatest` and `PartSums.open_rows`: those of `NGramCounts.open_rows`, if they are in this part."""
    found: list[OpenRow] = []
    greatest = -1
    row = rules.greatest
    for k, rows in enumerate(part.orders, start=2):
        # The suffixes ascend, and so do the words before equal ones: the last one has the greatest first word.
        at = int(np.searchsorted(rows.suffix_M, row, side="right")) - 1
        if at < 0 or rows.suffix_M[at] != row:
            break
        first = int(part.code_NU[k - 1, rows.at_M[at]]) - 1
        greatest = first if k == 2 else greatest
        found.append(OpenRow(int(rows.raw_M[at]), int(rows.adjusted_M[at])))
        row = at
        if rules.given_V[first]:
            break

    return greatest, tuple(found)


def _count_unseen(
    part: CountedPart,
    held_out: Sequence[Windows],
    vocabulary_size: int,
) -> tuple[int, ...]:
    """Return, per order from 2 on, how many windows have an n-gram (cut at its document) that was not counted.

    A window whose first word never occurs as a predicted token is counted as unseen too: its bigrams are.
    """
    if not held_out:
        return (0,) * len(part.orders)

    code_NP, _ = _concatenate(held_out)
    unseen = []
    row_P = code_NP[0].astype(np.int64) - 1
    for k, rows in enumerate(part.orders, start=2):
        # Key of an n-gram: the row of its suffix and its first word. The rows are sorted by it.
        key_M = rows.suffix_M.astype(np.int64) * (vocabulary_size + 1)
        key_M += part.code_NU[k - 1].take(rows.at_M)
        inside = np.flatnonzero((row_P >= 0) & (code_NP[k - 1] > 0))
        key_P = row_P[inside] * (vocabulary_size + 1) + code_NP[k - 1][inside]
        at_P = np.searchsorted(key_M, key_P)
        found_P = np.append(key_M, -1).take(at_P) == key_P
        row_P[inside] = np.where(found_P, at_P, -1)
        # A shorter window keeps the row of its longest n-gram, which says whether that one was seen.
        row_P[(code_NP[k - 1] == 0) & (row_P >= 0)] = np.iinfo(np.int64).max
        unseen.append(int(np.count_nonzero(row_P < 0)))

    return tuple(unseen)
