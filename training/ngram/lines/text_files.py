"""Fit n-gram models of lines from text files, write model files, and score text files, for the command line."""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from reviewlm.models.base import ModelError
from reviewlm.models.ngram.tables import Precision
from reviewlm.models.options import WholeOrZero, options
from reviewlm.models.specs import KNESER_NEY, SCORES_ONLY, NGramSpec
from reviewlm.models.threads import peak_resident
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.counting.memory import IN_MEMORY, ArrayAllocator
from reviewlm.training.ngram.engine import ShardEngine, Threads
from reviewlm.training.ngram.fitting import fit_tables
from reviewlm.training.ngram.lines.line_lm import LineLM
from reviewlm.training.ngram.lines.text_corpus import (
    CAPITAL_UNKNOWN,
    GIVEN_OF_LINES,
    LineCorpus,
    Marks,
    read_words,
)
from reviewlm.training.ngram.pruning import thresholds
from reviewlm.training.ngram.smoothing.methods import TUNED

logger = logging.getLogger(__name__)


@options
class LineSpec(NGramSpec):
    """Options of a model of text lines; some methods can also drop words (a threshold above 0 at order 1).

    Args:
        padded_vocabulary: See `kneser_ney.estimate`.
        held_out: Text file for the methods that tune parameters.
        limit_vocabulary: A file of words, separated by blanks or line ends: n-grams with any other word are dropped, as
            `lmplz --limit_vocab_file` does. Words of the list that are not in the text are ignored.
        marks: Handling of `<s>`, `</s>` and `<unk>` in the text, see `text_corpus.Marks`.
        memory_limit: See `ArrayAllocator.within`.
        threads: Number of threads that count and estimate; None for `threads.THREADS`.
    """

    padded_vocabulary: WholeOrZero = 0
    held_out: Path | None = None
    limit_vocabulary: Path | None = None
    marks: Marks = "refuse"
    memory_limit: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        smoothing = self.smoothing
        padded = self.padded_vocabulary
        is_kneser_ney = smoothing in KNESER_NEY
        is_scores = smoothing in SCORES_ONLY
        drops_words = thresholds(self.prune, self.order)[0] > 0 and not (is_kneser_ney or is_scores)
        for wrong, message in (
            (
                drops_words,
                f"prune is {self.prune}; {smoothing} keeps all unigrams: the threshold of order 1 must be 0",
            ),
            (
                self.entropy and is_scores,
                f"{smoothing} gives scores, which do not sum to 1 and have no entropy",
            ),
            (
                padded and self.entropy,
                "padding and pruning by entropy cannot be combined: p does not sum to 1",
            ),
            (
                padded and not is_kneser_ney,
                f"only Kneser–Ney can pad its vocabulary, not {smoothing}",
            ),
            (
                self.limit_vocabulary and not is_kneser_ney,
                f"only Kneser–Ney can limit its vocabulary, not {smoothing}",
            ),
            (
                smoothing in TUNED and self.held_out is None,
                f"{smoothing} chooses its parameters on held-out text; there is none",
            ),
        ):
            if wrong:
                raise ModelError(message, kind="input")


def fit_lines(
    text: LineCorpus,
    spec: LineSpec,
    precision: Precision = "double",
    engine: ShardEngine | None = None,
    allocator: ArrayAllocator = IN_MEMORY,
) -> tuple[LineLM, dict[str, Any]]:
    """Fit a model of lines: count, estimate and prune.

    Args:
        precision: See `fitting.fit_tables`.
        engine: Executor of counting and estimation; None for threads.
        allocator: Allocator of the counts and tables.

    Returns:
        The model, and `ngrams` (per order), `discounts` (per order: D1, D2, D3+; empty for methods without discounts),
        `fallback_orders` (the orders whose counts of counts did not determine their discounts), `tokens` (words of the
        text) and `types` (distinct words and the three marks).

    Raises:
        ModelError: The list of words or the held-out text cannot be read, or see `counts.count_ngrams` and
            `fitting.fit_tables`.
    """
    allowed_V = None
    held_out = None
    if spec.limit_vocabulary:
        allowed = read_words(spec.limit_vocabulary)
        allowed_V = np.array([word in allowed for word in text.words])

    if spec.held_out:
        held_out = LineCorpus.read_file(spec.held_out, text.words, "unknown")

    words = text.words
    size = {"tokens": len(text.ids) - 2 * len(text), "types": len(text.words)}
    documents: list[Any] = [text]  # given up to the counting, which needs the memory
    del text
    counts = count_ngrams(
        documents.pop(),
        spec.order,
        len(words),
        GIVEN_OF_LINES,
        allocator,
        spec.threads,
        engine,
    )
    arguments: Any = (
        held_out,
        precision,
        engine or Threads(spec.threads),
        allowed_V,
        spec.padded_vocabulary,
        True,
    )
    tables, ids, made = fit_tables(counts, spec, *arguments)
    model = LineLM(
        tables, [words[token] for token in ids], normalised=spec.smoothing not in SCORES_ONLY
    )
    discounts = [list(discount.values[1:]) for discount in made.discounts]
    fallbacks = [
        order for order, discount in enumerate(made.discounts, start=1) if discount.fallback
    ]
    ngrams = [len(p) for p in tables.logp]
    return model, {
        "ngrams": ngrams,
        "discounts": discounts,
        "fallback_orders": fallbacks,
        **size,
    }


