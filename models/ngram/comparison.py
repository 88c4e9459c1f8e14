"""Compare smoothing methods: perplexity by method, by order and by amount of training text, on the same streams.

All rows have the same vocabulary, also those of less text: perplexities can be compared only if the events are the
same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from ..base import ModelError
from ..specs import NGramSpec, Smoothing
from .counting.counts import Documents, NGramCounts, count_ngrams, unseen_share
from .fitting import fit_tables, make_spec
from .lm import NGramLM
from .measure import measure
from .smoothing.methods import SCORES_ONLY, figures

ALL: tuple[str, ...] = get_args(Smoothing)


@dataclass(frozen=True)
class Row:
    """One fitted model.

    Args:
        method: Its smoothing method.
        order: N.
        every: One training document in this number was used.
        tokens: Number of training tokens.
        ngrams: Number of n-grams of all orders that occurred.
        bytes: Size of the tables, with numbers of four bytes.
        seconds: Time for counting and estimating, without measuring.
        perplexity: Perplexity of the held-out text; infinite if one token had probability 0, None for scores (stupid
            back-off).
        zero_probability_events: Number of held-out tokens with probability 0; None for scores.
        unseen_share: Share of held-out tokens whose n-gram of the highest order did not occur in training.
        measured_on: "test" or "validation"; on validation text, tuned methods (add-k, Jelinek–Mercer) look better than
            they are.
        figures: All of `smoothing.methods.figures`: parameters, counts of counts, fallbacks.
    """

    method: str
    order: int
    every: int
    tokens: int
    ngrams: int
    bytes: int
    seconds: float
    perplexity: float | None
    zero_probability_events: int | None
    unseen_share: float
    measured_on: str
    figures: Mapping[str, float] = field(repr=False)


@dataclass
class TextPart:
    """Some of a stream's documents, one after another."""

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, documents: Documents, every: int) -> TextPart:
        """Take the first of each *every* documents: evenly spaced over the stream."""
        starts, ends = documents.offsets[:-1:every], documents.offsets[1::every]
        pieces = [np.asarray(documents.ids[a:b]) for a, b in zip(starts, ends, strict=True)]
        return cls(np.concatenate([documents.ids[:0], *pieces]), np.cumsum([0, *map(len, pieces)]))


def compare(
    train: Documents,
    validation: Documents,
    test: Documents | None,
    vocabulary_size: int,
    given: Collection[int],
    methods: Sequence[str] = ALL,
    orders: Sequence[int] = (1, 2, 3, 4, 5),
    every: Sequence[int] = (1,),
    report: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Fit every method at every order on every amount of text; methods choose their own parameters.

    Args:
        train: Training documents; their order should not depend on their content.
        validation: Text for the methods that tune parameters.
        test: Text to measure on. None measures on *validation*, where tuned methods look better than they are.
        vocabulary_size: V.
        given: Ids that are never predicted.
        methods: Names of `models.specs.Smoothing`.
        orders: N of each model, 1 to 6.
        every: Amounts of text: 1 is all documents, 16 one document in sixteen.
        report: Function called with each row when it is known.

    Returns:
        The rows, by amount, order and method, in the given sequence.

    Raises:
        ModelError: A method or order does not exist, an amount is below 1, or there is no held-out token.
    """
    specs = {(order, method): make_spec(order=order, smoothing=method) for order in orders for method in methods}
    if any(step < 1 for step in every):
        raise ModelError(f"every is {tuple(every)}; each must be at least 1", kind="input")
    rows = []
    for step in every:
        documents = TextPart.of(train, step)
        for order in orders:
            began = time.perf_counter()
            counts = count_ngrams(documents, order, vocabulary_size, given)
            counting = time.perf_counter() - began
            for row in _rows(counts, [specs[order, m] for m in methods], validation, test, step, counting):
                report(row)
                rows.append(row)
    return rows


def _rows(
    counts: NGramCounts,
    specs: Sequence[NGramSpec],
    validation: Documents,
    test: Documents | None,
    every: int,
    counting: float,
) -> Iterator[Row]:
    """Fit and measure several methods on the same counts, which took *counting* seconds."""
    held_out, measured_on = (validation, "validation") if test is None else (test, "test")
    unseen = unseen_share(counts, held_out)[counts.order]
    for spec in specs:
        began = time.perf_counter()
        tables, _, made = fit_tables(counts, spec, held_out=validation)
        model = NGramLM(tables, spec.smoothing not in SCORES_ONLY)
        seconds = counting + time.perf_counter() - began
        found = measure(model, held_out.ids, counts.given) if model.normalised else {}
        said = figures(counts, made)
        impossible = found.get("zero_probability_events")
        yield Row(
            method=spec.smoothing,
            order=counts.order,
            every=every,
            tokens=int(counts.orders[0].raw_M.sum()),
            ngrams=int(sum(said[f"ngrams/{k}"] for k in range(1, counts.order + 1))),
            bytes=sum(array.nbytes for array in model.tables.to("single").arrays().values()),
            seconds=seconds,
            perplexity=found.get("perplexity"),
            zero_probability_events=None if impossible is None else int(impossible),
            unseen_share=unseen,
            measured_on=measured_on,
            figures=said,
        )
