"""Fit word vectors on the token streams of a vocabulary: train, measure on held-out reviews, name the words."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..neural.device import limited_threads
from ..options import stored
from ..streams import TokenStream
from ..tokens.vocabulary import Vocabulary
from .held_out import held_out
from .ranking import train_ranking
from .spec import EmbeddingSpec
from .training import Report, Selection, train
from .word_vectors import WordVectors


def fit_vectors(
    spec: EmbeddingSpec, vocabulary: Vocabulary, train_stream: TokenStream, validation: TokenStream, work: Path,
    threads: int = 1, report: Report = lambda done, total: None,
) -> WordVectors:  # fmt: skip
    """Train word vectors and return them, with their figures on the validation reviews as facts.

    Args:
        vocabulary: The vocabulary of both streams.
        train_stream: Training reviews.
        validation: Held-out reviews.
        work: Folder of checkpoint and journal; a killed training continues from the checkpoint that it left there.
        threads: See `training.train`; of the kind "ranking": threads of its matrix products.
        report: See `training.train`.

    Raises:
        ModelError: kind "input": a stream has another vocabulary, or too few words are frequent enough.
    """
    for stream in (train_stream, validation):
        stream.require(vocabulary)
    fit = _ranked if spec.kind == "ranking" else _predicted
    fitted = fit(spec, train_stream, validation, work, threads, report)
    facts = {"options": stored(spec), "vocabulary_digest": vocabulary.digest, "threads": threads, **fitted.facts}
    words = [vocabulary.token(int(token)) for token in fitted.selection.ids_N]
    made = WordVectors(words, fitted.v_ND, fitted.selection.counts_N.tolist(), facts, fitted.output_ND)
    made.facts["mean_cosine"] = round(made.mean_cosine, 6)
    return made


class _Fitted(NamedTuple):
    """Words, vectors, output vectors (None: there are none) and figures."""

    selection: Selection
    v_ND: np.ndarray
    output_ND: np.ndarray | None
    facts: dict[str, Any]


def _predicted(
    spec: EmbeddingSpec, stream: TokenStream, validation: TokenStream, work: Path, threads: int, report: Report
) -> _Fitted:
    trained = train(spec, stream, threads, report, work)
    facts = {"work": trained.work, "validation": held_out(spec, trained, validation)}
    return _Fitted(trained.selection, trained.v_ND, None if trained.tree else trained.u_RD, facts)


def _ranked(
    spec: EmbeddingSpec, stream: TokenStream, validation: TokenStream, work: Path, threads: int, report: Report
) -> _Fitted:
    with limited_threads(threads):
        selection, network, reached = train_ranking(spec, stream, validation, report, work)
    figures = {"ranking_accuracy": reached[-1], "ranking_accuracy_before": reached[0]}
    return _Fitted(selection, network.vectors.weight.detach().numpy()[:-1], None, {"work": {}, "validation": figures})
