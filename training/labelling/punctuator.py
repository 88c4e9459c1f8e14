"""Train a tagger that restores case and punctuation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from models.base import ModelError
from models.neural.labelling.rows import LabelledSequences, Sequences
from models.neural.labelling.spec import TaggingSpec
from models.neural.output import NOT_SCORED
from models.punctuator import WINDOW, Punctuator, WordPieces
from models.tokens.vocabulary import Vocabulary
from models.written_words import TaggedWords
from training.context import FitContext
from training.labelling.labeller_fit import fit as fit_labeller


def fit_punctuator(
    spec: TaggingSpec, vocabulary: Vocabulary, train: Iterable[TaggedWords],
    validation: Iterable[TaggedWords], context: FitContext,
) -> tuple[Punctuator, dict[str, float]]:  # fmt: skip
    """Train on some texts and choose the best state on others; return the model and the fit's summary.

    Args:
        spec: Network and training.
        vocabulary: Cuts the words into pieces.
        train, validation: Texts.
        context: Work folder, device, threads, listener.

    Raises:
        ModelError: See `fit`; kind "input": a set of texts has no word.
    """
    learned, chosen_by = examples(vocabulary, train), examples(vocabulary, validation)
    fitted = fit_labeller(spec, len(vocabulary), learned, chosen_by, context)
    return Punctuator(vocabulary, fitted.model), fitted.summary


def examples(vocabulary: Vocabulary, texts: Iterable[TaggedWords]) -> LabelledSequences:
    """Return windows of texts as token ids with a tag at the last piece of each word.

    Raises:
        ModelError: kind "input": there is no word.
    """
    cut = WordPieces(vocabulary)
    ids: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for text in texts:
        for first in range(0, len(text.words), WINDOW):
            ids_P, last_N = cut(text.words[first : first + WINDOW])
            targets_P = np.full(len(ids_P), NOT_SCORED, np.int64)
            targets_P[last_N] = text.tags[first : first + WINDOW]
            ids.append(ids_P)
            targets.append(targets_P)
    if not ids:
        raise ModelError("the texts have no word to learn from", "input")
    return LabelledSequences(Sequences.of(ids), np.concatenate(targets))
