"""Measure the n-gram overlap of held-out texts with training texts, on workers that hold both.

The result is that of `coverage.coverage`, which also explains the method: texts are compared by their *runs* of `SPAN`
words, as 64-bit fingerprints. This process only passes references between tasks of the workers. First they count in
the training texts how often the runs of the held-out texts occur there; the few runs that occur there, and are no stock
phrases, are then compared text by text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from reviewlm.corpus.duplicates.coverage import (
    MOST_KEPT,
    SPAN,
    STOCK,
    Runs,
    RunTable,
    look_up_runs,
    mark_sources,
    of_portion,
    portions_of,
    words_of,
)
from reviewlm.corpus.duplicates.shingles import Fingerprints, Forms, chosen_forms
from reviewlm.models.dataflow import Dataflow

FormsPart = tuple[Any, np.ndarray]
"""Some texts: a reference to their word forms on a worker, and a mask of the texts that are meant."""
Portion = tuple[int, int]
"""The runs that are counted in one pass: number of the pass, and number of all passes."""
COUNT_BITS = 15
"""Mask of the four bits of a table entry that hold a count (`kernels.place_of_run`)."""
TASKS_PER_WORKER = 2


def coverage_on_nodes(
    engine: Dataflow,
    held_out: Sequence[FormsPart],
    learnt: Sequence[FormsPart],
) -> np.ndarray:
    """Return the coverage (D,) of the held-out texts by the training texts, as `coverage.coverage` does.

    Args:
        engine: Has the workers.
        held_out: The held-out texts.
        learnt: The training texts.
    """
    rare = _find_rare_runs(engine, held_out, learnt)
    shares = []
    waiting: list[Any] = []
    count = 0
    for part, runs_of_part in zip(rare, engine.fetch(part[1] for part in rare), strict=True):
        waiting.append(part[0])
        count += runs_of_part
        if count > MOST_KEPT:
            shares.append(_measure(engine, waiting, learnt))
            waiting = []
            count = 0

    shares.append(_measure(engine, waiting, learnt))
    return np.concatenate(list(engine.fetch(shares)))


def _measure(
    engine: Dataflow,
    rare: Sequence[Any],
    learnt: Sequence[FormsPart],
) -> Any:
    """Return a reference to the coverage of some held-out texts, given references to their rare runs."""
    table = engine.submit(_join_runs, *rare)[0]
    marks = [engine.submit(_mark_sources, table, *part)[0] for part in learnt]
    return engine.submit(_cover, table, *marks)[0]


def _find_rare_runs(
    engine: Dataflow,
    held_out: Sequence[FormsPart],
    learnt: Sequence[FormsPart],
) -> list[list[Any]]:
    """Return, for each part of the held-out texts, references to its rare runs and to their number.

    A rare run occurs in the training texts, and at most `STOCK` times: it is no stock phrase.
    """
    hashed = [engine.submit(_hash_held_out, *part, results=2) for part in held_out]
    words = sum(engine.fetch(part[1] for part in hashed))
    size, portions = portions_of(words)
    marks: list[list[Any]] = [[] for _ in held_out]
    for number in range(portions):
        portion = number, portions
        table = engine.submit(_add_runs, size, portion, *(part[0] for part in hashed))[0]
        counts = []
        for group in _in_groups(learnt, TASKS_PER_WORKER * engine.workers()):
            masks = [mask for _, mask in group]
            forms = [texts for texts, _ in group]
            counts.append(
                engine.submit(
                    _count_runs,
                    table,
                    portion,
                    masks,
                    *forms,
                )[0]
            )

        counted = engine.submit(_sum_counts, table, *counts)[0]
        for place, part in enumerate(hashed):
            marks[place] += engine.submit(_mark_rare, counted, portion, part[0])

    rare = []
    for marks_of_part, part in zip(marks, hashed, strict=True):
        rare.append(engine.submit(_keep_rare, part[0], *marks_of_part, results=2))
    return rare


def _in_groups(parts: Sequence[FormsPart], count: int) -> Iterator[Sequence[FormsPart]]:
    """Yield the parts in at most *count* groups."""
    size = max(1, -(-len(parts) // count))
    for start in range(0, len(parts), size):
        yield parts[start : start + size]


def _hash_runs(forms: Forms, chosen: np.ndarray) -> Iterator[Forms]:
    """Yield the runs of the chosen texts as fingerprints, and the offsets of the texts in these."""
    fingerprints = Fingerprints(SPAN, short=False)
    for texts in chosen_forms(*forms, chosen):
        yield fingerprints.of(*texts)


# The functions below run on the workers.


def _hash_held_out(forms: Forms, chosen: np.ndarray) -> tuple[Forms, int]:
    """Return all runs of the chosen texts, and the number of their words."""
    hashed = list(_hash_runs(forms, chosen))
    values = np.concatenate([np.zeros(0, np.uint64), *(part for part, _ in hashed)])
    counts = np.concatenate([np.zeros(0, np.int64), *(np.diff(ends) for _, ends in hashed)])
    words = sum(words_of(*texts) for texts in chosen_forms(*forms, chosen))
    return (values, np.concatenate([[0], np.cumsum(counts)])), words


def _add_runs(size: int, portion: Portion, *held_out: Forms) -> list[np.ndarray]:
    """Return a hash table with the held-out runs of a portion."""
    # Here, because numba's import takes half a second.
    from reviewlm.corpus.duplicates import kernels

    table = np.zeros(size, np.uint32)
    for values, _ in held_out:
        kernels.add_runs(values[of_portion(values, *portion)], table)
    return [table]


def _count_runs(
    table: np.ndarray,
    portion: Portion,
    masks: list[np.ndarray],
    *learnt: Forms,
) -> list[np.ndarray]:
    """Return how often each run of the table occurs in some training texts."""
    # Here, because numba's import takes half a second.
    from reviewlm.corpus.duplicates import kernels

    counted = table.copy()
    for forms, mask in zip(learnt, masks, strict=True):
        for values, _ in _hash_runs(forms, mask):
            kernels.count_runs(values[of_portion(values, *portion)], STOCK, counted)
    return [((counted - table) & np.uint32(COUNT_BITS)).astype(np.uint8)]


def _sum_counts(table: np.ndarray, *counts: np.ndarray) -> list[np.ndarray]:
    """Return the table with the counts of all training texts, each at most one more than `STOCK`."""
    total = np.zeros(len(table), np.uint32)
    for count in counts:
        total = np.minimum(total + count, np.uint32(STOCK + 1))
    return [table + total]


def _mark_rare(
    table: np.ndarray,
    portion: Portion,
    held_out: Forms,
) -> list[np.ndarray]:
    """Return a mask of the rare runs among the held-out ones, as packed bits."""
    # Here, because numba's import takes half a second.
    from reviewlm.corpus.duplicates import kernels

    values = held_out[0]
    rare = of_portion(values, *portion)
    kernels.mark_rare(values, STOCK, table, rare)
    return [np.packbits(rare)]


def _keep_rare(held_out: Forms, *marks: np.ndarray) -> tuple[Runs, int]:
    """Return the rare runs, which the masks of all portions mark, and their number."""
    values, offsets = held_out
    packed = np.bitwise_or.reduce(np.stack(marks))
    place = np.flatnonzero(np.unpackbits(packed, count=len(values)))
    return Runs(values[place], place, offsets), len(place)


def _join_runs(*parts: Runs) -> list[RunTable]:
    """Return one table with the runs of several parts."""
    return [RunTable.of(parts)]


def _mark_sources(
    table: RunTable,
    forms: Forms,
    chosen: np.ndarray,
) -> list[np.ndarray]:
    """Return a mask of the runs that count because of the chosen training texts, as packed bits."""
    if not len(table.fingerprints):
        return [np.zeros(0, np.uint8)]
    look_up = look_up_runs(table.fingerprints)
    shared = (look_up(texts) for texts in chosen_forms(*forms, chosen))
    return [np.packbits(mark_sources(shared, table.fingerprints, table.texts))]


def _cover(table: RunTable, *marks: np.ndarray) -> list[np.ndarray]:
    """Return the coverage of the held-out texts: the share of their words in runs that any mask has."""
    covered = np.zeros(len(table.fingerprints), bool)
    for packed in marks:
        covered |= np.unpackbits(packed, count=len(covered)).view(bool)
    return [table.coverage(covered)]
