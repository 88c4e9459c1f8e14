"""Measure how much of held-out texts stands in training texts, where workers hold both; see `exact.coverage`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from reviewlm.corpus.duplicates.exact import (
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
"""A reference to the word forms of some texts, and a mask of the chosen ones."""
COUNTED = 15
"""The bits of an entry of the table of runs that count (`kernels.place_of_run`)."""
PARTS_PER_WORKER = 2


def coverage_on_nodes(
    engine: Dataflow, held_out: Sequence[FormsPart], learnt: Sequence[FormsPart]
) -> np.ndarray:
    """Return the coverage (D,) of the held-out texts by the training texts, as `exact.coverage` does.

    Args:
        engine: Has the workers.
        held_out: The held-out texts.
        learnt: The training texts.
    """
    rare = _rare_runs(engine, held_out, learnt)
    shares = []
    waiting: list[Any] = []
    runs = 0
    for one, number in zip(rare, engine.fetch(one[1] for one in rare), strict=True):
        waiting.append(one[0])
        runs += number
        if runs > MOST_KEPT:
            shares.append(_coverage(engine, waiting, learnt))
            waiting = []
            runs = 0

    shares.append(_coverage(engine, waiting, learnt))
    return np.concatenate(list(engine.fetch(shares)))


def _coverage(engine: Dataflow, parts: Sequence[Any], learnt: Sequence[FormsPart]) -> Any:
    """Return a reference to the coverage of some texts, from references to their `Runs`."""
    table = engine.submit(_gather, *parts)[0]
    marks = [engine.submit(_mark_sources, table, *part)[0] for part in learnt]
    return engine.submit(_cover, table, *marks)[0]


def _rare_runs(
    engine: Dataflow, held_out: Sequence[FormsPart], learnt: Sequence[FormsPart]
) -> list[list[Any]]:
    """Return references to the `Runs` of each held-out part that may count, and to their number.

    They occur in train, and are no stock phrases.
    """
    hashed = [engine.submit(_hash_held_out, *part, results=2) for part in held_out]
    words = sum(engine.fetch(one[1] for one in hashed))
    size, portions = portions_of(words)
    marks: list[list[Any]] = [[] for _ in held_out]
    for portion in range(portions):
        rule = portion, portions
        table = engine.submit(_add_runs, size, rule, *(one[0] for one in hashed))[0]
        counts = []
        for some in _together(learnt, PARTS_PER_WORKER * engine.workers()):
            masks = [mask for _, mask in some]
            forms = [one for one, _ in some]
            counts.append(engine.submit(_count_runs, table, rule, masks, *forms)[0])

        counted = engine.submit(_sum_counts, table, *counts)[0]
        for place, one in enumerate(hashed):
            marks[place] += engine.submit(_mark_rare, counted, rule, one[0])

    rare = []
    for some, one in zip(marks, hashed, strict=True):
        rare.append(engine.submit(_keep_rare, one[0], *some, results=2))
    return rare


def _together(parts: Sequence[FormsPart], count: int) -> Iterator[Sequence[FormsPart]]:
    """Yield the parts in at most *count* groups."""
    size = max(1, -(-len(parts) // count))
    for start in range(0, len(parts), size):
        yield parts[start : start + size]


def _hash_runs(forms: Forms, chosen: np.ndarray) -> Iterator[Forms]:
    """Yield the runs of the chosen texts as fingerprints, and the offsets of the texts in these."""
    fingerprints = Fingerprints(SPAN, short=False)
    for some in chosen_forms(*forms, chosen):
        yield fingerprints.of(*some)


def _hash_held_out(forms: Forms, chosen: np.ndarray) -> tuple[Forms, int]:
    """Return all runs of the chosen texts, and the number of words; on a worker."""
    parts = list(_hash_runs(forms, chosen))
    values = np.concatenate([np.zeros(0, np.uint64), *(some for some, _ in parts)])
    counts = np.concatenate([np.zeros(0, np.int64), *(np.diff(ends) for _, ends in parts)])
    words = sum(words_of(*some) for some in chosen_forms(*forms, chosen))
    return (values, np.concatenate([[0], np.cumsum(counts)])), words


def _add_runs(size: int, rule: tuple[int, int], *held_out: Forms) -> list[np.ndarray]:
    """Return the table of the held-out runs of a portion; on a worker."""
    from reviewlm.corpus.duplicates import (
        kernels,  # here, because numba's import takes half a second
    )

    table = np.zeros(size, np.uint32)
    for values, _ in held_out:
        kernels.add_runs(values[of_portion(values, *rule)], table)
    return [table]


def _count_runs(
    table: np.ndarray, rule: tuple[int, int], masks: list[np.ndarray], *learnt: Forms
) -> list[np.ndarray]:
    """Return the counts of the entries of a table in some training texts; on a worker."""
    from reviewlm.corpus.duplicates import (
        kernels,  # here, because numba's import takes half a second
    )

    counted = table.copy()
    for forms, mask in zip(learnt, masks, strict=True):
        for values, _ in _hash_runs(forms, mask):
            kernels.count_runs(values[of_portion(values, *rule)], STOCK, counted)
    return [((counted - table) & np.uint32(COUNTED)).astype(np.uint8)]


def _sum_counts(table: np.ndarray, *counts: np.ndarray) -> list[np.ndarray]:
    """Return the table with all counts, each up to one more than `STOCK`; on a worker."""
    total = np.zeros(len(table), np.uint32)
    for count in counts:
        total = np.minimum(total + count, np.uint32(STOCK + 1))
    return [table + total]


def _mark_rare(table: np.ndarray, rule: tuple[int, int], held_out: Forms) -> list[np.ndarray]:
    """Return as packed bits which runs occur in train and are no stock phrases; on a worker."""
    from reviewlm.corpus.duplicates import (
        kernels,  # here, because numba's import takes half a second
    )

    values = held_out[0]
    rare = of_portion(values, *rule)
    kernels.mark_rare(values, STOCK, table, rare)
    return [np.packbits(rare)]


def _keep_rare(held_out: Forms, *marks: np.ndarray) -> tuple[Runs, int]:
    """Return the marked runs, and their number; on a worker."""
    values, offsets = held_out
    packed = np.bitwise_or.reduce(np.stack(marks))
    place = np.flatnonzero(np.unpackbits(packed, count=len(values)))
    return Runs(values[place], place, offsets), len(place)


def _gather(*parts: Runs) -> list[RunTable]:
    """Return the runs of some parts in one table; on a worker."""
    return [RunTable.of(parts)]


def _mark_sources(table: RunTable, forms: Forms, chosen: np.ndarray) -> list[np.ndarray]:
    """Return as packed bits which runs some training texts share; on a worker."""
    if not len(table.names):
        return [np.zeros(0, np.uint8)]
    look_up = look_up_runs(table.names)
    shared = (look_up(some) for some in chosen_forms(*forms, chosen))
    return [np.packbits(mark_sources(shared, table.names, table.texts))]


def _cover(table: RunTable, *marks: np.ndarray) -> list[np.ndarray]:
    """Return the coverage of texts by all training texts; on a worker."""
    covered = np.zeros(len(table.names), bool)
    for packed in marks:
        covered |= np.unpackbits(packed, count=len(covered)).view(bool)
    return [table.coverage(covered)]
