"""Fit a classifier of any kind."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

import numpy as np

from reviewlm.models.base import ModelError
from reviewlm.models.classification.classifier import Classifier
from reviewlm.models.classification.spec import ClassifierSpec
from reviewlm.training.context import FitContext, ModelFit
from reviewlm.training.labelling.examples import log_loss, macro_f1

if TYPE_CHECKING:
    from reviewlm.models.tokens.vocabulary import Vocabulary
    from reviewlm.training.labelling.examples import LabelledSequences


FITS = {
    "logistic": "reviewlm.training.labelling.features:fit_on_features",
    "bayes": "reviewlm.training.labelling.features:fit_on_features",
    "tfidf": "reviewlm.training.labelling.features:fit_on_features",
    "rnn": "reviewlm.training.labelling.networks:fit_network_classifier",
    "gru": "reviewlm.training.labelling.networks:fit_network_classifier",
    "lstm": "reviewlm.training.labelling.networks:fit_network_classifier",
}
"""The function that fits each kind of `reviewlm.models.classification.spec.CLASSIFIERS`; imported when it is needed."""


def fit_classifier(
    spec: ClassifierSpec,
    vocabulary: Vocabulary,
    train: LabelledSequences,
    validation: LabelledSequences,
    context: FitContext,
) -> ModelFit[Classifier]:
    """Fit a classifier on labelled reviews; choose its state, strength or temperature on others.

    Equal arguments give equal weights on the CPU of the same machine with the same number of threads; on a GPU the
    weights are equal up to rounding (`checkpointing.determinism_class`). A fit that was killed gives the same ones when
    it is started again with the same work folder.

    Args:
        spec: With its labels.
        vocabulary: Made the ids.
        train: Reviews, with or without special tokens (which are ignored), and label numbers 0 … K − 1.
        validation: The same.
        context: Work folder (journal, checkpoints), device, threads, listener; `parts` has the bundle of the language
            model that the classifier starts from.

    Returns:
        The model, and numbers: parameters, seconds, updates and seconds_per_epoch of a network, the figures that
        were chosen (strength, temperature), and validation/accuracy, validation/macro_f1, validation/log_loss.

    Raises:
        ModelError: kind "input": there are no labels, a label has no training review, targets or ids do not fit;
            "diverged"; "memory".
    """
    if len(spec.labels) < 2:
        raise ModelError(
            f"labels is {spec.labels}; a classifier needs the names of at least two labels", "input"
        )

    for name, examples in (("training", train), ("validation", validation)):
        examples.sequences.require_ids(vocabulary.size)
        examples.require_targets(len(spec.labels), noun=f"{name} review")

    missing = np.flatnonzero(np.bincount(train.targets, minlength=len(spec.labels)) == 0)
    if len(missing):
        name = spec.labels[missing[0]]
        raise ModelError(
            f"the label {name!r} has no training review: a classifier needs one of each label",
            "input",
        )

    context.work.mkdir(parents=True, exist_ok=True)
    fitted: ModelFit[Classifier] = resolve_name(FITS[spec.kind])(
        spec,
        vocabulary,
        train,
        validation,
        context,
    )
    return ModelFit(
        fitted.model, {**fitted.summary, **validation_figures(fitted.model, validation)}
    )


def validation_figures(model: Classifier, validation: LabelledSequences) -> dict[str, float]:
    """Return accuracy, macro-F1 and log loss, each with "validation/"."""
    scores_NK = model.scores(validation.sequences)
    answers_N = model.answers(scores_NK)
    return {
        "validation/accuracy": float((answers_N == validation.targets).mean()),
        "validation/macro_f1": macro_f1(validation.targets, answers_N, scores_NK.shape[1]),
        "validation/log_loss": log_loss(scores_NK, validation.targets),
    }
