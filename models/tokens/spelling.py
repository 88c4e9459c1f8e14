r"""Compute the cost in nats of spelling out-of-vocabulary words, which a closed word vocabulary leaves out.

A word model encodes every unknown word as `<unk>`, so its perplexity does not include the cost of the word itself.
With this cost added, its figures can be compared with those of open vocabularies (characters, bytes).

The model is a character n-gram model of order `ORDER` with interpolated modified Kneser–Ney smoothing. A word is the
symbols ^ c1 … cn $: its begin, its characters, its end. For an n-gram g = h c (context h, symbol c), h' = h without its
first symbol:

    a(g)      count of g at the highest order and where g begins with ^, otherwise the number of different symbols
              before g
    S(h)      sum over c of a(h c)
    D(a)      discount of the order, from its counts of counts

    p(c | h)  =  (a(h c) − D(a(h c))) / S(h)  +  γ(h) p(c | h'),        γ(h) = (sum over c of D(a(h c))) / S(h)
    p(c)      =  (a(c) − D(a(c))) / S  +  γ / V                          V symbols that can follow
    p(word)   =  product of p(c | h) over c1 … cn $

An unknown word is none of the K words of the vocabulary, and their probability is left to it:

    p(word | unknown)  =  p(word) / (1 − sum over K of p(word))

Sources: R. Kneser and H. Ney (1995), "Improved backing-off for m-gram language modeling"; S. F. Chen and J. Goodman
(1999), "An empirical study of smoothing techniques for language modeling", Computer Speech and Language 13, equation
26; R. Kuhn and R. De Mori (1990), "A cache-based natural language model for speech recognition"; J. Pitman and M. Yor
(1997), "The two-parameter Poisson–Dirichlet distribution", Annals of Probability 25.
`training/ngram/smoothing/kneser_ney.py` has the same estimate of the characters for any amount of text.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import exp, inf
from typing import Any, NamedTuple

import numpy as np

ORDER = 7
"""Order 6 costs 1 to 2 % more on real reviews, order 8 saves 0.4 %. Seven symbols of 8 bits fit one integer."""
RARE = 30_000
"""Number of rare words that are kept, the most frequent first: 250 kB. With 10,000, a large text costs 9 % more."""
BEGIN = 1
"""Symbol of 8 bits for the begin of a word, ^."""
END = 2
"""Symbol for the end of a word, $."""
OTHER = 3
"""Symbol for any character that is not among `Spelling.characters`."""
FIRST = 4
"""Symbol of the first of `Spelling.characters`."""
BITS = 8
CHARACTERS = 256 - FIRST
BYTE_NATS = float(np.log(256))
CACHE = "repeats"
"""Name of the cache among the counts of a file."""
FALLBACK = (0.5, 1.0, 1.5)
"""Discounts of an order with too few n-grams to estimate them."""


class Repeats(NamedTuple):
    """The cache of the unknown words of one text.

    Names come back: a tenth of the unknown words of a review are there for the second time. So the price depends on the
    unknown words before it in the same text: a Pitman–Yor process over words, whose base is p(word | unknown). After m
    unknown words, t of them different, n of them this one:

        p(word | unknown, text)  =  ((n − d)₊ + (θ + d t) p(word | unknown)) / (m + θ)

    It sums to 1 over all unknown words as its base does. Words with a character that has no symbol never enter the cache.

    Attributes:
        discount: d in [0, 1): what of each word in the cache goes to new ones.
        strength: θ > 0: how many words in the cache weigh as much as the model of new words.
    """

    discount: float
    strength: float


class Order(NamedTuple):
    """The n-grams of one order, as integers whose lowest 8 bits are the last symbol.

    Attributes:
        ngrams_M: The n-grams, sorted (int64).
        p_M: p(c | h) of each.
        contexts_C: Their contexts h, sorted (int64).
        gamma_C: γ(h) of each.
    """

    ngrams_M: np.ndarray
    p_M: np.ndarray
    contexts_C: np.ndarray
    gamma_C: np.ndarray

    def p(self, ngram_N: np.ndarray, below_N: np.ndarray) -> np.ndarray | None:
        """Return p(c | h) of some n-grams (N,), given p(c | h'); None: no context was seen, so it is p(c | h')."""
        context_N, after_N = _find(self.contexts_C, ngram_N >> BITS)
        if not after_N.any():
            return None
        place_N, seen_N = _find(self.ngrams_M, ngram_N)
        gamma_N = np.where(after_N, self.gamma_C[context_N], 1.0)
        return np.where(seen_N, self.p_M[place_N], gamma_N * below_N)


@dataclass(frozen=True)
class Spelling:
    """A character model of unknown words.

    The training words are those that look like unknown ones: the rare words that the vocabulary leaves out, each with
    its count. They are half of the unknown words of another text of the same kind. The words of the vocabulary are
    added with count 1, because they have the same beginnings and endings. All tables follow from these words, so only
    the rare words are stored.

    A character that is in no training word costs the symbol `OTHER` plus log 256 per UTF-8 byte. So every string has a
    probability above 0, and the sum over all strings that are no words of the vocabulary is at most 1. Where such
    characters come and how often, follows from those that are in a single training word: it counts a second time, with
    `OTHER` in place of them. (The number of things seen once tells how many are unseen: Good 1953.)

    Args:
        words: Words of the vocabulary.
        rare: Words that the vocabulary leaves out, with their counts.
        repeats: The cache of the words of one text; None: every word costs the same wherever it stands.
    """

    words: Sequence[str]
    rare: Mapping[str, int]
    repeats: Repeats | None = None

    @cached_property
    def _counts(self) -> Counter[str]:
        """In how many training words each character is."""
        return Counter(chain.from_iterable(map(set, chain(self.words, self.rare))))

    @cached_property
    def characters(self) -> str:
        """The characters with a symbol of their own, in the order of their symbols."""
        often = sorted((-count, char) for char, count in self._counts.items())[:CHARACTERS]
        return "".join(sorted(char for _, char in often))

    @cached_property
    def _symbols(self) -> dict[str, int]:
        return {char: number for number, char in enumerate(self.characters, FIRST)}

    @cached_property
    def _orders(self) -> list[Order]:
        counts = {**dict.fromkeys(self.words, 1), **self.rare}
        symbols = self._read(counts, self._symbols)
        again = {char: symbol for char, symbol in self._symbols.items() if self._counts[char] > 1}
        lone = {word: count for word, count in counts.items() if not again.keys() >= set(word)}
        symbols += self._read(lone, again)
        return _estimate_orders(
            *_join_words(symbols),
            np.array([*counts.values(), *lone.values()], np.int64),
            self._uniform,
        )

    @cached_property
    def _vocabulary(self) -> tuple[list[str], np.ndarray]:
        """The words of the vocabulary, sorted, and p of each (W,)."""
        words = sorted(self.words)
        return words, np.exp(-self._nats(words)) if words else np.zeros(0)

    @cached_property
    def _left(self) -> float:
        """p of all words that are not in the vocabulary."""
        return 1.0 - float(self._vocabulary[1].sum())

    @property
    def _uniform(self) -> float:
        return 1.0 / (len(self.characters) + FIRST - END)

    @staticmethod
    def _read(words: Iterable[str], symbols: Mapping[str, int]) -> list[bytes]:
        """Return the symbols of each word."""
        read = []
        for word in words:
            inside = [symbols.get(char, OTHER) for char in word]
            read.append(bytes((BEGIN, *inside, END)))

        return read

    def _nats(self, words: Sequence[str], ends: bool = True) -> np.ndarray:
        """Return −log p of each string (W,), or of all strings that begin so unless *ends* is set."""
        symbols_N, starts_W = _join_words(self._read(words, self._symbols))
        p_N = np.full(len(symbols_N), self._uniform)
        for order, ngram_N in zip(self._orders, _ngrams(symbols_N, starts_W), strict=False):
            longer_N = order.p(ngram_N, p_N)
            if longer_N is None:  # nor was a longer one
                break
            p_N = longer_N

        p_N[symbols_N == BEGIN if ends else symbols_N <= END] = 1.0
        other_W = []
        for word in words:
            others = "".join([char for char in word if char not in self._symbols])
            other_W.append(len(others.encode("utf-8", "surrogatepass")))

        return np.add.reduceat(-np.log(p_N), starts_W) + BYTE_NATS * np.array(other_W)

    def nats(self, words: Sequence[str]) -> np.ndarray:
        """Return −log p(word | unknown) of each word that is not in the vocabulary (W,), in nats."""
        if not words:
            return np.zeros(0)
        # Round, so that no figure depends on the processor's logarithm.
        return np.round(self._nats(words) + np.log(self._left), 6)

    def nats_of_texts(self, words: Sequence[str], text_U: np.ndarray) -> np.ndarray:
        """Return −log p of each unknown word of some texts (U,), given those before it in its text, in nats.

        Args:
            words: U words that are not in the vocabulary, in the order of the texts.
            text_U: Index of the text of each.
        """
        number_of = {word: number for number, word in enumerate(dict.fromkeys(words))}
        different = list(number_of)
        word_U = np.array([number_of[word] for word in words], np.int64)
        nats_U = self.nats(different)[word_U]
        if self.repeats is None or len(words) < 2:
            return nats_U

        discount, strength = self.repeats
        enters_U = np.array([self._enters(word) for word in different])[word_U]
        again_U = _earlier_equal(word_U, text_U)
        before_U = _earlier_marked(enters_U, text_U)
        different_U = _earlier_marked(enters_U & (again_U == 0), text_U)
        new_U = np.log((strength + discount * different_U) / (before_U + strength)) - nats_U
        known_U = enters_U & (again_U > 0)
        old_U = np.log((again_U[known_U] - discount) / (before_U[known_U] + strength))
        new_U[known_U] = np.logaddexp(new_U[known_U], old_U)
        return np.round(-new_U, 6)

    def _enters(self, word: str) -> bool:
        """Return whether a word enters the cache: each of its characters has a symbol."""
        return all(char in self._symbols for char in word)

    def _cache(self, earlier: Sequence[str]) -> tuple[float, dict[str, float]]:
        """Return p of the model of new words after the unknown words of a text, and that of each word in the cache."""
        counts = Counter(word for word in earlier if self._enters(word))
        if self.repeats is None or not counts:
            return 1.0, {}

        discount, strength = self.repeats
        whole = counts.total() + strength
        new = (strength + discount * len(counts)) / whole
        return new, {word: (count - discount) / whole for word, count in counts.items()}

    def following(
        self, beginning: str, earlier: Sequence[str] = ()
    ) -> tuple[float, np.ndarray, float]:
        """Return how an unknown word that begins so may go on.

        Args:
            beginning: First characters of the word.
            earlier: The unknown words before it in its text.

        Returns:
            The probability that an unknown word begins so; given that, the probability of each of `characters` as the
            next one (A,), and that the word ends. With the probability of all other characters, the latter sum to 1.
        """
        p, p_A, end = self._following_new(beginning)
        new, cache = self._cache(earlier)
        begun = {word: again for word, again in cache.items() if word.startswith(beginning)}
        if not begun:
            return new * p, p_A, end

        mass_A = new * p * p_A
        mass_end = new * p * end
        for word, again in begun.items():
            if word == beginning:
                mass_end += again
            else:
                mass_A[self._symbols[word[len(beginning)]] - FIRST] += again

        whole = new * p + sum(begun.values())
        return whole, mass_A / whole, mass_end / whole

    def _following_new(self, beginning: str) -> tuple[float, np.ndarray, float]:
        """Return `following` of a word that is not in the cache."""
        p = exp(-self._nats([beginning], ends=False)[0])
        p_S = self._next(beginning)
        words, p_K = self._vocabulary
        low = bisect_left(words, beginning)
        high = bisect_right(words, beginning, lo=low, key=lambda word: word[: len(beginning)])
        rest = p
        if low < high:
            after = [word[len(beginning) :][:1] for word in words[low:high]]
            taken_S = np.zeros_like(p_S)
            next_K = [self._symbols.get(char, OTHER) if char else END for char in after]
            np.add.at(taken_S, next_K, p_K[low:high])
            rest = p - float(taken_S.sum())
            p_S = np.maximum(p * p_S - taken_S, 0.0) / rest
            # A word of the vocabulary, without the rounding of a difference.
            p_S[END] *= taken_S[END] == 0

        return rest / self._left, p_S[FIRST:], float(p_S[END])

    def _next(self, beginning: str) -> np.ndarray:
        """Return p of each symbol after the beginning of a string (S,)."""
        symbols = [BEGIN, *(self._symbols.get(char, OTHER) for char in beginning)]
        p_S = np.full(len(self.characters) + FIRST, self._uniform)
        p_S[:END] = 0.0
        context = 0
        for length, order in enumerate(self._orders[: len(symbols) + 1]):
            context += symbols[-length] << BITS * (length - 1) if length else 0
            place, seen = _find(order.contexts_C, np.array([context]))
            if not seen[0]:
                break
            low, high = np.searchsorted(order.ngrams_M, [context << BITS, context + 1 << BITS])
            p_S *= order.gamma_C[place[0]]
            p_S[order.ngrams_M[low:high] - (context << BITS)] = order.p_M[low:high]

        return p_S

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: the rare words by their count, and the cache under `CACHE` if there is one."""
        values: dict[str, list[Any]] = {}
        for word, count in sorted(self.rare.items()):
            values.setdefault(str(count), []).append(word)
        if self.repeats is not None:
            values[CACHE] = list(self.repeats)
        return values

    @classmethod
    def from_dict(cls, words: Sequence[str], values: Mapping[str, Any]) -> Spelling:
        """Rebuild the model from the words of the vocabulary and the result of `to_dict`.

        Raises:
            ValueError: These are other values.
        """
        counts = {}
        for name, rare in values.items():
            if name == CACHE:
                continue
            count = int(name)
            if count <= 0 or not all(isinstance(word, str) for word in rare):
                raise ValueError(
                    "'spelling' must be lists of words by their count, which is at least 1"
                )
            counts.update(dict.fromkeys(rare, count))

        cache = None
        if CACHE in values:
            cache = _read_cache(values[CACHE])

        return cls(words, counts, cache)


