"""Hold the vectors of words: look one up, find its neighbours, solve analogies, save and load.

Similarity is the cosine. An analogy "a is to b as c is to ?" is answered with 3CosAdd (Mikolov et al. 2013; Levy &
Goldberg 2014): the word d, not one of the three, with the largest cos(d, b − a + c) of unit vectors.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

from ..atomic_files import save_tensors
from ..base import ModelError, sha256_of, stored

FORMAT = 1
HEADER, ARRAYS = "vectors.json", "vectors.safetensors"
ALIKE = 0.8
"""Mean cosine of two words above which a neighbour says little."""
INPUT, OUTPUT = "vectors", "output_vectors"


class Neighbour(NamedTuple):
    """A word and its cosine to what was asked for."""

    word: str
    cosine: float


class WordVectors:
    """Vectors of N words.

    Args:
        words: The words, all different.
        matrix_ND: Their vectors (float32).
        counts: How often each word occurred in the training text; empty if that is not known.
        facts: JSON values about the vectors: options, where they come from.
        output_ND: Output vectors of the words, for further training and scores of windows; None if there are none.

    Raises:
        ModelError: kind "input": words repeat, sizes do not agree, or a number is not finite.
    """

    def __init__(
        self, words: Sequence[str], matrix_ND: np.ndarray, counts: Sequence[int] = (),
        facts: Mapping[str, Any] | None = None, output_ND: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.words, self.matrix_ND = list(words), np.asarray(matrix_ND, np.float32)
        self.counts, self.facts, self.output_ND = list(map(int, counts)), dict(facts or {}), output_ND
        self.index = {word: row for row, word in enumerate(self.words)}
        if len(self.index) != len(self.words):
            repeated = next(word for row, word in enumerate(self.words) if self.index[word] != row)
            raise ModelError(f"the word {repeated!r} has two vectors", "input")
        if self.matrix_ND.ndim != 2 or len(self.matrix_ND) != len(self.words):
            raise ModelError(f"{len(self.words)} words have vectors of shape {self.matrix_ND.shape}", "input")
        if self.counts and len(self.counts) != len(self.words):
            raise ModelError(f"{len(self.words)} words have {len(self.counts)} counts", "input")
        if not np.isfinite(self.matrix_ND).all():
            wrong = self.words[int(np.flatnonzero(~np.isfinite(self.matrix_ND).all(1))[0])]
            raise ModelError(f"the vector of {wrong!r} has a number that is not finite", "input")

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.index

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""
        return int(self.matrix_ND.shape[1])

    @cached_property
    def unit_ND(self) -> np.ndarray:
        """The vectors, scaled to length 1; a vector of zeros stays."""
        lengths_N = np.linalg.norm(self.matrix_ND, axis=1, keepdims=True)
        return np.asarray(self.matrix_ND / np.where(lengths_N > 0, lengths_N, 1))

    @property
    def mean_cosine(self) -> float:
        """The mean cosine of two different words; near 1, all words are alike, as after a short training."""
        sum_D, words = self.unit_ND.sum(0, dtype=np.float64), len(self)
        return float((sum_D @ sum_D - np.square(self.unit_ND).sum(dtype=np.float64)) / max(1, words * (words - 1)))

    def row(self, word: str) -> int:
        """Return the place of a word; if there is none, that of its lower-case form.

        Raises:
            ModelError: kind "input": the word has no vector; the message names similar words.
        """
        for form in (word, word.lower()):
            if form in self.index:
                return self.index[form]
        near = difflib.get_close_matches(word.lower(), self.words[:50_000], n=3)
        raise ModelError(f"the word {word!r} has no vector" + (f"; similar words: {', '.join(near)}" if near else ""),
                         "input")  # fmt: skip

    def from_parts(self, word: str) -> np.ndarray | None:
        """Return a vector made from parts of a word that has none; None where vectors have no parts."""
        return None

    def vector(self, word: str) -> np.ndarray:
        """Return the vector of a word (D); errors as in `row`."""
        return np.asarray(self.matrix_ND[self.row(word)])

    def cosine(self, one: str, other: str) -> float:
        """Return the cosine of two words; errors as in `row`."""
        return float(self.unit_ND[self.row(one)] @ self.unit_ND[self.row(other)])

    def neighbours(self, word: str, n: int = 10) -> list[Neighbour]:
        """Return the n words with the largest cosine to a word, without itself; errors as in `row`."""
        row = self.row(word)
        return self.nearest(self.unit_ND[row], n, (row,))

    def analogy(self, a: str, b: str, c: str, n: int = 10) -> list[Neighbour]:
        """Return the n best answers to "a is to b as c is to ?", none of the three; errors as in `row`."""
        rows = [self.row(word) for word in (a, b, c)]
        first, second, third = self.unit_ND[rows]
        return self.nearest(second - first + third, n, rows)

    def nearest(self, vector_D: np.ndarray, n: int = 10, without: Iterable[int] = ()) -> list[Neighbour]:
        """Return the n words with the largest cosine to a vector; of equal ones the first.

        Args:
            without: Places of words that are left out.
        """
        length = float(np.linalg.norm(vector_D))
        cosines_N = self.unit_ND @ (np.asarray(vector_D, np.float32) / (length or 1.0))
        left_out = list(without)
        cosines_N[left_out] = -np.inf
        best = np.argsort(-cosines_N, kind="stable")[: max(0, min(n, len(self.words) - len(set(left_out))))]
        return [Neighbour(self.words[row], float(cosines_N[row])) for row in best]

    def save(self, folder: Path) -> None:
        """Write the vectors into a folder: safetensors, and JSON with the words, written last."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HEADER).unlink(missing_ok=True)
        arrays = {INPUT: self.matrix_ND} | ({} if self.output_ND is None else {OUTPUT: self.output_ND})
        save_tensors(save_file, {name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS)
        header = {"format": FORMAT, "words": self.words, "counts": self.counts, "facts": self.facts,
                  "sha256": {ARRAYS: sha256_of(folder / ARRAYS)}}  # fmt: skip
        (folder / HEADER).write_text(json.dumps(header, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> WordVectors:
        """Read vectors that `save` wrote.

        Raises:
            ModelError: kind "bundle": the folder is not complete, or a byte has changed.
        """
        with stored(f"the word vectors in {folder}"):
            header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
            if header["format"] != FORMAT:
                raise ValueError(f"format {header['format']}; this version reads {FORMAT}")
            if sha256_of(folder / ARRAYS) != header["sha256"][ARRAYS]:
                raise ValueError(f"{ARRAYS} has changed since it was written")
            arrays = load_file(folder / ARRAYS)
            return cls(header["words"], arrays[INPUT], header["counts"], header["facts"], arrays.get(OUTPUT))
