"""Compare smoothing methods, amounts of text and ways of pruning on plain text, one sentence per line.

All rows have the vocabulary of the whole training text, because perplexities can be compared only if the events are the
same. Every second held-out line is used to tune parameters (add-k, Jelinek–Mercer), the others to measure. Perplexities
include unknown words, with each model's probability of `<unk>`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path

from ...base import ModelError
from ...specs import NGramSpec
from ..comparison import ALL, Row, TextPart, compare
from ..counting.counts import NGramCounts, count_ngrams, unseen_share
from ..fitting import fit_tables
from ..lm import NGramLM
from ..measure import measure
from ..pruning.relative_entropy import observed_history, prune_by_entropy
from ..tables import Tables
from .text_corpus import GIVEN_OF_LINES, LineCorpus, Marks

THRESHOLDS = (1, 2, 3, 5, 10, 20)
CUTOFFS = (1e-9, 1e-8, 3e-8, 1e-7, 3e-7, 1e-6, 3e-6, 1e-5)


@dataclass(frozen=True)
class Pruned:
    """One point of the size–perplexity curve.

    Args:
        pruning: "none", "count" or "entropy".
        threshold: Largest count of dropped n-grams of orders 3 and up (2 in a bigram model), or the entropy threshold.
        ngrams: Number of n-grams of all orders.
        bytes: Size of the tables, with numbers of four bytes.
        perplexity: Perplexity of the measured lines.
    """

    pruning: str
    threshold: float
    ngrams: int
    bytes: int
    perplexity: float


@dataclass(frozen=True)
class TextComparison:
    """The results of a comparison.

    Args:
        methods: Every method at every order, on the whole training text.
        best: The method with the lowest perplexity at the highest order; None if no method has a finite one.
        amounts: The best method at every order, on growing parts of the text; the whole text is last.
        curve: The best method at the highest order, pruned.
        unseen: Share of measured tokens whose n-gram did not occur in training, by amount (one line in this number) and
            order.
        tokens: Number of tokens of the training text, of the tuning lines, and of the measured lines.
        words: V.
        oov: Number of unknown measured tokens.
    """

    methods: tuple[Row, ...]
    best: str | None
    amounts: tuple[Row, ...]
    curve: tuple[Pruned, ...]
    unseen: dict[int, dict[int, float]]
    tokens: tuple[int, int, int]
    words: int
    oov: int

    @property
    def rows(self) -> list[Row]:
        """Every fitted model once: first the growing parts of the text, then all methods on the whole text."""
        return [*(row for row in self.amounts if row not in self.methods), *self.methods]


def compare_texts(
    text: Path,
    held_out: Path,
    orders: Sequence[int] = (1, 2, 3, 4, 5),
    methods: Sequence[str] = ALL,
    every: Sequence[int] = (16, 8, 4, 2, 1),
    report: Callable[[Row | Pruned], None] = lambda row: None,
    marks: Marks = "refuse",
) -> TextComparison:
    """Fit and measure all methods, amounts of text and ways of pruning.

    Args:
        text: Training text; the order of its lines should not depend on their content.
        held_out: Other text of the same kind.
        orders: N of the models; the models of the highest order are pruned.
        methods: Names of `models.specs.Smoothing`.
        every: Amounts of training text: one line in this number. 1 is always included.
        report: Function called with each row when it is known.
        marks: Handling of `<s>`, `</s>` and `<unk>` in the training text, see `text_corpus.Marks`.

    Raises:
        ModelError: A file cannot be read, the training text has no line, the held-out text has less than two lines, or
            an order or method does not exist.
    """
    train = LineCorpus.read_file(text, marks=marks)
    other = LineCorpus.read_file(held_out, train.words, "unknown")
    if not len(train) or len(other) < 2:
        raise ModelError(f"{text} has {len(train)} lines, {held_out} {len(other)}; 1 and 2 are needed", kind="input")
    chooses, measures = _every_second(other)
    size = len(train.words)
    rows = compare(train, chooses, measures, size, GIVEN_OF_LINES, methods, orders, report=report)  # type: ignore[arg-type]
    parts = sorted({step for step in every if step > 1}, reverse=True)
    best = best_method(rows)
    chosen = [best] if best else []
    amounts = compare(train, chooses, measures, size, GIVEN_OF_LINES, chosen, orders, parts, report)  # type: ignore[arg-type]
    amounts += [row for row in rows if row.method == best]
    unseen: dict[int, dict[int, float]] = {}
    for step in (*parts, 1):
        counts = count_ngrams(TextPart.of(train, step), max(orders), size, GIVEN_OF_LINES)  # type: ignore[arg-type]
        unseen[step] = unseen_share(counts, measures)
    curve = []
    for point in _curve(counts, best, chooses, measures) if best else ():
        report(point)
        curve.append(point)
    tokens = tuple(int((part.ids != GIVEN_OF_LINES[0]).sum()) for part in (train, chooses, measures))
    oov = int((measures.ids == 0).sum())
    return TextComparison(tuple(rows), best, tuple(amounts), tuple(curve), unseen, tokens, size, oov)  # type: ignore[arg-type]


def best_method(rows: Sequence[Row]) -> str | None:
    """Return the method with the lowest perplexity at the highest order; None if no perplexity is finite."""
    top = max((row.order for row in rows), default=0)
    finite = [row for row in rows if row.order == top and row.perplexity is not None and isfinite(row.perplexity)]
    return min(finite, key=lambda row: row.perplexity or inf).method if finite else None


def _every_second(lines: LineCorpus) -> tuple[TextPart, TextPart]:
    """Return the lines 1, 3, 5 … and the lines 2, 4, 6 …"""
    behind_first = LineCorpus(lines.ids[lines.offsets[1] :], lines.offsets[1:] - lines.offsets[1], lines.words)
    return TextPart.of(lines, 2), TextPart.of(behind_first, 2)  # type: ignore[arg-type]


def _curve(counts: NGramCounts, best: str, chooses: TextPart, measures: TextPart) -> Iterator[Pruned]:
    """Yield the points of the best method: unpruned, pruned by count, and pruned by entropy."""
    if counts.order == 1:
        return
    spec = NGramSpec(order=counts.order, smoothing=best)  # type: ignore[arg-type]
    below = (0,) * min(2, counts.order - 1)

    def point(pruning: str, threshold: float, tables: Tables) -> Pruned:
        size = sum(array.nbytes for array in tables.to("single").arrays().values())
        return Pruned(pruning, threshold, sum(map(len, tables.logp)), size, _perplexity(tables, measures))

    whole = fit_tables(counts, spec, held_out=chooses).tables
    yield point("none", 0, whole)
    for threshold in THRESHOLDS:
        yield point("count", threshold, fit_tables(counts, spec, (*below, threshold), held_out=chooses).tables)
    history = observed_history(counts)
    for cutoff in CUTOFFS:
        yield point("entropy", cutoff, prune_by_entropy(whole, cutoff, history))


def _perplexity(tables: Tables, measures: TextPart) -> float:
    return measure(NGramLM(tables), measures.ids, tables.given)["perplexity"]