def _read_cache(stored: Any) -> Repeats:
    """Return the cache of a file; raise ValueError for other values."""
    discount, strength = map(float, stored)
    if not (0 <= discount < 1 and 0 < strength < inf):
        raise ValueError(f"{CACHE!r} must be a discount from 0 to below 1, and a strength above 0")
    return Repeats(discount, strength)


def _earlier_equal(word_U: np.ndarray, text_U: np.ndarray) -> np.ndarray:
    """Return how many equal words are before each word in its text (U,)."""
    order = np.lexsort((word_U, text_U))  # stable: equal words of a text stay in their order
    place_U = np.arange(len(order))
    begins_U = np.ones(len(order), bool)
    begins_U[1:] = (np.diff(word_U[order]) != 0) | (np.diff(text_U[order]) != 0)
    first_U = np.maximum.accumulate(np.where(begins_U, place_U, 0))
    earlier_U = np.empty(len(order), np.int64)
    earlier_U[order] = place_U - first_U
    return earlier_U


def _earlier_marked(marked_U: np.ndarray, text_U: np.ndarray) -> np.ndarray:
    """Return how many marked words are before each word in its text (U,); texts are in order."""
    before_U = np.cumsum(marked_U) - marked_U
    return before_U - before_U[np.searchsorted(text_U, text_U)]


