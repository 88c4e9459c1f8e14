"""Classify by one n-gram language model per label, and Bayes' rule.

    score_k(text) = (log share_k + log p_k(text)) / T         p(k | text) = softmax(score(text))_k

p_k(text) is the product of the probabilities of all tokens of the text and its end. They are not independent given the
label, so this product overstates the evidence: with T = 1 the probabilities are far too near 0 and 1. T, the
temperature, is chosen on validation; it changes no answer. The log loss is convex in 1 / T. Its derivative is the mean
over reviews of E_p[s] − s_y, with s the scores for T = 1; bisection finds the zero of this rising function.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from safetensors.numpy import load_file, save_file

from ..atomic_files import save_tensors
from ..base import FitContext, journal, stored
from ..neural.labelling.rows import Rows
from training.ngram.counting.counts import count_ngrams
from training.ngram.fitting import fit_tables
from ..ngram.lm import NGramLM
from ..ngram.measure import score_chunks
from ..specs import NGramSpec
from ..tokens.vocabulary import BOS, CONTEXT_IDS, STARS
from .classifier import WEIGHTS, Classifier, ClassifierFit, log_loss, prior, softmax
from .figures import macro_f1
from .spec import BayesSpec
from .texts import framed, text_rows

if TYPE_CHECKING:
    from ..neural.labelling.labelled_sequences import LabelledSequences
    from ..tokens.vocabulary import Vocabulary

BEGIN = (BOS, STARS[0])
"""The tokens before a text, as in a stream of reviews without ratings."""
LOWEST, HIGHEST = 1e-6, 1e3
"""Range of 1 / T."""
HALVINGS = 60


class BayesClassifier(Classifier):
    """One n-gram model per label.

    Args:
        models: The language model of each label (K).
        temperature: T.
        prior_K: Share of each label in training.
    """

    def __init__(
        self, spec: BayesSpec, models: list[NGramLM], temperature: float, prior_K: np.ndarray
    ) -> None:
        super().__init__(spec, models[0].vocabulary_size, prior_K)
        self.models, self.temperature = models, temperature

    def scores_of_texts(self, texts: Rows) -> np.ndarray:
        """Return (log share_k + log p_k(text)) / T (N, K)."""
        return self.joint(texts) / self.temperature

    def joint(self, texts: Rows) -> np.ndarray:
        """Return log share_k + log p_k(text) (N, K); a text may be empty."""
        documents = framed(texts, BEGIN, longest=int(texts.lengths.max()))
        columns = [-_document_nats(model, documents) for model in self.models]
        return np.stack(columns, axis=1) + np.log(self.prior_K)

    def save(self, folder: Path) -> None:
        """Write the tables of each label in a folder of its own, then temperature and prior."""
        for number, model in enumerate(self.models):
            model.save(folder / f"label_{number}")
        save_tensors(save_file, {"temperature": np.array([self.temperature]), "prior": self.prior_K}, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path, spec: BayesSpec, vocabulary: Vocabulary, device: str = "cpu") -> Self:
        """Open a saved classifier; it runs on the CPU, and *device* has no effect."""
        of_label = _language_model_spec(spec)
        with stored(f"the tables in {folder}"):
            models = [NGramLM.load(folder / f"label_{k}", of_label, vocabulary) for k in range(len(spec.labels))]
            arrays = load_file(folder / WEIGHTS)
            temperature = float(arrays["temperature"][0])
            if arrays["prior"].shape != (len(models),) or not temperature > 0:
                raise ValueError("temperature or shares of the labels do not fit the options")
            return cls(spec, models, temperature, arrays["prior"])

    @classmethod
    def fit(
        cls, spec: BayesSpec, vocabulary: Vocabulary, train: LabelledSequences, validation: LabelledSequences,
        context: FitContext,
    ) -> ClassifierFit:  # fmt: skip
        """Estimate a language model on the reviews of each label; choose the temperature on validation."""
        began, labels, of_label = time.perf_counter(), len(spec.labels), _language_model_spec(spec)
        documents, held_out = (framed(text_rows(one.sequences), BEGIN) for one in (train, validation))
        models = []
        for label in range(labels):
            reviews = _Documents.of(documents, train.targets == label)
            known = validation.targets == label
            held = _Documents.of(held_out, known if known.any() else ~known)  # for methods that tune parameters
            counts = count_ngrams(reviews, spec.order, vocabulary.size, CONTEXT_IDS, engine=context.engine)
            tables = fit_tables(counts, of_label, held_out=held, engine=context.engine).tables
            models.append(NGramLM(tables))
        model = cls(spec, models, 1.0, prior(train.targets, labels))
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


def _language_model_spec(spec: BayesSpec) -> NGramSpec:
    return NGramSpec(order=spec.order, smoothing=spec.smoothing)


def _document_nats(model: NGramLM, documents: Rows) -> np.ndarray:
    """Return −log p of each document (D); its begin resets the context."""
    nats_P = np.concatenate(list(score_chunks(model, documents.ids_P)))
    sums_D: np.ndarray = np.add.reduceat(nats_P, documents.offsets[:-1])
    return sums_D


def fitted_temperature(joint_NK: np.ndarray, targets_N: np.ndarray) -> float:
    """Return the temperature T with the lowest log loss of softmax(joint / T)."""
    right_N = joint_NK[np.arange(len(targets_N)), targets_N]
    low, high = np.log(LOWEST), np.log(HIGHEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        expected_N = (softmax(joint_NK * np.exp(middle)) * joint_NK).sum(1)
        low, high = (middle, high) if (expected_N - right_N).mean() < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))
