"""Classify by layers on tf-idf features; scikit-learn fits them (`training/labelling/features.py`).

    tf(f, d)    c, the count of the n-gram f in review d; with `sublinear` 1 + ln c
    idf(f)      ln((1 + D) / (1 + df(f))) + 1          df: the number of training reviews with f
    x_f         tf(f, d) idf(f), divided by the Euclidean norm of the review's vector

    logistic    W x + b that minimises ½ ‖W‖² + C Σ_n −log softmax(W x_n + b)_{y_n}
    bayes       W = −log p(feature | other labels), b = 0, so W x = −log p(text | other labels): rare labels have more
                text there than of their own (complement naive Bayes, Rennie et al. 2003, section 3.1)
    tfidf       W₂ relu(W₁ x + b₁) + b₂, trained by cross-entropy

The numbers are those of scikit-learn's `TfidfVectorizer` on the entries of a vocabulary. But n-grams are numbers and
not strings, and answers need neither scikit-learn nor scipy. An n-gram of ids (i_1 … i_n) has the key
i_1 V^{n−1} + … + i_n.
Shapes: D reviews, P n-grams of all of them, U different ones, F features, M pairs of a feature and a review with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from safetensors.numpy import load_file, save_file

from ..atomic_files import save_tensors
from ..base import translate_read_errors
from ..neural.labelling.rows import Rows
from .classifier import WEIGHTS, Classifier
from .spec import FeatureSpec, TfidfSpec

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary


class SparseRows(NamedTuple):
    """Vectors x of D reviews, as in a CSR matrix: feature numbers ids_M, values_M, offsets (D + 1)."""

    ids_M: np.ndarray
    values_M: np.ndarray
    offsets: np.ndarray

    def times(self, weight_KF: np.ndarray) -> np.ndarray:
        """Return W x of each review (D, K)."""
        reviews = len(self.offsets) - 1
        rows_M = np.repeat(np.arange(reviews), np.diff(self.offsets))
        products = (self.values_M * weight_F[self.ids_M] for weight_F in weight_KF)
        return np.stack(
            [np.bincount(rows_M, product_M, minlength=reviews) for product_M in products], axis=1
        )


@dataclass(frozen=True)
class TfidfFeatures:
    """The features of a classifier, learnt from training reviews.

    Args:
        entries: V.
        orders: Lengths of the n-grams.
        keys: Sorted keys of the features of each order; features are numbered in this order, order after order.
        idf_F: idf of each feature.
        sublinear: Use 1 + ln(count) in place of the count.
    """

    entries: int
    orders: tuple[int, ...]
    keys: tuple[np.ndarray, ...]
    idf_F: np.ndarray
    sublinear: bool

    def __len__(self) -> int:
        return len(self.idf_F)

    def transform(self, texts: Rows) -> SparseRows:
        """Return the tf-idf vector of each review; one without features has an empty row."""
        pairs = []
        base = 0
        for order, keys_F in zip(self.orders, self.keys, strict=True):
            keys_P, rows_P = ngrams(texts, order, self.entries)
            place_P = np.searchsorted(keys_F, keys_P)
            there_P = np.append(keys_F, -1)[place_P] == keys_P
            pairs.append(rows_P[there_P] * len(self) + base + place_P[there_P])
            base += len(keys_F)

        pairs_M, counts_M = np.unique(np.concatenate(pairs), return_counts=True)
        rows_M, ids_M = np.divmod(pairs_M, len(self))
        values_M = (1 + np.log(counts_M) if self.sublinear else counts_M) * self.idf_F[ids_M]
        norms = np.sqrt(np.bincount(rows_M, values_M * values_M, minlength=len(texts)))
        offsets = np.searchsorted(rows_M, np.arange(len(texts) + 1))
        return SparseRows(ids_M.astype(np.int32), values_M / norms[rows_M], offsets)

    def names(self, words: Sequence[str]) -> list[str]:
        """Return each feature's n-gram, with the name of each vocabulary entry given."""
        names = []
        for order, keys_F in zip(self.orders, self.keys, strict=True):
            places = [
                keys_F // self.entries**place % self.entries for place in reversed(range(order))
            ]
            for row in np.stack(places, axis=1).tolist():
                names.append(" ".join(words[entry] for entry in row))

        return names

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything but the options, to be stored."""
        keys = {
            f"keys.{order}": keys_F for order, keys_F in zip(self.orders, self.keys, strict=True)
        }
        return {**keys, "idf": self.idf_F}

    @classmethod
    def from_arrays(
        cls,
        spec: FeatureSpec,
        entries: int,
        arrays: Mapping[str, np.ndarray],
    ) -> TfidfFeatures:
        """Rebuild the features from the result of `arrays`.

        Raises:
            KeyError, ValueError: The arrays are not those of features of this spec.
        """
        keys = tuple(arrays[f"keys.{order}"] for order in spec.orders)
        if sum(map(len, keys)) != len(arrays["idf"]) or any(
            (np.diff(keys_F) <= 0).any() for keys_F in keys
        ):
            raise ValueError(
                "the keys of the features are not sorted, or not as many as their weights"
            )

        return cls(
            entries,
            spec.orders,
            keys,
            arrays["idf"],
            spec.sublinear,
        )


def ngrams(
    texts: Rows,
    order: int,
    entries: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the key and the review of each n-gram of one order (P; int64), in the order of the texts.

    Args:
        order: n, with V^n below 2^63.
        entries: V.
    """
    rows_P = np.repeat(np.arange(len(texts)), texts.lengths)
    ends = max(0, len(rows_P) - order + 1)
    ids_P = texts.ids_P.astype(np.int64)
    whole_P = rows_P[:ends] == rows_P[len(rows_P) - ends :]
    keys_P = np.zeros(ends, np.int64)
    for place in range(order):
        keys_P = keys_P * entries + ids_P[place : place + ends]
    return keys_P[whole_P], rows_P[:ends][whole_P]