def _join_words(words: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the symbols of all words, one after another (N,), and where each word begins (W,)."""
    lengths_W = np.array(list(map(len, words)), np.int64)
    return np.frombuffer(b"".join(words), np.uint8).astype(np.int64), np.cumsum(
        lengths_W
    ) - lengths_W


def _find(sorted_M: np.ndarray, values_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of each value in a sorted array that is not empty, and whether it is there."""
    place_N = np.minimum(np.searchsorted(sorted_M, values_N), len(sorted_M) - 1)
    return place_N, sorted_M[place_N] == values_N


def _ngrams(symbols_N: np.ndarray, starts_W: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the n-gram that ends at each symbol (N,), for each order; 0 if it would begin before its word."""
    ngram_N = symbols_N.copy()
    ngram_N[starts_W] = 0  # a begin is given, never predicted
    for order in range(1, ORDER + 1):
        yield ngram_N
        longer_N = np.zeros_like(ngram_N)
        longer_N[order:] = symbols_N[:-order]
        inside_N = (ngram_N > 0) & (ngram_N >> BITS * (order - 1) != BEGIN)
        ngram_N = np.where(inside_N, ngram_N + (longer_N << BITS * order), 0)


def _last_symbols(ngrams_M: np.ndarray, count: int) -> np.ndarray:
    """Return the n-grams of the last *count* symbols of n-grams."""
    return ngrams_M & ((1 << BITS * count) - 1)


def _estimate_orders(
    symbols_N: np.ndarray,
    starts_W: np.ndarray,
    weight_W: np.ndarray,
    uniform: float,
) -> list[Order]:
    """Estimate p of every n-gram of some words and γ of its context, by interpolated smoothing.

    Args:
        weight_W: How often each word counts.
    """
    weight_N = np.repeat(weight_W, np.diff(np.append(starts_W, len(symbols_N))))
    counted = []
    for ngram_N in _ngrams(symbols_N, starts_W):
        inside_N = ngram_N > 0
        ngrams_M, row_N = np.unique(ngram_N[inside_N], return_inverse=True)
        count_M = np.bincount(row_N, weight_N[inside_N], len(ngrams_M)).astype(np.int64)
        counted.append((ngrams_M, count_M))

    orders: list[Order] = []
    for order, (ngrams_M, count_M) in enumerate(counted, start=1):
        if not len(ngrams_M):
            break

        # Below the highest order, the number of different symbols before; after a begin, where none is, the occurrences.
        if order < len(counted):
            longer, _ = counted[order]
            suffixes, before = np.unique(_last_symbols(longer, order), return_counts=True)
            count_M[np.searchsorted(ngrams_M, suffixes)] = before

        if orders:
            below = orders[-1]
            suffix_M = _last_symbols(ngrams_M, order - 1)
            below_M = below.p_M[np.searchsorted(below.ngrams_M, suffix_M)]
        else:
            below_M = np.full(len(ngrams_M), uniform)

        orders.append(_interpolate_order(ngrams_M, count_M, below_M))

    return orders


def _interpolate_order(
    ngrams_M: np.ndarray,
    count_M: np.ndarray,
    below_M: np.ndarray,
) -> Order:
    """Estimate one order from a(g) and p(c | h') of its n-grams, with sums of integers only: the same everywhere."""
    contexts_C, first_C, context_M = np.unique(
        ngrams_M >> BITS, return_index=True, return_inverse=True
    )
    discount = _discounts(count_M)
    level_M = np.minimum(count_M, len(discount) - 1)
    total_C = np.add.reduceat(count_M, first_C)
    counts = [
        np.add.reduceat((level_M == level).astype(np.int64), first_C)
        for level in range(len(discount))
    ]
    taken_C = sum(d * count_C for d, count_C in zip(discount, counts, strict=True))
    gamma_C = taken_C / total_C
    p_M = (count_M - np.array(discount)[level_M]) / total_C[context_M] + gamma_C[
        context_M
    ] * below_M
    return Order(ngrams_M, p_M, contexts_C, gamma_C)


def _discounts(count_M: np.ndarray) -> tuple[float, ...]:
    """Return D(0) = 0, D1, D2, D3+ of the counts of an order: Chen and Goodman (1999), equation 26."""
    n = np.bincount(np.minimum(count_M, 5), minlength=6).tolist()
    if all(n[1:4]):
        y = n[1] / (n[1] + 2 * n[2])
        estimates = [j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]
        if all(0 < d <= j for j, d in enumerate(estimates, start=1)):
            return 0.0, *estimates
    return 0.0, *FALLBACK
