"""Classify by the mean of learnt vectors of words and n-grams, and a linear layer: scores A h, as fastText does.

fastText learns the vectors and A. Only the vectors of what the training reviews contain are stored, and answers are
computed here, so that a registered classifier needs no fastText. The library gives an n-gram that no training review
had the vector of its bucket, which nothing was learnt for; here it is left out of the mean.

(A. Joulin et al. (2017), "Bag of tricks for efficient text classification", figure 1. Hashes: fastText's
`Dictionary::hash` (FNV-1a with signed bytes) and `Dictionary::addWordNgrams`, version 0.9.2.)

Shapes: N reviews, K labels, D dimensions, W words, B used buckets, T tokens of a review, I vectors of a review.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from safetensors.numpy import load_file, save_file

from ..atomic_files import save_tensors
from ..base import FitContext, ModelError, journal, stored
from ..neural.labelling.rows import Rows
from .classifier import WEIGHTS, Classifier, ClassifierFit, log_loss, prior
from .figures import macro_f1
from .spec import FastTextSpec
from .texts import text_rows

if TYPE_CHECKING:
    from ..neural.labelling.labelled_sequences import LabelledSequences
    from ..tokens.vocabulary import Vocabulary

END, LABEL = "</s>", "__label__"
FNV_START, FNV_PRIME, NEXT = 2_166_136_261, 16_777_619, np.uint64(116_049_371)
log = logging.getLogger(__name__)


class FastTextClassifier(Classifier):
    """A classifier that fastText fitted.

    Args:
        words_W: Vocabulary entries that have a vector, rising.
        buckets_B: Buckets of n-grams that have one, rising.
        vector_ID: The vectors of the words, of the end of a review, and of the buckets, in this order (float32).
        output_KD: A.
    """

    def __init__(
        self, spec: FastTextSpec, entries: int, words_W: np.ndarray, buckets_B: np.ndarray, vector_ID: np.ndarray,
        output_KD: np.ndarray, prior_K: np.ndarray,
    ) -> None:  # fmt: skip
        super().__init__(spec, entries, prior_K)
        self.words_W, self.buckets_B, self.vector_ID, self.output_KD = words_W, buckets_B, vector_ID, output_KD

    def scores_of_texts(self, texts: Rows) -> np.ndarray:
        """Return A h (N, K), h the mean of the review's vectors; its end has one, so there is always one."""
        means = [self.vector_ID[self._rows(ids_T)].mean(0, dtype=np.float64) for ids_T in _reviews(texts)]
        scores_NK: np.ndarray = np.array(means) @ self.output_KD.T.astype(np.float64)
        return scores_NK

    def _rows(self, ids_T: np.ndarray) -> np.ndarray:
        """Return the rows of the vectors of a review."""
        words = _places(self.words_W, ids_T)
        ngrams = _places(self.buckets_B, buckets_of(ids_T, self.spec.order, self.spec.buckets))
        end = len(self.words_W)
        return np.concatenate([words, [end], end + 1 + ngrams]).astype(np.int64)

    def save(self, folder: Path) -> None:
        """Write the vectors and what they belong to."""
        arrays = {"words": self.words_W, "buckets": self.buckets_B, "vectors": self.vector_ID,
                  "output": self.output_KD, "prior": self.prior_K}  # fmt: skip
        save_tensors(save_file, {name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path, spec: FastTextSpec, vocabulary: Vocabulary, device: str = "cpu") -> Self:
        """Open a saved classifier; it runs on the CPU, and *device* has no effect."""
        with stored(f"the weights in {folder}"):
            arrays = load_file(folder / WEIGHTS)
            words_W, buckets_B = arrays["words"], arrays["buckets"]
            shapes = {name: array.shape for name, array in arrays.items() if name not in ("words", "buckets")}
            labels, rows = len(spec.labels), len(words_W) + 1 + len(buckets_B)
            wanted = {"vectors": (rows, spec.dimensions), "output": (labels, spec.dimensions), "prior": (labels,)}
            rising = all(array.ndim == 1 and (np.diff(array) > 0).all() for array in (words_W, buckets_B))
            if shapes != wanted or not rising:
                raise ValueError(f"the weights have the shapes {shapes}; they do not fit the options")
            return cls(
                spec, vocabulary.size, words_W, buckets_B, arrays["vectors"], arrays["output"], arrays["prior"]
            )

    @classmethod
    def fit(
        cls, spec: FastTextSpec, vocabulary: Vocabulary, train: LabelledSequences, validation: LabelledSequences,
        context: FitContext,
    ) -> ClassifierFit:  # fmt: skip
        """Fit with each pair of epochs and rate; keep the one with the lowest loss, or the highest macro-F1.

        Raises:
            ModelError: kind "input": the package fastText is not installed, or it diverges at every rate.
        """
        began, labels = time.perf_counter(), len(spec.labels)
        texts, prior_K = text_rows(train.sequences), prior(train.targets, labels)
        words_W = np.unique(texts.ids_P)
        seen = [buckets_of(ids_T, spec.order, spec.buckets) for ids_T in _reviews(texts)]
        buckets_B = np.unique(np.concatenate(seen))
        best: tuple[float, FastTextClassifier, tuple[int, float]] | None = None
        figures: dict[str, float] = {}
        for chosen, vector_ID, output_KD in _fits(spec, texts, train.targets, words_W, buckets_B, context.work):
            model = cls(spec, vocabulary.size, words_W, buckets_B, vector_ID, output_KD, prior_K)
            scores_NK = model.scores(validation.sequences)
            loss = log_loss(scores_NK, validation.targets)
            f1 = macro_f1(validation.targets, scores_NK.argmax(1), labels)
            pair = f"epochs_{chosen[0]}_rate_{chosen[1]:g}"
            figures |= {f"{pair}/log_loss": loss, f"{pair}/macro_f1": f1}
            rank = -f1 if spec.choose_by == "macro_f1" else loss
            if isfinite(loss) and (best is None or rank < best[0]):
                best = rank, model, chosen
        if best is None:
            raise ModelError(f"fastText diverged at each of the rates {spec.rates}: give lower ones", "input")
        seconds, (_, model, (epochs, rate)) = time.perf_counter() - began, best
        journal(context, len(train.sequences.ids_P), {**figures, "epochs": epochs, "rate": rate})
        summary = {
            "parameters": float(model.vector_ID.size + model.output_KD.size), "words": float(len(words_W)),
            "ngrams": float(len(buckets_B)), "epochs": float(epochs), "rate": rate, "seconds": seconds,
        }  # fmt: skip
        return ClassifierFit(model, summary)


def buckets_of(ids_T: np.ndarray, order: int, buckets: int) -> np.ndarray:
    """Return the bucket of each n-gram of 2 to *order* tokens of a review and its end, one for each occurrence."""
    hashes_T = np.array([*(hash_of(str(number)) for number in ids_T.tolist()), hash_of(END)], np.uint32)
    hashes_T = hashes_T.astype(np.int32).astype(np.uint64)  # the library's conversions: to signed, then to 64 bits
    found, hash_T = [np.zeros(0, np.uint64)], hashes_T
    for length in range(2, order + 1):
        hash_T = hash_T[:-1] * NEXT + hashes_T[length - 1 :]
        found.append(hash_T % np.uint64(buckets))
    return np.concatenate(found).astype(np.int64)


_hashes: dict[str, int] = {}


def hash_of(word: str) -> int:
    """Return fastText's hash of a word (32 bits)."""
    if word not in _hashes:
        value = FNV_START
        for byte in word.encode():
            signed = byte if byte < 128 else byte | 0xFFFFFF00
            value = ((value ^ signed) * FNV_PRIME) & 0xFFFFFFFF
        _hashes[word] = value
    return _hashes[word]


def _reviews(texts: Rows) -> Iterator[np.ndarray]:
    return (texts.ids_P[start:end] for start, end in zip(texts.offsets[:-1], texts.offsets[1:], strict=True))


def _places(sorted_V: np.ndarray, wanted_T: np.ndarray) -> np.ndarray:
    """Return the places of those that are in a sorted array."""
    if not len(sorted_V):
        return np.zeros(0, np.int64)
    places_T = np.minimum(np.searchsorted(sorted_V, wanted_T), len(sorted_V) - 1)
    return places_T[sorted_V[places_T] == wanted_T]


def _fits(
    spec: FastTextSpec, texts: Rows, targets_N: np.ndarray, words_W: np.ndarray, buckets_B: np.ndarray,
    work: Path | None,
) -> Iterator[tuple[tuple[int, float], np.ndarray, np.ndarray]]:  # fmt: skip
    """Yield epochs and rate, vectors and A of each fit. A word is written as its number; the text says no more."""
    library: Any = _library()
    with tempfile.TemporaryDirectory(dir=work) as folder:
        file = Path(folder, "reviews.txt")
        with file.open("w", encoding="ascii") as out:
            for ids_T, target in zip(_reviews(texts), targets_N.tolist(), strict=True):
                out.write(f"{LABEL}{target} {' '.join(map(str, ids_T.tolist()))}\n")
        for epochs, rate in product(spec.epochs, spec.rates):
            try:
                fitted = library.train_supervised(
                    str(file), dim=spec.dimensions, epoch=epochs, lr=rate, wordNgrams=spec.order, bucket=spec.buckets,
                    loss="softmax", minCount=1, thread=1, verbose=0,
                )
            except RuntimeError as error:
                if "NaN" not in str(error):
                    raise
                log.warning("fastText diverged at the rate %g in %d epochs; this pair is left out", rate, epochs)
                continue
            yield (epochs, rate), *_weights(fitted, words_W, buckets_B, len(spec.labels))


def _weights(fitted: Any, words_W: np.ndarray, buckets_B: np.ndarray, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors in use, and A, whose rows the library sorts by how many reviews have the label."""
    words = fitted.get_words()
    row_of = {word: row for row, word in enumerate(words)}
    rows = [*(row_of[str(word)] for word in words_W.tolist()), row_of[END], *(len(words) + buckets_B).tolist()]
    output = dict(zip(fitted.get_labels(), fitted.get_output_matrix(), strict=True))
    output_KD = np.array([output[f"{LABEL}{label}"] for label in range(labels)], np.float32)
    return fitted.get_input_matrix()[rows].astype(np.float32), output_KD


def _library() -> Any:
    try:
        import fasttext
    except ImportError as error:
        raise ModelError(
            "fastText is not installed: pip install -c constraints.txt -e '.[fasttext]', or leave this model out",
            "input",
        ) from error
    return fasttext
