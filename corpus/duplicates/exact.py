"""Choose which reviews to drop: exact and near duplicates, and held-out reviews that training text covers.

Reviews have their numbers in the final order, in which the splits follow one another by priority. Of two equal texts
the one with the lower number is kept. Memory: 5 bytes per review, and during the search for equal texts 28.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from reviewlm.corpus.duplicates.shingles import Fingerprints, Forms
from reviewlm.corpus.splitting.split import SPLITS
from reviewlm.models.threads import map_in_order

REASONS = (
    "of_test",
    "of_validation",
    "of_train",
    "near_test",
    "near_validation",
    "covered",
    "learnt",
    "crowd",
)
"""Reasons to drop a review: that split has the same text, or nearly the same; passages of train, or of data that start
weights have learnt from, cover the text; it is one of a crowd of copies. The code is 1 + the position here."""

STAYS = 0
OF_TEST = 1
OF_TRAIN = 3
NEAR_TEST = 4
NEAR_VALIDATION = 5
COVERED = 6
LEARNT = 7
CROWD = 8
TEST, VALIDATION, TRAIN = range(len(SPLITS))
LEAVES = {
    "test": ("covered", "crowd"),
    "validation": ("of_test", "near_test", "covered", "crowd"),
    "train": (*REASONS[:5], "crowd"),
}
"""Reasons in each split to which data without a past can lead."""
SPAN = 5
"""Words in a run."""
PASSAGE = 16
"""Words that a training text shares with a held-out text, in runs, before these count: more than three runs."""
STOCK = 8
"""Runs that occur more often in the training texts are stock phrases; at most 13, because a count has four bits."""
MOST_RUNS = (1 << 26) - 1
"""Runs of held-out texts that are counted in one pass."""
MOST_KEPT = 1 << 23
"""Runs of held-out texts, and a few more, that are compared in one pass."""


def hash_texts(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the first 16 bytes of each text's SHA-256 as two columns, text_high and text_low (UInt64)."""
    sha256 = hashlib.sha256
    joined = b"".join(
        [sha256(text).digest() for text in texts.cast(pl.Binary).to_list()]
    )  # bytes: nothing to encode
    halves = np.frombuffer(joined, dtype=">u8").reshape(-1, 4)[:, :2].astype(np.uint64)
    return pl.Series("text_high", halves[:, 0]), pl.Series("text_low", halves[:, 1])


def cut_ranges(hashes: np.ndarray, ranges: int) -> list[np.ndarray]:
    """Return where the hashes of each of some ranges stand, ascending; at most 65,536 ranges of equal width."""
    half = np.uint64(32)
    range_N = ((hashes >> half) * np.uint64(ranges) >> half).astype(np.uint16)
    ends = np.cumsum(np.bincount(range_N, minlength=ranges))
    return np.split(np.argsort(range_N, kind="stable"), ends[:-1])


class NameIndex:
    """Look up where each of some names (N,) is first, in a hash table of at most 12 bytes per name, made once."""

    def __init__(self, names: np.ndarray) -> None:
        self._names = names
        self._table = _first_equal(names, names)[1]

    def find(self, names: np.ndarray) -> np.ndarray:
        """Return where each wanted name is first, as int64; -1: nowhere."""
        from reviewlm.corpus.duplicates import (
            kernels,  # here, because numba's import takes half a second
        )

        place = np.empty(len(names), np.int64)
        kernels.places_of(names, self._names, self._table, place)
        return place


def distinct(values: np.ndarray) -> np.ndarray:
    """Return the different values, ascending: `np.unique`, which takes twenty times as long among many numbers."""
    values = np.sort(values)
    new = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return values[new]


