"""Fit a Kneser–Ney model on workers: text, counts and estimates stay with them, and sums and the tables come back.

    text blocks  ──►  windows, by the last word of their context  ──►  counts of a partition   (`counted.py`)
                                                                             │ sums
                      discounts of every order, p of single words  ◄─────────┘
                            ▼
    estimates of a partition, by first word  ──►  a range of the tables  ──►  the tables        (`estimates.py`)

The tables have the same bits as those of `training.ngram.fitting.fit_tables`, for any number of workers, blocks and
partitions. The work of this process grows with the tables: it copies them to files and takes their logarithms.

The scheme is that of K. Heafield et al. 2013 ("Scalable modified Kneser–Ney language model estimation"): n-grams are
sorted once by suffix, to adjust counts, and once by context; here partitions take the place of passes over a disk.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise
from operator import add
from typing import Any

import numpy as np

from reviewlm.models.dataflow import Dataflow
from reviewlm.models.ngram.lookup import Followers, row_type, word_type
from reviewlm.models.ngram.tables import Tables
from reviewlm.models.specs import KNESER_NEY, NGramSpec
from reviewlm.training.ngram.counting.counts import Documents, mask
from reviewlm.training.ngram.counting.memory import IN_MEMORY, ArrayAllocator
from reviewlm.training.ngram.engine import ShardEngine, keeps_results
from reviewlm.training.ngram.partitions.counted import (
    HIGHEST_COUNT,
    CountedPart,
    OpenRow,
    PartRules,
    PartSums,
    count_part,
)
from reviewlm.training.ngram.partitions.estimates import (
    EstimatedRows,
    OrderTable,
    estimate_part,
    table_part,
)
from reviewlm.training.ngram.partitions.windows import (
    MOST_PARTS,
    TextBlock,
    Windows,
    WordTotals,
    deal,
    sum_words,
    text_blocks,
    word_ranges,
)
from reviewlm.training.ngram.pruning import thresholds
from reviewlm.training.ngram.smoothing.by_context import (
    ContextBlock,
    Discounts,
    Estimate,
    below_unigrams,
    order_discounts,
)
from reviewlm.training.ngram.smoothing.kneser_ney import interpolate, name_fallbacks
from reviewlm.training.ngram.smoothing.methods import NGramNumbers

LEAST_WINDOWS = 1 << 16
"""Windows of a partition, and tokens of a block, below which handing them over costs more than the work."""
MOST_WINDOWS = 1 << 22
"""Windows of a partition, and tokens of a block, as long as there are not `MOST_PARTS` of them."""
PARTS_PER_WORKER = 2
"""So that a worker is not idle while others have larger parts."""


@dataclass(frozen=True)
class PartitionedFit:
    """A model fitted in partitions.

    Args:
        tables: Its tables, without the n-grams that were dropped.
        made: The discounts, with the numbers of the tables.
        numbers: How many n-grams were counted.
        unseen: Order → share of held-out tokens whose n-gram never occurred in training; empty without any.
    """

    tables: Tables
    made: Estimate
    numbers: NGramNumbers
    unseen: dict[int, float]


def fits_in_partitions(spec: NGramSpec, engine: ShardEngine | None) -> bool:
    """Return whether `fit_partitions` can fit a spec: pruning by entropy and other smoothing need all counts at once."""
    fits = spec.smoothing in KNESER_NEY and spec.order > 1 and not spec.entropy
    return fits and keeps_results(engine)


def fit_partitions(
    train: Documents,
    held_out: Documents,
    spec: NGramSpec,
    vocabulary_size: int,
    given: Collection[int],
    engine: Dataflow,
    allocator: ArrayAllocator = IN_MEMORY,
    authors_D: np.ndarray | None = None,
) -> PartitionedFit:
    """Count, estimate and prune by counts and documents, on workers; see `training.ngram.fitting.fit_tables`.

    Args:
        train: Token ids and document offsets, as of `counts.count_ngrams`.
        held_out: Text that is only looked up.
        vocabulary_size: V.
        given: Ids that are never predicted.
        allocator: Allocator of the tables.
        authors_D: Number of each document's author, for `min_documents`; None: every document counts.

    Raises:
        ModelError: An id is out of range, or a document does not begin with a given token; the disk has no space for the
            tables; the engine failed.
    """
    given_V = mask(given, vocabulary_size)
    size = _size(len(train.ids), engine)
    limited = spec.min_documents > 1
    blocks = [engine.put(one) for one in text_blocks(train, size, authors_D, limited)]
    others = [engine.put(one) for one in text_blocks(held_out, size)]
    occurs = _occurrences(engine, blocks, given_V)

    edges = word_ranges(occurs.contexts_V, size)
    deal_block = engine.put(
        partial(
            deal,
            given_V=given_V,
            order=spec.order,
            edges=edges,
        )
    )
    parts = len(edges) - 1
    windows = [engine.submit(deal_block, block, results=parts) for block in blocks]
    asked = [engine.submit(deal_block, other, results=parts) for other in others]
    greatest = int(np.flatnonzero(occurs.raw_V).max(initial=-1))
    limits = thresholds(spec.prune, spec.order)[1:]
    rules = engine.put(PartRules(given_V, greatest, limits, spec.min_documents))
    counted = []
    for number in range(parts):
        of_part = [one[number] for one in (*windows, *asked)]
        counted.append(
            engine.submit(
                _count,
                rules,
                len(blocks),
                *of_part,
                results=2,
            )
        )

    del windows, asked, of_part
    sums = _Sums(occurs.raw_V, list(engine.fetch(one[1] for one in counted)))

    discounts = sums.discounts(spec.smoothing)
    p_V = _estimate_words(sums, discounts[0], given_V)
    ranges = list(pairwise(edges.tolist()))
    estimate = engine.put(partial(estimate_part, discounts[1:], edges))
    p_there = engine.put(p_V)
    estimated = [engine.submit(estimate, one[0], p_there, results=len(ranges)) for one in counted]
    del counted
    made = []
    for number, (low, high) in enumerate(ranges):
        of_range = [one[number] for one in estimated]
        made += engine.submit(
            _table,
            low,
            high,
            vocabulary_size,
            *of_range,
        )

    del estimated, of_range
    tables = _Assembly(vocabulary_size, sums.kept, allocator)
    for orders in engine.fetch(made):
        tables.add(orders)

    made_tables = tables.finished(p_V, tuple(sorted(given)))
    made_estimate = Estimate((), (), discounts, fallbacks=name_fallbacks(discounts))
    ngrams = sums.ngrams(discounts)
    unseen = _unseen_shares(_occurrences(engine, others, given_V), sums)
    return PartitionedFit(made_tables, made_estimate, ngrams, unseen)


def _size(tokens: int, engine: Dataflow) -> int:
    """Return how many windows a partition, and how many tokens a block has at most."""
    even = -(-tokens // (PARTS_PER_WORKER * max(1, engine.workers())))
    return max(min(max(even, LEAST_WINDOWS), MOST_WINDOWS), -(-tokens // MOST_PARTS))


def _occurrences(
    engine: Dataflow,
    blocks: Sequence[Any],
    given_V: np.ndarray,
) -> WordTotals:
    """Return how often the words of all blocks occur."""
    count = engine.put(partial(_sum_words, given_V))
    counted = [engine.submit(count, block)[0] for block in blocks]
    nothing = np.zeros(len(given_V), np.int64)
    return reduce(add, engine.fetch(counted), WordTotals(nothing, nothing))


def _sum_words(given_V: np.ndarray, block: TextBlock) -> list[WordTotals]:
    return [sum_words(block, given_V)]


def _count(rules: PartRules, blocks: int, *windows: Windows) -> tuple[CountedPart, PartSums]:
    """Count a partition; the windows of so many blocks are those of the training text."""
    return count_part(rules, windows[:blocks], windows[blocks:])


def _table(
    low: int,
    high: int,
    size: int,
    *buckets: list[EstimatedRows],
) -> list[list[OrderTable]]:
    return [table_part(low, high, size, buckets)]


class _Sums:
    """The sums over all partitions."""

    def __init__(self, raw_V: np.ndarray, parts: Sequence[PartSums]) -> None:
        self.raw_V = raw_V
        self.followed_V = sum((part.followed_V for part in parts), np.zeros_like(raw_V))
        self.counted = tuple(map(sum, zip(*(part.ngrams for part in parts), strict=True)))
        self.kept = tuple(map(sum, zip(*(part.kept for part in parts), strict=True)))
        self.unseen = tuple(map(sum, zip(*(part.unseen for part in parts), strict=True)))
        each_order = zip(*(part.numbers for part in parts), strict=True)
        self._numbers = [np.sum(numbers, axis=0) for numbers in each_order]
        self._open_rows = max(parts, key=lambda part: part.greatest).open_rows

    def discounts(self, smoothing: str) -> tuple[Discounts, ...]:
        """Return the discounts of every order, with the n-grams that `kneser_ney.counts_of_counts` tells about."""
        greatest = int(np.flatnonzero(self.raw_V).max(initial=0))
        numbers = [
            np.bincount(np.minimum(self.followed_V, HIGHEST_COUNT), minlength=HIGHEST_COUNT + 1)
        ]
        numbers += self._numbers
        open_rows = [
            OpenRow(int(self.raw_V[greatest]), int(self.followed_V[greatest])),
            *self._open_rows,
        ]
        for n, row in zip(numbers[:-1], open_rows, strict=False):
            n[min(row.adjusted, HIGHEST_COUNT)] -= 1
            n[min(row.raw, HIGHEST_COUNT)] += 1

        discounts = []
        for n in numbers:
            n1, n2, n3, n4 = n[1:HIGHEST_COUNT].tolist()
            discounts.append(order_discounts((n1, n2, n3, n4), smoothing, kenlm_exact=True))
        return tuple(discounts)

    def ngrams(self, discounts: Sequence[Discounts]) -> NGramNumbers:
        """Return how many n-grams were counted."""
        tokens = int(self.raw_V.sum())
        types = int(np.count_nonzero(self.raw_V))
        by_order = (len(self.raw_V), *self.counted)
        counts_of_counts = tuple(of_order.counts_of_counts for of_order in discounts)
        return NGramNumbers(tokens, types, by_order, counts_of_counts)


def _estimate_words(
    sums: _Sums,
    discounts: Discounts,
    given_V: np.ndarray,
) -> np.ndarray:
    """Return p of each word without any context, (V,)."""
    size = len(given_V)
    block = ContextBlock(
        slice(0, 1), slice(0, size), np.zeros(size, np.int64), below_unigrams(given_V)
    )
    return interpolate(block, sums.followed_V, discounts)[0]


def _unseen_shares(held_out: WordTotals, sums: _Sums) -> dict[int, float]:
    """Return, per order, the share of held-out tokens whose n-gram never occurred; see `counts.unseen_share`."""
    tokens = int(held_out.raw_V.sum())
    if not tokens:
        return {}

    words = int(held_out.raw_V[sums.raw_V == 0].sum())
    return {order: n / tokens for order, n in enumerate((words, *sums.unseen), start=1)}


class _Assembly:
    """The tables of all ranges of first words, one after another.

    Args:
        vocabulary_size: V.
        kept: Number of n-grams of the orders 2 … N.
        allocator: Allocator of the tables.
    """

    def __init__(
        self,
        vocabulary_size: int,
        kept: Sequence[int],
        allocator: ArrayAllocator,
    ) -> None:
        self._size = vocabulary_size
        self._allocator = allocator
        self._words = [allocator.growing(word_type(vocabulary_size)) for _ in kept]
        self._first = [allocator.growing(row_type(ngrams)) for ngrams in kept]
        self._logp = [allocator.growing(np.float64) for _ in kept]
        self._backoff = [allocator.growing(np.float64) for _ in kept]

    def add(self, orders: Sequence[OrderTable]) -> None:
        """Append the n-grams of the next range."""
        arrays = zip(
            self._words,
            self._first,
            self._logp,
            self._backoff,
            orders,
            strict=True,
        )
        for words, first, logp, backoff, table in arrays:
            before_C = np.cumsum(table.followers_C) - table.followers_C
            first.append(before_C + words.length)
            words.append(table.word_M)
            logp.append(_log_p(table.p_M))
            with np.errstate(divide="ignore"):
                backoff.append(np.log(table.gamma_C))

    def finished(self, p_V: np.ndarray, given: tuple[int, ...]) -> Tables:
        """Return the tables; *p_V* is p of single words."""
        followers = []
        for words, first in zip(self._words, self._first, strict=True):
            first.append(np.array([words.length]))
            followers.append(Followers(words.finish(), first.finish()))

        logp = [_log_p(p_V), *(growing.finish() for growing in self._logp)]
        backoff = [growing.finish() for growing in self._backoff]
        return Tables(
            tuple(followers),
            tuple(logp),
            tuple(backoff),
            self._size,
            given,
        )


def _log_p(p_M: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.minimum(np.log(p_M), 0.0)