def fit_text(
    text: Path,
    spec: LineSpec,
    arpa: Path | None = None,
    binary: Path | None = None,
    engine: ShardEngine | None = None,
) -> dict[str, Any]:
    """Estimate a model from a text file (plain, gzip or zstandard; one sentence per line) and write it.

    Args:
        arpa: Path of the ARPA file (compressed if its name ends in `.gz`); None writes none.
        binary: Folder for the memory-mapped form, with the same precision as ARPA files (four bytes); None writes none.
        engine: See `fit_lines`.

    Returns:
        Those of `fit_lines`, `seconds` and `peak_mib` (peak memory of this process so far).

    Raises:
        ModelError: The text cannot be read, has no line, or has a mark in it (with the line number; kind "input"); the
            results cannot be written (kind "disk").
    """
    began = time.perf_counter()
    allocator = ArrayAllocator.within(spec.memory_limit)
    model, report = fit_lines(
        _training_corpus(text, spec.marks, allocator),
        spec,
        "single",
        engine,
        allocator,
    )
    if binary is not None:
        model.save(binary)

    if arpa is not None:
        model.to_arpa(arpa)

    return report | {
        "seconds": time.perf_counter() - began,
        "peak_mib": peak_resident() / (1 << 20),
    }


def _training_corpus(
    text: Path,
    marks: Marks,
    allocator: ArrayAllocator,
) -> LineCorpus:
    """Return the training text; refuse an empty one."""
    corpus = LineCorpus.read_file(text, marks=marks, allocator=allocator)
    if not len(corpus):
        raise ModelError(f"{text} is empty: there is nothing to learn from", kind="input")

    if CAPITAL_UNKNOWN in corpus.words:
        logger.warning(
            "%s has the word %s: readers of ARPA files take it for the unknown word",
            text,
            CAPITAL_UNKNOWN,
        )

    return corpus


def require_texts(*texts: Path | None, apart_from: Path | None = None) -> None:
    """Raise ModelError (kind "input") for a text that does not exist or that the fit would overwrite (*apart_from*)."""
    for text in filter(None, texts):
        try:
            text.stat()
            if text.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        except OSError as error:
            raise ModelError(f"{text} cannot be read: {error.strerror}", kind="input") from error
        if apart_from is not None and apart_from.is_file() and apart_from.samefile(text):
            raise ModelError(
                f"{text} would be overwritten by the result; name another file", kind="input"
            )


def open_model(path: Path) -> LineLM:
    """Open a model of lines: a folder that `LineLM.save` wrote, or an ARPA file."""
    if path.is_dir():
        return LineLM.open(path)
    return LineLM.from_arpa(path)


def score_text(model: Path, text: Path) -> dict[str, Any]:
    """Score a text file (plain, gzip or zstandard) with a model file, as KenLM's `query` does.

    In the text, `<unk>` is an unknown word.

    Returns:
        `tokens`, `oov`, `perplexity`, `perplexity_without_oov`, `zero_probability_events` (number of tokens with
        probability 0; each makes the perplexities that include it infinite), `seconds` (with loading).

    Raises:
        ModelError: A file cannot be read; `<s>` or `</s>` is in the text (with the line number); the model has no
            probabilities (stupid back-off).
    """
    began = time.perf_counter()
    opened = open_model(model)
    corpus = LineCorpus.read_file(text, opened.words, "unknown")
    scores = opened.score_text(corpus)
    return {
        "tokens": scores.tokens,
        "oov": scores.oov,
        "perplexity": scores.perplexity,
        "perplexity_without_oov": scores.perplexity_without_oov,
        "zero_probability_events": scores.impossible,
        "seconds": time.perf_counter() - began,
    }
