"""Classify by logistic regression on tf-idf features and counts: scores W x + b.

scikit-learn minimises  ½ ‖W‖² + C Σ_n −log softmax(W x_n + b)_{y_n}  for each strength C; validation chooses C. It is
needed for the fit alone: the weights are stored as numbers, and answers are computed here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from safetensors.numpy import load_file, save_file

from ..atomic_files import save_tensors
from ..base import stored
from ..neural.labelling.rows import FeatureRows, Rows
from .classifier import WEIGHTS, Classifier
from .features.review_features import ReviewFeatures
from .spec import LogisticSpec

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary



class FeatureWeight(NamedTuple):
    """How much a feature speaks for a label.

    Attributes:
        label: Name of the label.
        block: "n-grams" or "counts" (of lexicons and patterns).
        feature: Its name for people.
        weight: Its weight less the mean over the labels; below 0 it speaks against the label.
    """

    label: str
    block: str
    feature: str
    weight: float


class LogisticClassifier(Classifier):
    """Logistic regression.

    Args:
        features: Learnt from the training reviews.
        weight_KF: W.
        bias_K: b.
    """

    def __init__(
        self, spec: LogisticSpec, features: ReviewFeatures, weight_KF: np.ndarray, bias_K: np.ndarray,
        prior_K: np.ndarray,
    ) -> None:  # fmt: skip
        super().__init__(spec, features.entries, prior_K)
        self.features, self.weight_KF, self.bias_K = features, weight_KF, bias_K

    def scores_of_texts(self, texts: Rows) -> np.ndarray:
        """Return W x + b (N, K)."""
        return products(self.features.transform(texts), self.weight_KF) + self.bias_K

    def strongest(self, vocabulary: Vocabulary, most: int) -> list[FeatureWeight]:
        """Return the features that speak most for each label: the *most* largest weights of each block of features.

        A weight is the mean over the labels taken off W: adding a number to the weights of a feature for all labels
        changes no answer. Weights are per unit of the feature's value, so only those of one block are comparable.
        """
        centred_KF, strongest = self.weight_KF - self.weight_KF.mean(0), []
        for number, label in enumerate(self.spec.labels):
            first = 0
            for block, names in self.features.names(vocabulary).items():
                weight_F = centred_KF[number, first : first + len(names)]
                order = np.argsort(-weight_F, kind="stable")[:most]
                strongest += [FeatureWeight(label, block, names[place], float(weight_F[place])) for place in order]
                first += len(names)
        return strongest

    def save(self, folder: Path) -> None:
        """Write weights and features."""
        arrays = {"weight": self.weight_KF, "bias": self.bias_K, "prior": self.prior_K}
        save_tensors(save_file, arrays, folder / WEIGHTS)
        self.features.save(folder)

    @classmethod
    def load(cls, folder: Path, spec: LogisticSpec, vocabulary: Vocabulary, device: str = "cpu") -> Self:
        """Open a saved classifier; it runs on the CPU, and *device* has no effect."""
        with stored(f"the weights in {folder}"):
            features = ReviewFeatures.load(folder, spec, vocabulary.size)
            arrays = load_file(folder / WEIGHTS)
            shapes = {name: array.shape for name, array in arrays.items()}
            labels = len(spec.labels)
            if shapes != {"weight": (labels, len(features)), "bias": (labels,), "prior": (labels,)}:
                raise ValueError(f"the weights have the shapes {shapes}; they do not fit the options")
            return cls(spec, features, arrays["weight"], arrays["bias"], arrays["prior"])


def products(x: FeatureRows, weight_KF: np.ndarray) -> np.ndarray:
    """Return W x of each row (N, K)."""
    rows_M = np.repeat(np.arange(len(x)), x.lengths)
    columns = [np.bincount(rows_M, x.values_P * weight_F[x.ids_P], minlength=len(x)) for weight_F in weight_KF]
    return np.stack(columns, axis=1)
