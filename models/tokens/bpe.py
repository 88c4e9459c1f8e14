"""Learn byte-pair encoding from counted words (Sennrich et al. 2016): exact, deterministic, in bounded memory.

The result is the same as that of the trainer of the `tokenizers` package on the whole text: the most frequent pair is
merged; of equally frequent pairs, the one with the lower ids. But that trainer accepts no counts, so it must read the
whole text, and it keeps the places of every pair that ever existed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np

TRACKED = 100_000
"""Maximum number of pairs whose places are stored: the most frequent ones. Others are searched when needed."""
SLICE = 1 << 20
"""Places per slice when all places are read."""
END, GONE = -1, -2
"""Special symbols: END is between words, GONE replaces a symbol that was merged into the one before."""


class Merges:
    """Words as chains of symbols, in which pairs are merged into new symbols.

    Args:
        words: Distinct words as bytes.
        counts: How often each word was seen (int64).
        alphabet: 256 ids, one for each byte.
        least: Minimum count of a pair; rarer pairs are not merged.
    """

    def __init__(self, words: Sequence[bytes], counts: np.ndarray, alphabet: np.ndarray, least: int) -> None:
        self._least = max(least, 1)
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        chained = np.full(int(lengths.sum()) + len(words) + 1, END, np.int32)
        word_of = np.repeat(np.arange(len(words), dtype=np.int32), lengths)
        chained[np.arange(len(word_of)) + word_of + 1] = alphabet[np.frombuffer(b"".join(words), np.uint8)]
        self._counts = np.asarray(counts, np.int64)
        self._symbols, self._word_of = chained, np.zeros(len(chained), np.int32)
        self._word_of[chained != END] = word_of
        self._track()

    def most_frequent(self) -> tuple[int, int] | None:
        """Return the most frequent pair of symbols, or None if no pair is frequent enough."""
        while True:
            while self._queue:
                negative, code = self._queue[0]
                count = self._totals.get(code, 0)
                if count == -negative and count >= self._floor:
                    return code >> 32, code & 0xFFFFFFFF
                heappop(self._queue)
                if count >= self._floor:
                    heappush(self._queue, (-count, code))
            if self._floor == self._least:
                return None
            self._track()

    def merge(self, left: int, right: int, merged: int) -> None:
        """Replace every pair (*left*, *right*) by the symbol *merged*, from left to right in each word."""
        code = left << 32 | right
        symbols, after, before = self._symbols, self._after, self._before
        at = np.concatenate(self._places.pop(code))
        del self._totals[code]
        at = at[(symbols[at] == left) & (symbols[after[at]] == right)]
        if left == right:
            at = _every_other(np.sort(at), after)
        second = after[at]
        third = after[second]
        gone_codes, gone, _ = self._pairs(np.unique(np.concatenate([before[at], at, second])))
        symbols[at], symbols[second] = merged, GONE
        after[at], before[third] = third, at
        new_codes, new, places = self._pairs(np.unique(np.concatenate([before[at], at])))
        totals = self._totals
        for pair, count in zip(gone_codes.tolist(), gone.tolist(), strict=True):
            if pair in totals:
                totals[pair] -= count
        for index in np.flatnonzero(new >= self._floor).tolist():
            pair = int(new_codes[index])
            totals[pair] = totals.get(pair, 0) + int(new[index])
            self._places.setdefault(pair, []).append(places[index])
            heappush(self._queue, (-totals[pair], pair))

    def _pairs(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, _Places]:
        """Return the pairs that begin at these places: their codes, their counts and their places."""
        at, codes = self._codes(at)
        order = np.argsort(codes, kind="stable")
        at, codes = at[order], codes[order]
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        totals = np.add.reduceat(self._counts[self._word_of[at]], starts) if len(starts) else np.zeros(0, np.int64)
        return codes[starts], totals, _Places(at, starts)

    def _codes(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the places at which a pair begins, and the pairs as codes (int64)."""
        first, second = self._symbols[at], self._symbols[self._after[at]]
        whole = (first >= 0) & (second >= 0)
        return at[whole], first[whole].astype(np.int64) << 32 | second[whole]

    def _track(self) -> None:
        """Remove merged symbols, count all pairs again, and store the places of the most frequent ones."""
        left = self._symbols != GONE
        self._symbols, self._word_of = self._symbols[left], self._word_of[left]
        index = np.arange(len(self._symbols), dtype=np.int32)
        self._after, self._before = index + np.int32(1), index - np.int32(1)
        counted = [self._pairs(some)[:2] for some in self._slices()]
        codes, totals = _summed(*map(np.concatenate, zip(*counted, strict=True)))
        floor = int(np.partition(totals, -TRACKED)[-TRACKED]) if len(totals) > TRACKED else 1
        self._floor = max(floor, self._least)
        codes, totals = codes[totals >= self._floor], totals[totals >= self._floor]
        pairs = codes.tolist()
        self._totals = dict(zip(pairs, totals.tolist(), strict=True))
        self._places = {pair: [at] for pair, at in zip(pairs, self._find(codes), strict=True)}
        self._queue = [(-count, pair) for pair, count in self._totals.items()]
        heapify(self._queue)

    def _slices(self) -> Iterator[np.ndarray]:
        """Yield all places except the first and the last one, in slices."""
        for start in range(1, max(len(self._symbols) - 1, 2), SLICE):
            yield np.arange(start, min(start + SLICE, len(self._symbols) - 1), dtype=np.int32)

    def _find(self, codes: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the places of each of these pairs (sorted). One table has pair and place together in 64 bits."""
        places = [np.zeros(0, np.int64)]
        for at in self._slices():
            at, pairs = self._codes(at)
            row = np.minimum(np.searchsorted(codes, pairs), max(len(codes) - 1, 0))
            equal = codes[row] == pairs if len(codes) else np.zeros(len(at), bool)
            places.append(row[equal] << 32 | at[equal])
        table = np.concatenate(places)
        del places
        table.sort()
        bounds = np.searchsorted(table, np.arange(len(codes) + 1, dtype=np.int64) << 32)
        for start, stop in pairwise(bounds.tolist()):
            yield (table[start:stop] & 0xFFFFFFFF).astype(np.int32)


class _Places:
    """Places grouped by pair: item i are the places of the i-th pair."""

    def __init__(self, at: np.ndarray, starts: np.ndarray) -> None:
        self._at, self._bounds = at, [*starts.tolist(), len(at)]

    def __getitem__(self, index: int) -> np.ndarray:
        return self._at[self._bounds[index] : self._bounds[index + 1]]


def _summed(codes: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct codes, sorted, with the sums of their totals."""
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return codes[starts], np.add.reduceat(totals[order], starts) if len(starts) else totals


def _every_other(at: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the places of pairs of equal symbols without overlaps, from the left: in "aaa" only the first pair."""
    begins = np.ones(len(at), bool)
    begins[1:] = after[at[:-1]] != at[1:]
    index = np.arange(len(at))
    return at[(index - np.maximum.accumulate(np.where(begins, index, 0))) % 2 == 0]


def learn_merges(
    words: Sequence[bytes], counts: np.ndarray, alphabet: np.ndarray, first: int, entries: int, least: int
) -> list[tuple[int, int]]:
    """Return the pairs of symbols that become new symbols *first*, *first* + 1 …, in the order of merging.

    Args:
        words: Distinct words as bytes.
        counts: How often each word was seen (int64).
        alphabet: 256 ids below *first*, one for each byte.
        first: Id of the first new symbol.
        entries: Maximum number of new symbols.
        least: Minimum count of a pair; rarer pairs are not merged.
    """
    chains = Merges(words, counts, alphabet, least)
    merges: list[tuple[int, int]] = []
    while len(merges) < entries and (pair := chains.most_frequent()):
        chains.merge(*pair, first + len(merges))
        merges.append(pair)
    return merges