class FeatureWeight(NamedTuple):
    """How much a feature speaks for a label.

    Attributes:
        label: Name of the label.
        feature: Its name for people.
        weight: Its weight less the mean over the labels; below 0 it speaks against the label.
    """

    label: str
    feature: str
    weight: float


class FeatureClassifier(Classifier):
    """Layers W x + b on tf-idf features, with relu between them; a linear classifier has one.

    Args:
        features: Learnt from the training reviews.
        layers: W (outputs × inputs) and b of each layer; the last one's outputs are the scores of the labels.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        features: TfidfFeatures,
        layers: Sequence[tuple[np.ndarray, np.ndarray]],
        prior_K: np.ndarray,
    ) -> None:
        super().__init__(spec, features.entries, prior_K)
        self.features = features
        self.layers = tuple(layers)

    def scores_of_texts(self, texts: Rows) -> np.ndarray:
        """Return the outputs of the last layer (N, K)."""
        return self.scores_of_features(self.features.transform(texts))

    def scores_of_features(self, x: SparseRows) -> np.ndarray:
        """Return the scores (N, K) of tf-idf vectors."""
        (weight_OF, bias_O), *rest = self.layers
        scores_NO = x.times(weight_OF) + bias_O
        for weight_KO, bias_K in rest:
            scores_NO = np.maximum(scores_NO, 0) @ weight_KO.T + bias_K
        return scores_NO

    def strongest(self, vocabulary: Vocabulary, most: int) -> list[FeatureWeight]:
        """Return the *most* features that speak most for each label, of a linear classifier.

        A weight is the mean over the labels taken off W: adding a number to the weights of a feature for all labels
        changes no answer.
        """
        words = [vocabulary.token(entry).replace("\n", "\\n") for entry in range(vocabulary.size)]
        names = self.features.names(words)
        [(weight_KF, _)] = self.layers
        largest = []
        for label, weight_F in zip(self.spec.labels, weight_KF - weight_KF.mean(0), strict=True):
            for place in np.argsort(-weight_F, kind="stable")[:most]:
                largest.append(FeatureWeight(label, names[place], float(weight_F[place])))

        return largest

    def save(self, folder: Path) -> None:
        """Write weights and features."""
        layers = {}
        for number, layer in enumerate(self.layers):
            for name, array in zip(("weight", "bias"), layer, strict=True):
                layers[f"{name}.{number}"] = array

        save_tensors(
            save_file,
            {
                **layers,
                "prior": self.prior_K,
                **self.features.arrays(),
            },
            folder / WEIGHTS,
        )

    @classmethod
    def load(
        cls,
        folder: Path,
        spec: FeatureSpec,
        vocabulary: Vocabulary,
        device: str = "cpu",
    ) -> Self:
        """Open a saved classifier; it runs on the CPU, and *device* has no effect."""
        with translate_read_errors(f"the weights in {folder}"):
            arrays = load_file(folder / WEIGHTS)
            labels = len(spec.labels)
            features = TfidfFeatures.from_arrays(spec, vocabulary.size, arrays)
            sizes = [len(features), *([spec.hidden] if isinstance(spec, TfidfSpec) else []), labels]
            layers = [
                (arrays[f"weight.{number}"], arrays[f"bias.{number}"])
                for number in range(len(sizes) - 1)
            ]
            shapes = [(weight.shape, bias.shape) for weight, bias in layers]
            if shapes != [((out, into), (out,)) for into, out in pairwise(sizes)] or arrays[
                "prior"
            ].shape != (labels,):
                raise ValueError(
                    f"the weights have the shapes {shapes}; they do not fit the options"
                )

            return cls(spec, features, layers, arrays["prior"])
