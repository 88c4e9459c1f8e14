"""Measure the n-gram overlap of held-out texts with training texts: the share of words in 5-grams of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from reviewlm.corpus.duplicates.exact import FingerprintIndex
from reviewlm.corpus.duplicates.shingles import Fingerprints, Forms
from reviewlm.models.threads import map_in_order

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
Stream = Callable[[], Iterable[Forms]]
"""Returns texts in word form, some at a time, from the first one on."""
Shared = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Where the runs of some texts stand first among those looked for, where they begin in their text, in words, and the
offsets of the texts in these."""


def coverage(
    held_out: Stream,
    learnt: Stream,
    threads: int = 1,
) -> np.ndarray:
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
    waiting: list[Runs] = []
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

    fingerprints: np.ndarray
    places: np.ndarray
    offsets: np.ndarray


def _hash_runs(stream: Stream, threads: int) -> Iterator[Forms]:
    """Yield the runs of texts as fingerprints, and the offsets of the texts in these."""
    fingerprints = Fingerprints(SPAN, short=False)
    return map_in_order(lambda forms: fingerprints.of(*forms), stream(), threads)


def _rare_runs(
    held_out: Stream,
    learnt: Stream,
    threads: int,
) -> list[np.ndarray]:
    """Return, as packed bits for each item of *held_out*, which runs occur in train and are no stock phrases."""
    # Here, because numba's import takes half a second.
    from reviewlm.corpus.duplicates import kernels

    size, portions = portions_of(sum(words_of(*forms) for forms in held_out()))
    rare: list[np.ndarray] = []
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


def of_portion(
    values: np.ndarray,
    portion: int,
    portions: int,
) -> np.ndarray:
    """Return a mask of the runs that belong to a portion of all runs."""
    if portions > 1:
        return values % np.uint64(portions) == portion
    return np.ones(len(values), bool)


class RunTable(NamedTuple):
    """The runs (P,) of texts (D,) that may count.

    Attributes:
        fingerprints: One of each run, ascending.
        texts: Number of the text of each of these.
        order: Where each of these is in the order of the texts.
        places: Where each run begins among all runs, in the order of the texts.
        counts: Number of all runs of each text (D,).
    """

    fingerprints: np.ndarray
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
        of_parts = (part.fingerprints for part in parts)
        fingerprints = np.concatenate([np.zeros(0, np.uint64), *of_parts])
        moved = (part.places + start for part, start in zip(parts, starts, strict=False))
        places = np.concatenate([none, *moved])
        texts = np.searchsorted(np.cumsum(counts_D), places, side="right")
        order = np.argsort(fingerprints, kind="stable")
        return cls(
            fingerprints[order],
            texts[order],
            order,
            places,
            counts_D,
        )

    def coverage(self, covered: np.ndarray) -> np.ndarray:
        """Return the coverage (D,) of the texts, from a mask of the *fingerprints* that count."""
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


def _coverage(
    parts: Sequence[Runs],
    learnt: Stream,
    threads: int,
) -> np.ndarray:
    """Return the coverage (D,) of some texts, of whose stretches the runs are given that may count."""
    table = RunTable.of(parts)
    covered = np.zeros(len(table.fingerprints), bool)
    if len(table.fingerprints):
        covered = _in_sources(table.fingerprints, table.texts, learnt, threads)
    return table.coverage(covered)


def _in_sources(
    fingerprints: np.ndarray,
    texts: np.ndarray,
    learnt: Stream,
    threads: int,
) -> np.ndarray:
    """Return which runs (P,) of held-out texts a text shares with a training text of which it shares `PASSAGE` words.

    Args:
        fingerprints: One of each run, ascending.
        texts: Number of the held-out text of each.
    """
    shared = map_in_order(look_up_runs(fingerprints), learnt(), threads)
    return mark_sources(shared, fingerprints, texts)


def look_up_runs(fingerprints: np.ndarray) -> Callable[[Forms], Shared]:
    """Return a function that finds which runs of texts are among some fingerprints (P,), which ascend."""
    index = FingerprintIndex(fingerprints)
    runs = Fingerprints(SPAN, short=False)

    def look_up(forms: Forms) -> Shared:
        values, offsets = runs.of(*forms)
        first = index.find(values)
        place = np.flatnonzero(first >= 0)
        first = first[place]
        bounds = np.searchsorted(place, offsets)
        return first, place - np.repeat(offsets[:-1], np.diff(bounds)), bounds

    return look_up


def mark_sources(
    shared: Iterable[Shared],
    fingerprints: np.ndarray,
    texts: np.ndarray,
) -> np.ndarray:
    """Return which runs (P,) count, by what training texts share with them; see `_in_sources`."""
    # Here, because numba's import takes half a second.
    from reviewlm.corpus.duplicates import kernels

    covered = np.zeros(len(fingerprints), bool)
    space = np.zeros((3, int(texts.max(initial=-1)) + 1), np.int64)
    for some in shared:
        kernels.mark_sources(
            *some,
            fingerprints,
            texts,
            SPAN,
            PASSAGE,
            *space,
            covered,
        )
    return covered
