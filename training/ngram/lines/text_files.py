"""Fit n-gram models of lines from text files, write model files, and score text files, for the command line."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.atomic_files import not_written
from models.base import ModelError
from models.ngram.tables import Precision
from models.specs import SCORES_ONLY, NGramSpec
from models.threads import peak_resident
from training.ngram.counting.counts import count_ngrams
from training.ngram.counting.memory import ArrayAllocator
from training.ngram.engine import ShardEngine, Threads
from training.ngram.fitting import fit_tables, make_spec, require_options
from training.ngram.lines.line_lm import LineLM, require_ours
from training.ngram.lines.text_corpus import CAPITAL_UNKNOWN, GIVEN_OF_LINES, LineCorpus, Marks, read_words
from training.ngram.smoothing.methods import TUNED

logger = logging.getLogger(__name__)


def fit_lines(
    text: LineCorpus,
    spec: NGramSpec,
    prune: Sequence[int] = (),
    entropy: float = 0.0,
    held_out: LineCorpus | None = None,
    padded_vocabulary: int = 0,
    memory_limit: int | None = None,
    precision: Precision = "double",
    folder: Path | None = None,
    threads: int | None = None,
    engine: ShardEngine | None = None,
    allowed: Collection[str] | None = None,
) -> tuple[LineLM, dict[str, Any]]:
    """Fit a model of lines: count, estimate and prune.

    Args:
        spec, prune, entropy, padded_vocabulary, precision: See `fitting.fit_tables`.
        held_out: Text for the methods that tune parameters, read with the words of *text*.
        memory_limit, folder, threads, engine: See `counts.count_ngrams`; also for the estimation.
        allowed: Words whose n-grams stay; None allows all.

    Returns:
        The model, and `ngrams` (per order), `discounts` (per order: D1, D2, D3+; empty for methods without discounts)
        and `fallback_orders` (the orders whose counts of counts did not determine their discounts).

    Raises:
        ModelError: The method tunes parameters and there is no held-out text, or see `counts.count_ngrams` and
            `fitting.fit_tables`.
    """
    if spec.smoothing in TUNED and held_out is None:
        raise ModelError(f"{spec.smoothing} chooses its parameters on held-out text; there is none", kind="input")
    where = (memory_limit, folder, threads, engine)
    counts = count_ngrams(text, spec.order, len(text.words), GIVEN_OF_LINES, *where)  # type: ignore[arg-type]
    allowed_V = None if allowed is None else np.array([word in allowed for word in text.words])
    options = (prune, entropy, held_out, padded_vocabulary, precision, engine or Threads(threads), allowed_V)
    tables, ids, made = fit_tables(counts, spec, *options)  # type: ignore[arg-type]
    model = LineLM(tables, [text.words[token] for token in ids], spec.smoothing not in SCORES_ONLY)
    discounts = [list(discount.values[1:]) for discount in made.discounts]
    fallbacks = [order for order, discount in enumerate(made.discounts, start=1) if discount.fallback]
    return model, {"ngrams": [len(p) for p in tables.logp], "discounts": discounts, "fallback_orders": fallbacks}


def fit_text(
    text: Path,
    order: int = 5,
    prune: Sequence[int] = (),
    smoothing: str = "modified_kneser_ney",
    arpa: Path | None = None,
    binary: Path | None = None,
    *,
    entropy: float = 0.0,
    held_out: Path | None = None,
    marks: Marks = "refuse",
    padded_vocabulary: int = 0,
    memory_limit: int | None = None,
    folder: Path | None = None,
    threads: int | None = None,
    engine: ShardEngine | None = None,
    limit_vocabulary: Path | None = None,
) -> dict[str, Any]:
    """Estimate a model from a text file (plain, gzip or zstandard; one sentence per line) and write it.

    Args:
        order, smoothing: See `NGramSpec`.
        prune, entropy, padded_vocabulary: See `fitting.fit_tables`.
        arpa: Path of the ARPA file (compressed if its name ends in `.gz`); None writes none.
        binary: Folder for the memory-mapped form, with the same precision as ARPA files (four bytes); None writes none.
        held_out: Text file for the methods that tune parameters.
        marks: Handling of `<s>`, `</s>` and `<unk>` in the text, see `text_corpus.Marks`.
        memory_limit, folder, threads, engine: See `counts.count_ngrams`.
        limit_vocabulary: A file of words, separated by blanks or line ends: n-grams with any other word are dropped, as
            `lmplz --limit_vocab_file` does. Words of the list that are not in the text are ignored.

    Returns:
        `ngrams`, `discounts`, `fallback_orders` (see `fit_lines`), `tokens` (words of the text), `types` (distinct
        words and the three marks), `seconds` and `peak_mib` (peak memory of this process so far).

    Raises:
        ModelError: The text cannot be read, has no line, or has a mark in it (with the line number), or an option is
            wrong (kind "input"); the results cannot be written (kind "disk").
    """
    began = time.perf_counter()
    limited = limit_vocabulary is not None
    spec = checked_spec(order, smoothing, prune, held_out is not None, entropy, padded_vocabulary, limited)
    require_places(arpa, binary, spec.smoothing)
    require_texts(text, held_out, limit_vocabulary, apart_from=arpa)
    corpus = _training_corpus(text, marks, ArrayAllocator.within(memory_limit, folder))
    allowed = None if limit_vocabulary is None else read_words(limit_vocabulary)
    other = LineCorpus.read_file(held_out, corpus.words, "unknown") if held_out else None
    model, report = fit_lines(
        corpus, spec, prune, entropy, other, padded_vocabulary, memory_limit, "single", folder, threads, engine, allowed
    )
    tokens = {"tokens": len(corpus.ids) - 2 * len(corpus), "types": len(corpus.words)}
    del corpus
    if binary is not None:
        model.save(binary)
    if arpa is not None:
        model.to_arpa(arpa)
    return report | tokens | {"seconds": time.perf_counter() - began, "peak_mib": peak_resident() / (1 << 20)}


def _training_corpus(text: Path, marks: Marks, allocator: ArrayAllocator) -> LineCorpus:
    """Return the training text; refuse an empty one."""
    corpus = LineCorpus.read_file(text, marks=marks, allocator=allocator)
    if not len(corpus):
        raise ModelError(f"{text} is empty: there is nothing to learn from", kind="input")
    if CAPITAL_UNKNOWN in corpus.words:
        logger.warning(
            "%s has the word %s: readers of ARPA files take it for the unknown word", text, CAPITAL_UNKNOWN
        )
    return corpus


def checked_spec(
    order: int,
    smoothing: str,
    prune: Sequence[int] = (),
    held_out: bool = False,
    entropy: float = 0.0,
    padded_vocabulary: int = 0,
    limited: bool = False,
) -> NGramSpec:
    """Return the spec of a fit; check the options and their combinations before a long text is read.

    Raises:
        ModelError: An option is out of its range, or cannot be combined with another; a
            method needs *held_out* text to tune parameters. Kind "input".
    """
    spec = make_spec(order=order, smoothing=smoothing)
    require_options(spec, prune, entropy, padded_vocabulary, limited)
    if spec.smoothing in TUNED and not held_out:
        raise ModelError(f"{smoothing} chooses its parameters on held-out text; there is none", kind="input")
    return spec


def require_places(arpa: Path | None, binary: Path | None, smoothing: str) -> None:
    """Create the parent folders of the results before the work, so that errors of writing show at once.

    Raises:
        ModelError: A name is already used by something else, or the method's scores cannot be written as ARPA (kind
            "input"); a folder cannot be created or written (kind "disk").
    """
    if arpa is not None and smoothing in SCORES_ONLY:
        raise ModelError(f"{smoothing} gives scores, not probabilities, as readers of ARPA take them for", kind="input")
    if arpa is not None and binary is not None and arpa.resolve() == binary.resolve():
        raise ModelError(f"{arpa} is given as the ARPA file and as the folder", kind="input")
    if arpa is not None and arpa.is_dir():
        raise ModelError(f"{arpa} is an existing folder; name another file", kind="input")
    if binary is not None:
        require_ours(binary)
    for path in filter(None, (arpa, binary)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            special = path.exists() and not (path.is_file() or path.is_dir())  # these are written directly
            if not (special or os.access(path.resolve().parent, os.W_OK)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise not_written(path, error) from error


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
            raise ModelError(f"{text} would be overwritten by the result; name another file", kind="input")


def open_model(path: Path) -> LineLM:
    """Open a model of lines: a folder that `LineLM.save` wrote, or an ARPA file."""
    return LineLM.open(path) if path.is_dir() else LineLM.from_arpa(path)


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
