"""Measure how much of the generated text is copied from the training text: share of n-grams, and longest copied spans.

The share of copied n-grams, by n, is the novelty curve of McCoy et al. 2023 ("How much do language models copy from
their training data?", section 4). It is compared with the same curve of real held-out reviews: people repeat each other
too, and only the excess over them is copying.

The training text is read once, in blocks from a memory map. Each n-gram of a block is looked up among the samples'
n-grams (sorted fingerprints, pre-filtered by a bit table). If `ORDERS` words in a row match, the match is extended word
by word. Memory depends on the samples and the block, not on the training text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from reviewlm.evaluation.writing.word_stream import BASE, WordStream, blocks, longer

PASSAGE = 8
"""Words of a passage; a shorter text is one passage."""
ORDERS = 10
"""Largest n of the curve, which starts at 1; longer copies are extended from matches of this length."""
BLOCK_WORDS = 1 << 18
"""Words of the training text in memory at a time: 92 MiB less than with eight times as many, and as fast."""
PAIRS_AT_ONCE = 1 << 20
_NOWHERE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Overlap:
    """The parts of D samples that occur in the training text.

    Args:
        found: For n = 1 … `ORDERS` and each n-gram within a sample, in order: whether it is in the training text.
        longest_D: Words of each sample's longest copied span; 0 if not even a word is copied.
        start_D: Position in the sample of the first word of that span.
        at_D: Position of its first occurrence in the training text, in words; −1 if nothing is copied.
    """

    found: tuple[np.ndarray, ...]
    longest_D: np.ndarray
    start_D: np.ndarray
    at_D: np.ndarray

    def share(self, n: int) -> float | None:
        """Return the share of the n-grams that occur in the training text; None if there is no n-gram."""
        if len(self.found[n - 1]):
            return float(self.found[n - 1].mean())
        return None

    def curve(self) -> list[float | None]:
        """Return the shares of n = 1 … `ORDERS`."""
        return [self.share(n) for n in range(1, ORDERS + 1)]


def overlap(
    samples: WordStream,
    training: WordStream,
    block_words: int = BLOCK_WORDS,
) -> Overlap:
    """Search the training text for n-grams and longer spans of the samples.

    Args:
        samples: D texts, all in memory: about 250 bytes per word.
        training: Texts, usually memory-mapped.
        block_words: Words of the training text in memory at a time; a longer text is a separate block.
    """
    orders = _orders(samples)
    grown = _Grown(samples, orders[-1])
    for first, block in blocks(training, block_words):
        hash_N = block.words_N
        room_N = block.room_N()
        for order in orders:
            if order.n > 1:
                hash_N = longer(hash_N, block.words_N, order.n)
            at_H, entry_H = order.met(hash_N, room_N)
            order.note(first + at_H, entry_H)
        grown.grow(first, block, at_H, entry_H)

    return _gather(samples, orders, grown)


def copied_passages(
    texts: WordStream,
    copied: float,
    training: WordStream,
) -> float | None:
    """Return the share of the passages of some texts that occur in the training text; None if there is no passage.

    A passage is any 8 words in a row. A text with fewer words is one passage; it is copied if it is a whole training
    text. So short lines (names, headings) have a figure too: nearly all of their pairs of words occur in any training
    text.

    Args:
        texts: Texts, cut as for the comparison; an empty one has no passage.
        copied: Number of their 8-grams that occur in the training text.
        training: Texts, usually memory-mapped.
    """
    whole = _whole_texts(texts, training)
    passages = int(np.maximum(texts.lengths_D - PASSAGE + 1, 0).sum()) + len(whole)
    if passages:
        return (copied + int(whole.sum())) / passages
    return None


def _whole_texts(texts: WordStream, training: WordStream) -> np.ndarray:
    """Return for each text of 1 to 7 words whether it is equal to a whole training text."""
    copied = [np.zeros(0, bool)]
    for words in range(1, PASSAGE):
        ours, theirs = (_fingerprints(stream, words) for stream in (texts, training))
        copied.append(np.isin(ours, theirs))
    return np.concatenate(copied)


def _fingerprints(stream: WordStream, words: int) -> np.ndarray:
    """Return the fingerprints of the texts with exactly *words* words."""
    start = np.asarray(stream.offsets[:-1])[stream.lengths_D == words]
    hash_S = np.asarray(stream.words_N[start])
    for place in range(1, words):
        hash_S = hash_S * BASE + np.asarray(stream.words_N[start + place])
    return hash_S


def copied_spans(
    samples: pl.DataFrame,
    copies: Overlap,
    training_offsets: np.ndarray,
) -> pl.DataFrame:
    """Return each sample's longest copied span, the longest first.

    Args:
        samples: D rows with a column `pieces`, the words of each sample, and any others, which are kept.
        copies: Their overlap with the training text.
        training_offsets: Position where each training text begins, and the end.

    Returns:
        The other columns, and longest (words), span (the words, separated by spaces), of_sample (its share of the
        sample's words), review (number of the training text that contains it; null if nothing is copied).
    """
    review_D = np.searchsorted(training_offsets, copies.at_D, side="right") - 1
    review = pl.Series(review_D).set(pl.Series(copies.at_D < 0), None)
    spans = samples.with_columns(
        longest=pl.Series(copies.longest_D),
        start=pl.Series(copies.start_D),
        review=review,
    )
    pieces = pl.col("pieces")
    words = pieces.list.len()
    span = pieces.list.slice("start", "longest").list.join(" ")
    share = pl.when(words > 0).then(pl.col("longest") / words)
    spans = spans.with_columns(span=span, of_sample=share)
    return spans.drop("pieces", "start").sort("longest", descending=True, maintain_order=True)


class _Order:
    """The n-grams of one order in all samples: which were found, and where first.

    Attributes:
        start_S: Position in the sample stream of the first word of each n-gram.
        entry_S: Index of each n-gram among the distinct ones.
    """

    def __init__(
        self,
        n: int,
        hash_N: np.ndarray,
        room_N: np.ndarray,
    ) -> None:
        self.n = n
        self.start_S = np.flatnonzero(room_N[: len(hash_N)] >= n)
        self._distinct, self.entry_S = np.unique(hash_N[self.start_S], return_inverse=True)
        self.at = np.full(len(self._distinct), _NOWHERE)
        bits = max(10, int(16 * max(len(self._distinct), 1)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._maybe = np.zeros(1 << bits, bool)
        self._maybe[self._distinct >> self._shift] = True

    def met(self, hash_N: np.ndarray, room_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions in a block where such an n-gram begins, and the index of the n-gram."""
        maybe = np.flatnonzero(
            self._maybe[hash_N >> self._shift] & (room_N[: len(hash_N)] >= self.n)
        )
        if not len(self._distinct):
            return maybe[:0], maybe[:0]
        entry = np.minimum(np.searchsorted(self._distinct, hash_N[maybe]), len(self._distinct) - 1)
        same = self._distinct[entry] == hash_N[maybe]
        return maybe[same], entry[same]

    def note(self, at_H: np.ndarray, entry_H: np.ndarray) -> None:
        """Store the first position of each n-gram; *at_H* is ascending."""
        new = self.at[entry_H] == _NOWHERE
        self.at[entry_H[new][::-1]] = at_H[new][::-1]  # reversed, so that the first one wins

    @property
    def found_S(self) -> np.ndarray:
        return (self.at < _NOWHERE)[self.entry_S]


def _orders(samples: WordStream) -> list[_Order]:
    room_N = samples.room_N()
    hash_N = np.asarray(samples.words_N)
    orders = []
    for n in range(1, ORDERS + 1):
        if n != 1:
            hash_N = longer(hash_N, samples.words_N, n)

        orders.append(_Order(n, hash_N, room_N))
    return orders


class _Grown:
    """The longest matches of at least `ORDERS` words of each sample so far."""

    def __init__(self, samples: WordStream, order: _Order) -> None:
        self._words_N = np.asarray(samples.words_N)
        self._room_N = samples.room_N()
        self._document_N = samples.documents_N()
        self._begins_N = np.zeros(len(self._words_N), bool)
        self._begins_N[np.asarray(samples.offsets[:-1])[samples.lengths_D > 0]] = True
        by_entry = np.argsort(order.entry_S, kind="stable")
        self._start_S = order.start_S[by_entry]
        self._bounds = np.searchsorted(order.entry_S[by_entry], np.arange(len(order.at) + 1))
        self.length_D = np.zeros(len(samples), np.int64)
        self.start_D = np.zeros(len(samples), np.int64)
        self.at_D = np.zeros(len(samples), np.int64)

    def grow(
        self,
        first: int,
        block: WordStream,
        at_H: np.ndarray,
        entry_H: np.ndarray,
    ) -> None:
        """Extend the matches of a block that begins at word *first* of the training text."""
        pairs_H = self._bounds[entry_H + 1] - self._bounds[entry_H]
        ends_H = np.cumsum(pairs_H)
        begins_N = np.zeros(len(block.words_N), bool)
        begins_N[block.offsets[:-1][block.lengths_D > 0]] = True
        start = 0
        while start < len(at_H):
            done = ends_H[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends_H, done + PAIRS_AT_ONCE, side="right")))
            some = slice(start, stop)
            at_P = np.repeat(at_H[some], pairs_H[some])
            first_pair_H = ends_H[some] - pairs_H[some] - done
            within_P = np.arange(len(at_P)) - np.repeat(first_pair_H, pairs_H[some])
            entry_P = np.repeat(self._bounds[entry_H[some]], pairs_H[some])
            of_P = self._start_S[entry_P + within_P]
            # Extend a long copy only from its first words: matches that begin later are inside it.
            at_begin_P = self._begins_N[of_P] | begins_N[at_P]
            word_before_P = self._words_N[of_P - 1]
            inner_P = ~at_begin_P & (word_before_P == block.words_N[at_P - 1])
            self._keep(first, block, at_P[~inner_P], of_P[~inner_P])
            start = stop

    def _keep(
        self,
        first: int,
        block: WordStream,
        at_P: np.ndarray,
        of_P: np.ndarray,
    ) -> None:
        length_P = np.full(len(at_P), ORDERS)
        room_P = np.minimum(self._room_N[of_P], block.room_N()[at_P])
        growing = np.flatnonzero(room_P > ORDERS)
        while len(growing):
            length = length_P[growing]
            same = self._words_N[of_P[growing] + length] == block.words_N[at_P[growing] + length]
            growing = growing[same]
            length_P[growing] += 1
            growing = growing[length_P[growing] < room_P[growing]]

        document_P = self._document_N[of_P]
        order = np.lexsort((at_P, -length_P, document_P))
        best = order[np.unique(document_P[order], return_index=True)[1]]
        best = best[length_P[best] > self.length_D[document_P[best]]]
        document = document_P[best]
        self.length_D[document] = length_P[best]
        self.start_D[document] = of_P[best]
        self.at_D[document] = first + at_P[best]


def _gather(
    samples: WordStream,
    orders: list[_Order],
    grown: _Grown,
) -> Overlap:
    longest_D = np.zeros(len(samples), np.int64)
    start_D = np.zeros(len(samples), np.int64)
    at_D = np.full(len(samples), -1)
    document_N = samples.documents_N()
    for order in orders:
        starts = order.start_S[order.found_S]
        document, first = np.unique(document_N[starts], return_index=True)
        longest_D[document] = order.n
        start_D[document] = starts[first]
        at_D[document] = order.at[order.entry_S[order.found_S][first]]

    more = grown.length_D > 0
    longest_D[more] = grown.length_D[more]
    start_D[more] = grown.start_D[more]
    at_D[more] = grown.at_D[more]
    start_D -= np.where(longest_D > 0, np.asarray(samples.offsets[:-1]), 0)
    return Overlap(tuple(order.found_S for order in orders), longest_D, start_D, at_D)
