"""Fit skip-gram and CBOW vectors with gensim on the words of a token stream.

The formulas are written out, and proved, in `course/words/word_vectors.py`. With one thread, the same stream, options and
seed give the same bytes; with more, threads change the vectors without locks, and they differ slightly every time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
from gensim.models import KeyedVectors, Word2Vec
from gensim.models.callbacks import CallbackAny2Vec

from reviewlm.models.base import ModelError
from reviewlm.models.streams import TokenStream, unigram_counts
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.models.tokens.words import FIRST

NOISE_POWER = 0.75
"""Noise words are drawn in proportion to their counts to this power (Mikolov et al. 2013)."""
RATES = {"skipgram": 0.025, "cbow": 0.05}
"""Learning rate at the start: the defaults of word2vec's own program; gensim has the first one for both."""
COUNT = "count"
"""Name that gensim gives to the number of occurrences of a word."""

logging.getLogger("gensim").setLevel(logging.ERROR)  # it tells each second how far it is


def fit_vectors(
    vocabulary: Vocabulary,
    train: TokenStream,
    *,
    kind: str,
    negatives: int,
    dimensions: int,
    window: int,
    epochs: int,
    min_count: int,
    seed: int,
    threads: int = 1,
    report: Callable[[int], None] = lambda done: None,
) -> KeyedVectors:
    """Fit vectors of the words that occur often enough; special tokens and unknown words get none.

    Args:
        vocabulary: The vocabulary of the stream.
        train: Training reviews.
        kind, negatives, dimensions, window, epochs, min_count: See `core/config/sections/other_models.py`.
        seed: Of first vectors, windows, noise words and left-out words.
        report: Called after each epoch with the number of epochs done.

    Raises:
        ModelError: kind "input": a stream has another vocabulary, or too few words are frequent enough; kind
            "diverged": a vector is not finite.
    """
    train.require(vocabulary)
    counts_V = unigram_counts(train, train.vocabulary_size)
    counts_V[:FIRST] = 0
    ids_N = np.argsort(-counts_V, kind="stable")
    ids_N = ids_N[counts_V[ids_N] >= max(min_count, 1)]
    if len(ids_N) < 2:
        raise ModelError(
            f"{len(ids_N)} words occur at least {min_count} times; vectors need two or more. Give more text or "
            "a lower min_count",
            "input",
        )

    names = [vocabulary.token(token) for token in range(train.vocabulary_size)]
    model = Word2Vec(
        sg=kind == "skipgram",
        hs=not negatives,
        negative=negatives,
        ns_exponent=NOISE_POWER,
        vector_size=dimensions,
        window=window,
        alpha=RATES[kind],
        min_count=1,
        seed=seed,
        workers=threads,
        sorted_vocab=0,  # the words come in order; gensim's own sort leaves that of equal counts to the processor
    )
    model.build_vocab_from_freq({names[token]: int(counts_V[token]) for token in ids_N})
    model.train(
        ReviewWords(train, names),
        total_words=int(counts_V.sum()),
        epochs=epochs,
        callbacks=[_AfterEpoch(report)],
    )
    if not np.isfinite(model.wv.vectors).all():
        raise ModelError("a vector is not finite; take fewer epochs, or more text", "diverged")

    return model.wv


class ReviewWords:
    """Reviews as lists of words, without special tokens; gensim reads them once an epoch."""

    def __init__(self, stream: TokenStream, names: list[str]) -> None:
        self.stream = stream
        self.names = names

    def __iter__(self) -> Iterator[list[str]]:
        for number in range(len(self.stream)):
            yield [
                self.names[token]
                for token in self.stream.document(number).tolist()
                if token >= FIRST
            ]


class _AfterEpoch(CallbackAny2Vec):  # type: ignore[misc]
    """Report the epochs that are done."""

    def __init__(self, report: Callable[[int], None]) -> None:
        self.report = report
        self.done = 0

    def on_epoch_end(self, model: Word2Vec) -> None:
        """Count one more."""
        self.done += 1
        self.report(self.done)