def first_equal(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Return where each text's hash, of two halves, is first (N,) UInt32."""
    return _first_equal(high, low)[0]


def _first_equal(high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each name, of two halves, is first (N,) UInt32, and the hash table; see `kernels.first_equal`."""
    from reviewlm.corpus.duplicates import (
        kernels,  # here, because numba's import takes half a second
    )

    first = np.empty(len(high), np.uint32)
    table = np.zeros(1 << (len(high) * 3 // 2).bit_length(), np.uint32)
    kernels.first_equal(high, low, table, first)
    return first, table


class Families(NamedTuple):
    """Reviews that repeat each other, directly or by a chain.

    Args:
        members: Numbers (M,) UInt32 of the reviews that repeat another one, ascending.
        numbers: Number (M,) UInt32 of the family of each.
    """

    members: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(cls, edges: np.ndarray) -> Families:
        """Return the families of pairs (2, P) of reviews that repeat each other."""
        members, place = np.unique(edges, return_inverse=True)
        if not len(members):
            return cls(np.zeros(0, np.uint32), np.zeros(0, np.uint32))

        from scipy.sparse import coo_array  # here, because the import takes a third of a second
        from scipy.sparse.csgraph import connected_components

        left, right = place.reshape(edges.shape)
        graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(members),) * 2)
        numbers = connected_components(graph, directed=False)[1]
        return cls(members.astype(np.uint32), numbers.astype(np.uint32))


class ExactDuplicates:
    """The reviews to keep and to drop, in the order of the splits.

    Test and validation keep repeats within the split, because they are samples of real reviews. Validation loses the
    texts of test. Train loses the texts of both, and keeps only the first of equal texts within train.

    Args:
        first: The number (N,) UInt32 of the first review with the same text, in the final order.
        bounds: The numbers of the first review of the validation and of the train split.
    """

    def __init__(self, first: np.ndarray, bounds: tuple[int, int]) -> None:
        self.bounds = bounds
        self.first = first
        numbers = np.arange(len(first), dtype=np.uint32)
        ranks = self.ranks(numbers)
        best = self.ranks(self.first)
        self.code = np.where(ranks > best, np.uint8(OF_TEST) + best, np.uint8(STAYS))
        """The reason to drop each review (N,) UInt8: 0 for a kept one, otherwise 1 + the position in `REASONS`."""
        self.code[(best == TRAIN) & (self.first != numbers)] = OF_TRAIN
        self._near = np.zeros((2, 0), np.uint32)

    def ranks(self, numbers: np.ndarray) -> np.ndarray:
        """Return the split (UInt8, a position in `SPLITS`) of each review, given by its number."""
        validation, train = (numbers >= numbers.dtype.type(bound) for bound in self.bounds)
        return validation.view(np.uint8) + train.view(np.uint8)

    def distinct(self, start: int, stop: int) -> np.ndarray:
        """Return a mask of the reviews from *start* to *stop* that are the first with their text."""
        return self.first[start:stop] == np.arange(start, stop, dtype=np.uint32)

    def drop_near(self, pairs: pl.DataFrame) -> None:
        """Drop the review in the later split of each pair, with all reviews that have the same text.

        Pairs decide, not chains of pairs. If a test text is near to one train text, and that one to a second train
        text, only the first train text is dropped. A train text is kept if the validation text near to it is itself
        dropped because of test. The promise is that no near-duplicate pair is in two splits.

        Args:
            pairs: Columns a < b (UInt64), numbers of reviews chosen by `distinct`; pairs within a split are only
                counted.
        """
        self._near = a, b = np.stack(
            [pairs[name].to_numpy().astype(np.uint32) for name in ("a", "b")]
        )
        rank_a = self.ranks(a)
        rank_b = self.ranks(b)
        self.code[b[(rank_a == TEST) & (rank_b > TEST)]] = NEAR_TEST
        across = (rank_a == VALIDATION) & (rank_b == TRAIN)
        both_stay = (self.code[a] == STAYS) & (self.code[b] == STAYS)
        self.code[b[across & both_stay]] = NEAR_VALIDATION
        self._follow_first()

    def drop(self, numbers: np.ndarray, code: int) -> None:
        """Drop reviews chosen by `distinct`, with all reviews that have the same text."""
        self.code[numbers] = code
        self._follow_first()

    def _follow_first(self) -> None:
        """Drop the other reviews with the same text as a dropped first one."""
        inherited = self.code[self.first]
        follows = (self.code == STAYS) & (inherited >= NEAR_TEST)
        self.code[follows] = inherited[follows]

    @property
    def near_pairs(self) -> int:
        """Number of pairs of near-duplicates."""
        return self._near.shape[1]

    def _within(self) -> np.ndarray:
        """Return the near-duplicates (2, P) within one split that stay."""
        staying = (self.code[self._near] == STAYS).all(axis=0)
        return self._near[:, staying & (self.ranks(self._near[0]) == self.ranks(self._near[1]))]

    def families(self) -> Families:
        """Return the reviews of all splits that repeat each other, dropped or not, directly or by a chain."""
        exact = np.flatnonzero(self.first != np.arange(len(self.first))).astype(np.uint32)
        return Families.of(
            np.concatenate([np.stack([exact, self.first[exact]]), self._near], axis=1)
        )

    def copies(self) -> pl.DataFrame:
        """Return the kept reviews that repeat each other in one split, exactly or nearly, directly or by a chain.

        They are not independent evidence about the quality of models (`evaluation/statistics/groups.py`).

        Returns:
            split, row (position of the review among the kept reviews of all splits) and group (UInt32), ascending by
            row. A review that repeats no other is left out.
        """
        repeats = self.first != np.arange(len(self.first))
        exact = np.flatnonzero((self.code == STAYS) & repeats).astype(np.uint32)
        exact = exact[self.ranks(exact) == self.ranks(self.first[exact])]
        edges = np.concatenate([np.stack([exact, self.first[exact]]), self._within()], axis=1)
        families = Families.of(edges)
        row = np.cumsum(self.code == STAYS)[families.members] - 1
        names = pl.Series(SPLITS)[self.ranks(families.members)]
        return pl.DataFrame(
            {"split": names, "row": row.astype(np.uint32), "group": families.numbers}
        )

    def near_within(self) -> dict[str, int]:
        """Return the number of kept reviews of each split that have a near-duplicate there."""
        marked = np.zeros(len(self.code), dtype=bool)
        marked[self._within()] = True
        staying = marked[self.first] & (self.code == STAYS)
        return {name: int(staying[self._side(rank)].sum()) for rank, name in enumerate(SPLITS)}

    def _side(self, rank: int) -> slice:
        edges = (0, *self.bounds, len(self.code))
        return slice(edges[rank], edges[rank + 1])

    def left(self) -> dict[str, dict[str, int]]:
        """Return the number of dropped reviews of each split, by reason."""
        numbers: dict[str, dict[str, int]] = {}
        for name, reasons in LEAVES.items():
            numbers[name] = {}
            for reason in reasons:
                numbers[name][reason] = self.count_dropped(name, 1 + REASONS.index(reason))

        return numbers

    def count_dropped(self, split: str, code: int) -> int:
        """Return the number of reviews of a split that are dropped for one reason."""
        return int((self.code[self._side(SPLITS.index(split))] == code).sum())

    def kept(self) -> dict[str, int]:
        """Return the number of kept reviews of each split."""
        return {
            name: int((self.code[self._side(rank)] == STAYS).sum())
            for rank, name in enumerate(SPLITS)
        }


Stream = Callable[[], Iterable[Forms]]
"""Returns texts in word form, some at a time, from the first one on."""


def coverage(held_out: Stream, learnt: Stream, threads: int = 1) -> np.ndarray:
    """Return the coverage (D,) of each held-out text by the training texts, from 0 to 1.

    Coverage is the share of the words of a held-out text that stands in training texts. A passage that was posted
    again inside a new text makes the two neither equal nor nearly equal, but a model that has learnt the one
    predicts the passage in the other. Two texts share a *run* if `SPAN` words in a row are the same in both. Chance
    makes people write the same five words ("one of the best places"), so a shared run counts only if

    * it occurs at most `STOCK` times in all training texts, and
    * its training text shares `PASSAGE` words with the held-out text, which lie in such runs, anywhere and in any order.

    Coverage is the share of a held-out text's words that lie in runs that count. It depends on that text and the
    training texts alone. Half of a text inside a longer one covers half of it, wherever the half stands. Where
    every sixth word is changed, five in six are covered. A paraphrase, and a copy without five equal words in a
    row, are not found.

    Runs of eight words find no copy in which every seventh word is changed. Runs of five find all of 100 with every
    sixth changed, 97 of 100 with 15 % of the words changed at random (79 with runs of eight), and no more by
    mistake: among the 20,000 held-out reviews of the Chicago crawl 12 instead of 8 have a tenth or more of their
    words covered, none has 45 %. Runs of four lose 4 of 100 halves, because more of their words are in stock
    phrases; runs of five lose one.

    The training texts are streamed, and never kept. The first pass counts in them the runs of the held-out texts,
    by 28 bits of a hash and a place of a table, so a run is taken for another about once in 2^28. Few runs remain
    (1 in 11 of the Chicago crawl), and the second pass compares them by 64 bits. Memory: 8 to 16 bytes for each run
    of a held-out text, at most 512 MiB, because more runs are counted in several passes. Then 40 bytes for each of
    the runs that remain, `MOST_KEPT` at a time.

    Args:
        held_out: Called several times; returns the same D texts each time.
        learnt: Called at least twice; the training texts.
        threads: Number of threads; they do not change the result.
    """
    shares = [np.zeros(0)]
    waiting = list[Runs]()
    runs = 0
    rare = _rare_runs(held_out, learnt, threads)
    for (values, offsets), packed in zip(_hash_runs(held_out, threads), rare, strict=True):
        place = np.flatnonzero(np.unpackbits(packed, count=len(values)))
        waiting.append(Runs(values[place], place, offsets))
        runs += len(place)
        if runs > MOST_KEPT:
            shares.append(_coverage(waiting, learnt, threads))
            waiting = []
            runs = 0

    return np.concatenate([*shares, _coverage(waiting, learnt, threads)])


class Runs(NamedTuple):
    """Some of the runs of texts: fingerprints, places among all runs, and offsets (D + 1,) of the texts in these."""

    names: np.ndarray
    places: np.ndarray
    offsets: np.ndarray


def _hash_runs(stream: Stream, threads: int) -> Iterator[Forms]:
    """Yield the runs of texts as fingerprints, and the offsets of the texts in these."""
    fingerprints = Fingerprints(SPAN, short=False)
    return map_in_order(lambda forms: fingerprints.of(*forms), stream(), threads)


def _rare_runs(held_out: Stream, learnt: Stream, threads: int) -> list[np.ndarray]:
    """Return, as packed bits for each item of *held_out*, which runs occur in train and are no stock phrases."""
    from reviewlm.corpus.duplicates import (
        kernels,  # here, because numba's import takes half a second
    )

    size, portions = portions_of(sum(words_of(*forms) for forms in held_out()))
    rare = list[np.ndarray]()
    for portion in range(portions):
        table = np.zeros(size, np.uint32)
        for values, _ in _hash_runs(held_out, threads):
            kernels.add_runs(values[of_portion(values, portion, portions)], table)
        for values, _ in _hash_runs(learnt, threads):
            kernels.count_runs(values[of_portion(values, portion, portions)], STOCK, table)
        for item, (values, _) in enumerate(_hash_runs(held_out, threads)):
            rare_S = of_portion(values, portion, portions)
            kernels.mark_rare(values, STOCK, table, rare_S)
            if portion:
                rare[item] |= np.packbits(rare_S)
            else:
                rare.append(np.packbits(rare_S))

    return rare


def words_of(data: np.ndarray, offsets: np.ndarray) -> int:
    """Return the number of words of some texts in word form, of which they have fewer runs."""
    return int(np.count_nonzero(data == ord(" "))) + len(offsets) - 1


def portions_of(words: int) -> tuple[int, int]:
    """Return the size of the table of runs of texts with so many words, and in how many portions these are counted."""
    portions = max(1, -(-words // MOST_RUNS))
    return 1 << (2 * (words // portions)).bit_length(), portions


def of_portion(values: np.ndarray, portion: int, portions: int) -> np.ndarray:
    """Return a mask of the runs that belong to a portion of all runs."""
    if portions > 1:
        return values % np.uint64(portions) == portion
    return np.ones(len(values), bool)


class RunTable(NamedTuple):
    """The runs (P,) of texts (D,) that may count.

    Attributes:
        names: Their fingerprints, ascending.
        texts: Number of the text of each of these.
        order: Where each of these is in the order of the texts.
        places: Where each run begins among all runs, in the order of the texts.
        counts: Number of all runs of each text (D,).
    """

    names: np.ndarray
    texts: np.ndarray
    order: np.ndarray
    places: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, parts: Sequence[Runs]) -> RunTable:
        """Return the table of stretches of texts, one after another."""
        none = np.zeros(0, np.int64)
        counts_D = np.concatenate([none, *(np.diff(part.offsets) for part in parts)])
        starts = np.cumsum([0, *(part.offsets[-1] for part in parts)])
        names = np.concatenate([np.zeros(0, np.uint64), *(part.names for part in parts)])
        moved = (part.places + start for part, start in zip(parts, starts, strict=False))
        places = np.concatenate([none, *moved])
        texts = np.searchsorted(np.cumsum(counts_D), places, side="right")
        order = np.argsort(names, kind="stable")
        return cls(names[order], texts[order], order, places, counts_D)

    def coverage(self, covered: np.ndarray) -> np.ndarray:
        """Return the coverage (D,) of the texts, from a mask of the *names* that count."""
        marked = np.empty(len(covered), bool)
        marked[self.order] = covered
        texts = np.empty_like(self.texts)
        texts[self.order] = self.texts
        texts = texts[marked]
        places = self.places[marked]
        words = np.full(len(texts), SPAN)
        to_next = np.minimum(SPAN, places[1:] - places[:-1])
        words[:-1] = np.where(texts[1:] == texts[:-1], to_next, SPAN)
        return np.bincount(texts, words, len(self.counts)) / (self.counts + SPAN - 1)


def _coverage(parts: Sequence[Runs], learnt: Stream, threads: int) -> np.ndarray:
    """Return the coverage (D,) of some texts, of whose stretches the runs are given that may count."""
    table = RunTable.of(parts)
    covered = np.zeros(len(table.names), bool)
    if len(table.names):
        covered = _in_sources(table.names, table.texts, learnt, threads)
    return table.coverage(covered)


def _in_sources(names: np.ndarray, texts: np.ndarray, learnt: Stream, threads: int) -> np.ndarray:
    """Return which runs (P,) of held-out texts a text shares with a training text of which it shares `PASSAGE` words.

    Args:
        names: Fingerprints of the runs, ascending.
        texts: Number of the held-out text of each.
    """
    shared = map_in_order(look_up_runs(names), learnt(), threads)
    return mark_sources(shared, names, texts)


Shared = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Where the runs of some texts stand first among those looked for, where they begin in their text, in words, and the
offsets of the texts in these."""


def look_up_runs(names: np.ndarray) -> Callable[[Forms], Shared]:
    """Return a function that finds which runs of texts are among some fingerprints (P,), which ascend."""
    index = NameIndex(names)
    fingerprints = Fingerprints(SPAN, short=False)

    def look_up(forms: Forms) -> Shared:
        values, offsets = fingerprints.of(*forms)
        first = index.find(values)
        place = np.flatnonzero(first >= 0)
        first = first[place]
        bounds = np.searchsorted(place, offsets)
        return first, place - np.repeat(offsets[:-1], np.diff(bounds)), bounds

    return look_up


def mark_sources(shared: Iterable[Shared], names: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Return which runs (P,) count, by what training texts share with them; see `_in_sources`."""
    from reviewlm.corpus.duplicates import (
        kernels,  # here, because numba's import takes half a second
    )

    covered = np.zeros(len(names), bool)
    space = np.zeros((3, int(texts.max(initial=-1)) + 1), np.int64)
    for some in shared:
        kernels.mark_sources(*some, names, texts, SPAN, PASSAGE, *space, covered)
    return covered
