"""Classify by one n-gram language model per label, and Bayes' rule.

    score_k(text) = (log share_k + log p_k(text)) / T         p(k | text) = softmax(score(text))_k

p_k(text) is the product of the probabilities of all tokens of the text and its end. They are not independent given the
label, so this product overstates the evidence: with T = 1 the probabilities are far too near 0 and 1. T, the
temperature, is chosen on validation; it changes no answer. The log loss is convex in 1 / T. Its derivative is the mean
over reviews of E_p[s] − s_y, with s the scores for T = 1; bisection finds the zero of this rising function.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from safetensors.numpy import load_file, save_file

from ..atomic_files import save_tensors
from ..base import stored
from ..neural.labelling.rows import Rows
from ..ngram.lm import NGramLM
from ..ngram.measure import score_chunks
from ..specs import NGramSpec
from ..tokens.special import BOS, STARS
from .classifier import WEIGHTS, Classifier
from .spec import BayesSpec
from .texts import framed

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary

BEGIN = (BOS, STARS[0])
"""The tokens before a text, as in a stream of reviews without ratings."""


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
        of_label = language_model_spec(spec)
        with stored(f"the tables in {folder}"):
            models = [NGramLM.load(folder / f"label_{k}", of_label, vocabulary) for k in range(len(spec.labels))]
            arrays = load_file(folder / WEIGHTS)
            temperature = float(arrays["temperature"][0])
            if arrays["prior"].shape != (len(models),) or not temperature > 0:
                raise ValueError("temperature or shares of the labels do not fit the options")
            return cls(spec, models, temperature, arrays["prior"])


def language_model_spec(spec: BayesSpec) -> NGramSpec:
    """Return the options of the language model of each label."""
    return NGramSpec(order=spec.order, smoothing=spec.smoothing)


def _document_nats(model: NGramLM, documents: Rows) -> np.ndarray:
    """Return −log p of each document (D); its begin resets the context."""
    nats_P = np.concatenate(list(score_chunks(model, documents.ids_P)))
    sums_D: np.ndarray = np.add.reduceat(nats_P, documents.offsets[:-1])
    return sums_D
