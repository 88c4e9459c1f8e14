"""Join all features of the classifiers `logistic` and `tfidf`: n-grams, lexicons, patterns.

A review's vector has these blocks, one after the other:

    n-grams     tf · idf, of Euclidean norm 1 (`tfidf.py`)
    counts      c the weighted count of a lexicon or the number of matches of a pattern: x = c / s,
                with `sublinear` x = sign(c) ln(1 + |c|) / s; s is the root mean square in training

So a count has the mean square 1, which is that of all n-grams together. Without lexicons and patterns the vector is
that of the n-grams.
Shapes: D reviews, F features of all blocks, G counts, M pairs of a feature and a review that has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from ...atomic_files import save_tensors
from ...base import ModelError
from ...neural.labelling.rows import FeatureRows, Rows
from ..classifier import FEATURES
from ..spec import LogisticSpec, TfidfSpec
from .lexicons import Lexicon, LexiconCounter, load_lexicons, save_lexicons
from .patterns import count_patterns
from .tfidf import TfidfFeatures

if TYPE_CHECKING:
    from ...tokens.vocabulary import Vocabulary

LEXICONS = "lexicons.json"
TEXTS = 10_000
"""Texts in which lexicons and patterns are counted at a time."""


@dataclass(frozen=True)
class Counts:
    """Lexicons and patterns.

    Args:
        lexicons: Entries of each lexicon, by name.
        patterns: Expressions, by name.
        sublinear: Use sign(c) ln(1 + |c|) in place of the count c.
        scale_G: s, above 0.
    """

    lexicons: Mapping[str, Lexicon]
    patterns: Mapping[str, str]
    sublinear: bool
    scale_G: np.ndarray

    def __post_init__(self) -> None:
        if self.scale_G.shape != (len(self.names),) or not (self.scale_G > 0).all():
            raise ValueError(f"there are no scales of the counts {self.names}")

    @classmethod
    def learn(
        cls, lexicons: Mapping[str, Lexicon], patterns: Mapping[str, str], sublinear: bool, texts: Rows
    ) -> Counts:
        """Return the counts with their scales in training reviews; a count that is always 0 has the scale 1."""
        plain = cls(lexicons, patterns, sublinear, np.ones(len(lexicons) + len(patterns)))
        squares_G = np.sum([np.square(some_DG).sum(0) for some_DG in plain.counted(texts)], axis=0) / len(texts)
        return cls(lexicons, patterns, sublinear, np.where(squares_G > 0, np.sqrt(squares_G), 1.0))

    def __len__(self) -> int:
        return len(self.scale_G)

    @property
    def names(self) -> list[str]:
        """The name of each count (G)."""
        return [*(f"lexicon {name}" for name in self.lexicons), *(f"pattern {name}" for name in self.patterns)]

    @cached_property
    def _counter(self) -> LexiconCounter:
        return LexiconCounter(self.lexicons)

    def counted(self, texts: Rows) -> Iterator[np.ndarray]:
        """Yield the scaled counts of some texts at a time (D, G).

        Raises:
            ModelError: kind "input": the rows have no texts.
        """
        if texts.written is None:
            what = f"{', '.join(self.names)}: these features are counted in the texts of reviews"
            raise ModelError(f"{what}; give the texts with the ids (`written`)", "input")
        for first in range(0, len(texts), TEXTS):
            some = texts.written[first : first + TEXTS]
            counts_DG = np.concatenate([self._of_lexicons(some), count_patterns(some, self.patterns)], axis=1)
            if self.sublinear:
                counts_DG = np.sign(counts_DG) * np.log1p(np.abs(counts_DG))
            yield counts_DG / self.scale_G

    def _of_lexicons(self, texts: pl.Series) -> np.ndarray:
        return self._counter.counts(texts) if self.lexicons else np.zeros((len(texts), 0))

    def transform(self, texts: Rows) -> FeatureRows:
        """Return the counts that are not 0."""
        counts_DG = np.concatenate(list(self.counted(texts)))
        rows_M, ids_M = np.nonzero(counts_DG)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows_M, minlength=len(texts)))])
        return FeatureRows(ids_M.astype(np.int32), offsets, counts_DG[rows_M, ids_M])


@dataclass(frozen=True)
class ReviewFeatures:
    """All features of a classifier, learnt from training reviews.

    Args:
        ngrams: Features of n-grams.
        counts: Lexicons and patterns; None for none.
    """

    ngrams: TfidfFeatures
    counts: Counts | None = None

    @classmethod
    def learn(
        cls, spec: LogisticSpec | TfidfSpec, texts: Rows, entries: int, lexicons: Mapping[str, Lexicon]
    ) -> ReviewFeatures:
        """Return the features of training reviews.

        Args:
            spec: Which features.
            texts: Training reviews without special tokens.
            entries: V.
            lexicons: Weight of each entry of each lexicon (`lexicons.py`) that the spec names.

        Raises:
            ModelError: kind "input": no n-gram is in enough reviews; a lexicon is missing, or the texts
                that lexicons and patterns need.
        """
        ngrams = TfidfFeatures.learn(spec, texts, entries)
        counts = None
        if spec.lexicons or spec.patterns:
            counts = Counts.learn(_lexicons(spec, lexicons), sorted_patterns(spec), spec.sublinear, texts)
        return cls(ngrams, counts)

    @property
    def entries(self) -> int:
        """V."""
        return self.ngrams.entries

    @property
    def _blocks(self) -> list[TfidfFeatures | Counts]:
        return [self.ngrams] if self.counts is None else [self.ngrams, self.counts]

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def transform(self, texts: Rows) -> FeatureRows:
        """Return the vector of each review.

        Args:
            texts: Reviews without special tokens; with their texts, if there are lexicons or patterns.
        """
        blocks = [block.transform(texts) for block in self._blocks]
        return blocks[0] if len(blocks) == 1 else _side_by_side(blocks, [len(block) for block in self._blocks])

    def names(self, vocabulary: Vocabulary) -> dict[str, list[str]]:
        """Return a name of each feature for people, by block: "so good", "lexicon joy"."""
        words = [vocabulary.token(entry).replace("\n", "\\n") for entry in range(vocabulary.size)]
        names = {"n-grams": self.ngrams.names(words)}
        return names | ({"counts": self.counts.names} if self.counts else {})

    def save(self, folder: Path) -> None:
        """Write everything but the options."""
        arrays = self.ngrams.arrays() | ({"counts.scale": self.counts.scale_G} if self.counts else {})
        save_tensors(save_file, arrays, folder / FEATURES)
        if self.counts and self.counts.lexicons:
            save_lexicons(folder / LEXICONS, self.counts.lexicons)

    @classmethod
    def load(cls, folder: Path, spec: LogisticSpec | TfidfSpec, entries: int) -> ReviewFeatures:
        """Read what `save` wrote.

        Raises:
            OSError, ValueError, KeyError: A file is missing, or does not fit the spec.
        """
        arrays, counts = load_file(folder / FEATURES), None
        if spec.lexicons or spec.patterns:
            stored = load_lexicons(folder / LEXICONS) if spec.lexicons else {}
            lexicons = {name: stored[name] for name in spec.lexicons}
            counts = Counts(lexicons, sorted_patterns(spec), spec.sublinear, arrays["counts.scale"])
        return cls(TfidfFeatures.from_arrays(spec, entries, arrays), counts)


def sorted_patterns(spec: LogisticSpec | TfidfSpec) -> dict[str, str]:
    """Return the patterns of a spec in the order of their names, which is that of the features."""
    return dict(sorted(spec.patterns.items()))


def _lexicons(spec: LogisticSpec | TfidfSpec, lexicons: Mapping[str, Lexicon]) -> dict[str, Lexicon]:
    for name in spec.lexicons:
        if name not in lexicons:
            available = ", ".join(map(repr, lexicons)) or "none"
            what = f"lexicons has {name!r}; there is no lexicon of this name (there is: {available})"
            raise ModelError(what, "input")
    return {name: lexicons[name] for name in spec.lexicons}


def _side_by_side(blocks: list[FeatureRows], sizes: list[int]) -> FeatureRows:
    """Return rows with the features of all blocks, renumbered: those of a block after those of the blocks before it."""
    lengths_D = np.sum([block.lengths for block in blocks], axis=0)
    offsets = np.concatenate([[0], np.cumsum(lengths_D)])
    ids_M, values_M = np.empty(offsets[-1], np.int32), np.empty(offsets[-1])
    begin_D, base = offsets[:-1].copy(), 0
    for block, size in zip(blocks, sizes, strict=True):
        place_M = np.repeat(begin_D - block.offsets[:-1], block.lengths) + np.arange(len(block.ids_P))
        ids_M[place_M], values_M[place_M] = block.ids_P + base, block.values_P
        begin_D, base = begin_D + block.lengths, base + size
    return FeatureRows(ids_M, offsets, values_M)
