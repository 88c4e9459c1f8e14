"""Fit word vectors on the token streams of a vocabulary: train, measure on held-out reviews, name the words."""

from __future__ import annotations

from pathlib import Path

from ..options import stored
from ..streams import TokenStream
from ..tokens.vocabulary import Vocabulary
from .held_out import held_out
from .spec import EmbeddingSpec
from .training import CHECKPOINT, Report, train
from .word_vectors import WordVectors


def fit_vectors(
    spec: EmbeddingSpec, vocabulary: Vocabulary, train_stream: TokenStream, validation: TokenStream, work: Path,
    threads: int = 1, report: Report = lambda done, total: None,
) -> WordVectors:  # fmt: skip
    """Train word vectors and save them in a folder, with their figures on the validation reviews as facts.

    Args:
        spec: Options.
        vocabulary: The vocabulary of both streams.
        train_stream: Training reviews.
        validation: Held-out reviews.
        work: The folder; a killed training continues from the checkpoint that it left there.
        threads: See `training.train`.
        report: See `training.train`.

    Raises:
        ModelError: kind "input": a stream has another vocabulary, or too few words are frequent enough.
    """
    for stream in (train_stream, validation):
        stream.require(vocabulary)
    trained = train(spec, train_stream, threads, report, work)
    facts = {
        "options": stored(spec), "vocabulary_digest": vocabulary.digest, "work": trained.work, "threads": threads,
        "validation": held_out(spec, trained, validation),
    }  # fmt: skip
    words = [vocabulary.token(int(token)) for token in trained.selection.ids_N]
    output_ND = None if trained.tree else trained.u_RD
    vectors = WordVectors(words, trained.v_ND, trained.selection.counts_N.tolist(), facts, output_ND)
    vectors.save(work)
    (work / CHECKPOINT).unlink(missing_ok=True)
    return vectors
