"""Compare texts by their words alone: the baselines that vectors of a network should beat.

- tf-idf: cosine of tf-idf vectors (`models/classification/features/tfidf.py`) of all words that two texts have.
- Word vectors: cosine of the mean vectors of the words (`reviewlm embed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.vectors.same_topic import Cosines
from models.classification.counted_specs import LogisticSpec
from models.classification.features.tfidf import TfidfFeatures
from models.neural.labelling.rows import Rows
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import UNK, Vocabulary
from models.vectors.formats.files import read_vectors
from models.vectors.nearest import unit

MOST_WORDS = 1_000_000


def dense_cosines(vectors_NF: np.ndarray) -> Cosines:
    """Return the cosines of vectors, one per review."""
    unit_NF = unit(vectors_NF)
    return lambda rows_B: np.asarray(unit_NF[rows_B] @ unit_NF.T)


def tfidf_cosines(texts: Sequence[str]) -> Cosines:
    """Return the cosines of tf-idf vectors; a word of a single text cannot be shared and is left out."""
    from scipy.sparse import csr_array

    known, ids = _words(texts)
    rows = Rows.of(ids)
    features = TfidfFeatures.learn(LogisticSpec(orders=(1,), features=MOST_WORDS), rows, known.size).transform(rows)
    shape = (len(texts), MOST_WORDS)
    matrix_NF = csr_array((features.values_P.astype(np.float32), features.ids_P, features.offsets), shape=shape)
    transposed_FN = matrix_NF.T.tocsr()
    return lambda rows_B: np.asarray((matrix_NF[rows_B] @ transposed_FN).toarray())


def word_vector_cosines(texts: Sequence[str], folder: Path) -> Cosines:
    """Return the cosines of the mean word vectors of texts; words without a vector are left out.

    Args:
        texts: In normal form.
        folder: Word vectors; see `models.vectors.formats.files.read_vectors`.
    """
    known, ids = _words(texts)
    words = [known.token(token) for token in range(known.size)]
    vectors = read_vectors(folder, set(words))
    row_V = np.array([vectors.index.get(word, -1) for word in words])
    vectors_ND = np.zeros((len(texts), vectors.dimensions), np.float32)
    for row, ids_T in enumerate(ids):
        if len(kept := row_V[ids_T][row_V[ids_T] >= 0]):
            vectors_ND[row] = vectors.matrix_ND[kept].mean(0)
    return dense_cosines(vectors_ND)


def _words(texts: Sequence[str]) -> tuple[Vocabulary, list[np.ndarray]]:
    """Return a vocabulary of all words that occur twice, in small letters, and the ids of each text's known words."""
    known = Vocabulary.train(texts, VocabularySpec(size=MOST_WORDS, min_count=2), NormalForm())
    return known, [ids[ids != UNK] for ids in known.encode_batch(texts)]
