"""Fit a Bayes classifier: a language model on the reviews of each label, and the temperature."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.classification.bayes import BEGIN, BayesClassifier, language_model_spec
from models.classification.classifier import ClassifierFit, log_loss, prior, softmax
from models.classification.figures import macro_f1
from models.classification.spec import BayesSpec
from models.classification.texts import framed, text_rows
from models.neural.labelling.rows import Rows
from models.ngram.lm import NGramLM
from models.tokens.special import CONTEXT_IDS
from training.context import FitContext, journal
from training.ngram.counting.counts import count_ngrams
from training.ngram.fitting import fit_tables

if TYPE_CHECKING:
    from models.neural.labelling.labelled_sequences import LabelledSequences
    from models.tokens.vocabulary import Vocabulary

LOWEST, HIGHEST = 1e-6, 1e3
"""Range of 1 / T."""
HALVINGS = 60


def fit_bayes(
    spec: BayesSpec, vocabulary: Vocabulary, train: LabelledSequences, validation: LabelledSequences,
    context: FitContext,
) -> ClassifierFit:  # fmt: skip
    """Estimate a language model on the reviews of each label; choose the temperature on validation."""
    began, labels, of_label = time.perf_counter(), len(spec.labels), language_model_spec(spec)
    documents, held_out = (framed(text_rows(one.sequences), BEGIN) for one in (train, validation))
    models = []
    for label in range(labels):
        reviews = _Documents.of(documents, train.targets == label)
        in_class = validation.targets == label
        held = _Documents.of(held_out, in_class if in_class.any() else ~in_class)  # for methods that tune parameters
        counts = count_ngrams(reviews, spec.order, vocabulary.size, CONTEXT_IDS, engine=context.engine)
        tables = fit_tables(counts, of_label, held_out=held, engine=context.engine).tables
        models.append(NGramLM(tables))
    model = BayesClassifier(spec, models, 1.0, prior(train.targets, labels))
    joint_NK = model.joint(text_rows(validation.sequences))
    model.temperature = fitted_temperature(joint_NK, validation.targets)
    seconds = time.perf_counter() - began
    figures = {
        "temperature": model.temperature,
        "validation/log_loss": log_loss(joint_NK / model.temperature, validation.targets),
        "validation/macro_f1": macro_f1(validation.targets, joint_NK.argmax(1), labels),
    }
    journal(context, len(train.sequences.ids_P), figures)
    parameters = sum(len(array) for one in models for array in (*one.tables.logp, *one.tables.backoff))
    summary = {"parameters": float(parameters), "temperature": model.temperature, "seconds": seconds}
    return ClassifierFit(model, summary)


@dataclass
class _Documents:
    """Documents one after another, as `count_ngrams` reads them."""

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Rows, chosen_D: np.ndarray) -> _Documents:
        """Return the chosen rows, a mask (D)."""
        rows_B = np.flatnonzero(chosen_D)
        return cls(rows.ids_of(rows_B), np.concatenate([[0], np.cumsum(rows.lengths[rows_B])]))


def fitted_temperature(joint_NK: np.ndarray, targets_N: np.ndarray) -> float:
    """Return the temperature T with the lowest log loss of softmax(joint / T)."""
    right_N = joint_NK[np.arange(len(targets_N)), targets_N]
    low, high = np.log(LOWEST), np.log(HIGHEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        expected_N = (softmax(joint_NK * np.exp(middle)) * joint_NK).sum(1)
        low, high = (middle, high) if (expected_N - right_N).mean() < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))
