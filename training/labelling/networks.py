"""Train the networks that label: the neural classifiers of reviews, and the tagger that restores case and punctuation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import load_bundle
from reviewlm.models.classification.classifier import frame_texts, text_rows
from reviewlm.models.classification.network import NetworkClassifier
from reviewlm.models.classification.spec import RecurrentClassifierSpec, unlike_start
from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.labelling.rows import Sequences
from reviewlm.models.neural.labelling.spec import TaggingSpec
from reviewlm.models.neural.output import NOT_SCORED
from reviewlm.models.punctuator import WINDOW, Punctuator, WordPieces
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.models.written_words import TaggedWords
from reviewlm.training.context import FitContext, ModelFit
from reviewlm.training.labelling.examples import LabelledSequences
from reviewlm.training.labelling.labeller_fit import fit


def fit_network_classifier(
    spec: RecurrentClassifierSpec,
    vocabulary: Vocabulary,
    train: LabelledSequences,
    validation: LabelledSequences,
    context: FitContext,
) -> ModelFit[NetworkClassifier]:
    """Train, from the weights of a language model if the spec names one; a killed fit resumes in `context.work`.

    Raises:
        ModelError: kind "input": there is no such language model, or it has another vocabulary, kind or size.
    """
    train, validation = (
        LabelledSequences(frame_texts(text_rows(one.sequences)), one.targets)
        for one in (train, validation)
    )
    start = None
    if spec.start:
        start = _language_model(spec, vocabulary, context)

    tuning = spec if spec.start else None
    model, summary = fit(
        spec,
        vocabulary.size,
        train,
        validation,
        context,
        start=start,
        tuning=tuning,
    )
    figures = {
        name: summary[name] for name in ("parameters", "updates", "seconds", "seconds_per_epoch")
    }
    return ModelFit(NetworkClassifier(model), figures)


def _language_model(
    spec: RecurrentClassifierSpec,
    vocabulary: Vocabulary,
    context: FitContext,
) -> RecurrentNetwork:
    if spec.start not in context.parts:
        available = ", ".join(map(repr, context.parts)) or "none"
        what = f"start is {spec.start!r}; there is no fitted model of this name (there is: {available})"
        raise ModelError(what, "input")

    bundle = load_bundle(context.parts[spec.start], check_probes=False)
    network = getattr(bundle.model, "network", None)
    if not isinstance(network, RecurrentNetwork):
        what = f"start is {spec.start!r}, a model of the kind {bundle.spec.kind!r}"
        raise ModelError(f"{what}; a classifier can only start from a recurrent one", "input")
    if differences := unlike_start(spec, bundle.spec):
        what = f"start is {spec.start!r}, whose network has other options; set for the classifier"
        raise ModelError(f"{what}: {differences}", "input")
    if bundle.vocabulary.digest != vocabulary.digest:
        theirs = bundle.vocabulary.digest[:12]
        ours = vocabulary.digest[:12]
        what = f"the language model {spec.start!r} has another vocabulary ({theirs}) than the classifier ({ours})"
        raise ModelError(f"{what}: set vocabulary of both to the same name", "input")

    return network


def fit_punctuator(
    spec: TaggingSpec,
    vocabulary: Vocabulary,
    train: Iterable[TaggedWords],
    validation: Iterable[TaggedWords],
    context: FitContext,
) -> tuple[Punctuator, dict[str, float]]:
    """Train on some texts and choose the best state on others; return the model and the fit's summary.

    Args:
        spec: Network and training.
        vocabulary: Cuts the words into pieces.
        train, validation: Texts.
        context: Work folder, device, threads, listener.

    Raises:
        ModelError: See `fit`; kind "input": a set of texts has no word.
    """
    learned = examples(vocabulary, train)
    chosen_by = examples(vocabulary, validation)
    fitted = fit(
        spec,
        len(vocabulary),
        learned,
        chosen_by,
        context,
    )
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
