"""Measure coverage: the share of the words of a held-out text that stands in training texts.

A passage that was posted again inside a new text makes the two neither equal nor nearly equal, but a model that has
learnt the one predicts the passage in the other. Two texts share a *run* if `SPAN` words in a row are the same in both.
Chance makes people write the same eight words ("this is one of the best places in"), so a shared run counts only if

* it occurs at most `STOCK` times in all training texts, and
* its training text shares `PASSAGE` words with the held-out text, which lie in such runs, anywhere and in any order.

Coverage is the share of a held-out text's words that lie in runs that count. It depends on that text and the training
texts alone. Half of a text inside a longer one covers half of it, wherever the half stands. Where every tenth word is
changed, nine in ten are covered. A paraphrase, and a copy without eight equal words in a row, are not found.

The training texts are streamed, and never kept. The first pass counts in them the runs of the held-out texts, by 28
bits of a hash and a place of a table, so a run is taken for another about once in 2^28. Few runs remain (1 in 200 of
the Chicago crawl), and the second pass compares them by 64 bits. Memory: 9 to 18 bytes for each run of a held-out text,
at most 640 MiB, because more runs are counted in several passes. Then 40 bytes for each of the runs that remain,
`MOST_KEPT` at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from corpus.duplicates.exact import NameIndex
from corpus.duplicates.shingles import Fingerprints, Forms
from models.threads import ordered

SPAN = 8
"""Words in a run."""

PASSAGE = 16
"""Words that a training text shares with a held-out text, in runs, before these count: two runs."""

STOCK = 8
"""Runs that occur more often in the training texts are stock phrases; at most 13, because a count has four bits."""

MOST_RUNS = (1 << 26) - 1
"""Runs of held-out texts that are counted in one pass."""

MOST_KEPT = 1 << 23
"""Runs of held-out texts, and a few more, that are compared in one pass."""

Stream = Callable[[], Iterable[Forms]]
"""Returns texts in word form, some at a time, from the first one on."""


def coverage(held_out: Stream, learnt: Stream, threads: int = 1) -> np.ndarray:
    """Return the coverage (D,) of each held-out text by the training texts, from 0 to 1.

    Args:
        held_out: Called several times; returns the same D texts each time.
        learnt: Called at least twice; the training texts.
        threads: Number of threads; they do not change the result.
    """
    shares, waiting, kept = [np.zeros(0)], list[_Runs](), 0
    rare = _rare_runs(held_out, learnt, threads)
    for (values, offsets), packed in zip(_hashed(held_out, threads), rare, strict=True):
        place = np.flatnonzero(np.unpackbits(packed, count=len(values)))
        waiting.append(_Runs(values[place], place, offsets))
        kept += len(place)
        if kept > MOST_KEPT:
            shares.append(_covered(waiting, learnt, threads))
            waiting, kept = [], 0
    return np.concatenate([*shares, _covered(waiting, learnt, threads)])


class _Runs(NamedTuple):
    """Some of the runs of texts: fingerprints, places among all runs, and offsets (D + 1,) of the texts in these."""

    names: np.ndarray
    places: np.ndarray
    offsets: np.ndarray


def _hashed(stream: Stream, threads: int) -> Iterator[Forms]:
    """Yield the runs of texts as fingerprints, and the offsets of the texts in these."""
    fingerprints = Fingerprints(SPAN, short=False)
    return ordered(lambda forms: fingerprints.of(*forms), stream(), threads)


class _Filter:
    """A filter that some values pass, and at most an eighth of all others: at least 8 bits for each of the former."""

    def __init__(self, size: int) -> None:
        self._bits_W = np.zeros(1 << (size // 8).bit_length(), np.uint64)

    def add(self, values: np.ndarray) -> None:
        """Let these values pass."""
        from corpus.duplicates import kernels  # here, because numba's import takes half a second

        kernels.set_bits(values, self._bits_W)

    def places(self, values: np.ndarray) -> np.ndarray:
        """Return the places of the values that pass."""
        from corpus.duplicates import kernels  # here, because numba's import takes half a second

        place_S = np.empty(len(values) + 1, np.int64)
        return place_S[: kernels.with_bit(values, self._bits_W, place_S)]


def _rare_runs(held_out: Stream, learnt: Stream, threads: int) -> list[np.ndarray]:
    """Return, as packed bits for each item of *held_out*, which runs occur in train and are no stock phrases."""
    from corpus.duplicates import kernels  # here, because numba's import takes half a second

    words = [int(np.count_nonzero(data == ord(" "))) + len(offsets) for data, offsets in held_out()]
    portions = max(1, -(-sum(words) // MOST_RUNS))  # a text has fewer runs than words
    size, rare = sum(words) // portions, list[np.ndarray]()
    for portion in range(portions):
        table, known = np.zeros(1 << (2 * size).bit_length(), np.uint32), _Filter(size)
        for values, _ in _hashed(held_out, threads):
            own = values[_of_portion(values, portion, portions)]
            kernels.add_runs(own, table)
            known.add(own)
        for values, _ in _hashed(learnt, threads):
            own = values[known.places(values)]
            kernels.count_runs(own[_of_portion(own, portion, portions)], STOCK, table)
        for item, (values, _) in enumerate(_hashed(held_out, threads)):
            rare_S = _of_portion(values, portion, portions)
            kernels.mark_rare(values, STOCK, table, rare_S)
            if portion:
                rare[item] |= np.packbits(rare_S)
            else:
                rare.append(np.packbits(rare_S))
    return rare


def _of_portion(values: np.ndarray, portion: int, portions: int) -> np.ndarray:
    """Return a mask of the runs that belong to a portion of all runs."""
    return values % np.uint64(portions) == portion if portions > 1 else np.ones(len(values), bool)


def _covered(parts: Sequence[_Runs], learnt: Stream, threads: int) -> np.ndarray:
    """Return the coverage (D,) of some texts.

    Args:
        parts: Of stretches of these texts, the runs that may count.
    """
    counts_D = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.offsets) for part in parts)])
    starts = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    names = np.concatenate([np.zeros(0, np.uint64), *(part.names for part in parts)])
    places = np.concatenate([starts[:0], *(part.places + start for part, start in zip(parts, starts, strict=False))])
    texts = np.searchsorted(np.cumsum(counts_D), places, side="right")
    covered = _in_sources(names, texts, learnt, threads) if len(names) else np.zeros(0, bool)
    texts, places = texts[covered], places[covered]
    words = np.full(len(texts), SPAN)
    words[:-1] = np.where(texts[1:] == texts[:-1], np.minimum(SPAN, places[1:] - places[:-1]), SPAN)
    return np.bincount(texts, words, len(counts_D)) / (counts_D + SPAN - 1)


def _in_sources(names: np.ndarray, texts: np.ndarray, learnt: Stream, threads: int) -> np.ndarray:
    """Return which runs (P,) of held-out texts a text shares with a training text of which it shares `PASSAGE` words.

    Args:
        names: Fingerprints of the runs.
        texts: Number of the held-out text of each, ascending.
    """
    from corpus.duplicates import kernels  # here, because numba's import takes half a second

    order = np.argsort(names, kind="stable")
    names, texts_P = names[order], texts[order]
    index, known, fingerprints = NameIndex(names), _Filter(len(names)), Fingerprints(SPAN, short=False)
    known.add(names)

    def looked_up(forms: Forms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, offsets = fingerprints.of(*forms)
        place = known.places(values)
        first = index.find(values[place])
        place, first = place[first >= 0], first[first >= 0]
        bounds = np.searchsorted(place, offsets)
        return first, place - np.repeat(offsets[:-1], np.diff(bounds)), bounds

    covered = np.zeros(len(names), bool)
    space = np.zeros((3, int(texts[-1]) + 1), np.int64)
    for shared in ordered(looked_up, learnt(), threads):
        kernels.mark_sources(*shared, names, texts_P, SPAN, PASSAGE, *space, covered)
    result = np.empty_like(covered)
    result[order] = covered
    return result
