"""Give each entry of a vocabulary a row of word vectors, as the start of an embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gensim.models import KeyedVectors
from gensim.models.fasttext import FastTextKeyedVectors

from reviewlm.models.base import ModelError
from reviewlm.models.tokens.special import UNK
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.models.tokens.words import FIRST
from reviewlm.training.vectors.files import read_vectors

SHOWN_ENTRIES = 20
"""Number of missing entries that a report names."""


@dataclass(frozen=True)
class Coverage:
    """How much of a vocabulary has vectors.

    Attributes:
        entries: Entries of the vocabulary.
        found: Entries whose vector was looked up.
        built: Further entries, whose vector was made from parts of the word.
        share_of_text: Share of the text's tokens, unknown words included, that are entries with a vector, looked up or
            made.
        missing: The most frequent entries without a vector.
    """

    entries: int
    found: int
    built: int
    share_of_text: float
    missing: tuple[str, ...]


def embedding_matrix(
    vectors: KeyedVectors,
    entries: Sequence[str],
    counts_V: np.ndarray,
    free_V: np.ndarray,
) -> tuple[np.ndarray, Coverage]:
    """Return a matrix with one row per vocabulary entry (V, D, float32), and the coverage.

    An entry gets the vector of the same text, else of the text without the space before it (pieces of words), else of
    the lower-case form of either, else one made of its parts (fastText models only). An entry without any gets a random
    row with the mean and the variance of the others in each dimension (Kim 2014, section 4.1): so a network can tell
    such entries apart even if the embedding is not trained. The same arguments give the same bytes.

    Args:
        entries: The vocabulary, in the order of its ids (`Vocabulary.token`).
        counts_V: How often each entry occurs in the text.
        free_V: False for entries that get no vector: they are neither looked up nor made of parts.

    Raises:
        ModelError: kind "input": no entry has a vector.
    """
    index = vectors.key_to_index
    rows_V = np.array([_first_row(index, forms(entry)) for entry in entries])
    found_V = (rows_V >= 0) & free_V
    matrix_VD = np.zeros((len(entries), vectors.vector_size), np.float32)
    matrix_VD[found_V] = vectors.vectors[rows_V[found_V]]
    has_V = found_V.copy()
    for place in (
        np.flatnonzero(free_V & ~found_V).tolist()
        if isinstance(vectors, FastTextKeyedVectors)
        else ()
    ):
        # The mean of its n-grams; zeros if it has none.
        matrix_VD[place] = vectors[entries[place].strip(" ")]
        has_V[place] = matrix_VD[place].any()

    if not has_V.any():
        named = ", ".join(map(repr, entries[:3]))
        raise ModelError(
            f"none of the {len(entries)} entries of the vocabulary ({named} …) has a vector",
            "input",
        )

    matrix_VD[~has_V] = _like(matrix_VD[has_V], int((~has_V).sum()))
    missing = tuple(
        entries[place] for place in np.argsort(-counts_V, kind="stable") if not has_V[place]
    )[:SHOWN_ENTRIES]
    share = float(counts_V[has_V].sum() / max(int(counts_V.sum()), 1))
    built = int(has_V.sum() - found_V.sum())
    return matrix_VD, Coverage(
        len(entries),
        int(found_V.sum()),
        built,
        share,
        missing,
    )


def _first_row(index: Mapping[str, int], names: Sequence[str]) -> int:
    """Return the row of the first name that the index has; -1 if it has none."""
    for name in names:
        if name in index:
            return index[name]
    return -1


def _like(matrix_ND: np.ndarray, rows: int) -> np.ndarray:
    """Draw rows that have the mean and the variance of given ones in each dimension; always the same rows."""
    normal_RD = np.random.default_rng(0).standard_normal((rows, matrix_ND.shape[1]), np.float32)
    mean_D = matrix_ND.mean(0, dtype=np.float64).astype(np.float32)
    deviation_D = matrix_ND.std(0, dtype=np.float64).astype(np.float32)
    return np.asarray(mean_D + deviation_D * normal_RD)


def forms(entry: str) -> tuple[str, ...]:
    """Return the texts under which a vector file may have an entry, the best first."""
    bare = entry.strip(" ")
    return entry, bare, entry.lower(), bare.lower()


def vocabulary_rows(
    path: Path,
    vocabulary: Vocabulary,
    counts_V: np.ndarray,
) -> tuple[np.ndarray, Coverage]:
    """Read the vectors of a vocabulary's entries from a file or folder; return (V, D) and the coverage.

    In a vocabulary of parts of words, the entries that continue a word are not looked up among whole words: the "s"
    that ends "foods" is not the word "s". Vectors of parts of words are recognised by the space before some of them.

    Special tokens, which no such file knows, get random rows of the usual size.

    Args:
        vocabulary: Its entries are looked up.
        counts_V: How often each entry occurs in the training text.

    Raises:
        ModelError: See `read_vectors`; kind "input": the file has no vector for any entry.
    """
    entries = [vocabulary.token(token) for token in range(FIRST, vocabulary.size)]
    vectors = read_vectors(path, {form for entry in entries for form in forms(entry)})
    of_words = vocabulary.word_unit is None and not any(
        word.startswith(" ") for word in vectors.index_to_key
    )
    if of_words:
        free_V = ~vocabulary.word_part_V[FIRST:]
    else:
        free_V = np.ones(len(entries), bool)

    try:
        matrix_ND, coverage = embedding_matrix(vectors, entries, counts_V[FIRST:], free_V)
    except ModelError as error:
        remedy = "name vectors of the language of the texts, or vectors that were trained with this vocabulary"
        raise ModelError(f"{path}: {error}: {remedy}", "input") from error

    listed = counts_V[FIRST:].sum()
    share = float(listed) / max(float(listed + counts_V[UNK]), 1.0)
    coverage = replace(coverage, share_of_text=coverage.share_of_text * share)
    usual = float(np.sqrt(np.square(matrix_ND, dtype=np.float64).mean()))
    special_SD = (
        np.random.default_rng(0).normal(0.0, usual, (FIRST, matrix_ND.shape[1])).astype(np.float32)
    )
    return np.concatenate([special_SD, matrix_ND]), coverage
