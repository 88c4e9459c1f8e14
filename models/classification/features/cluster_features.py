"""Count the Brown clusters of a review's words, as features at several depths of the tree, and weight them by tf-idf.

A feature is a prefix of a bit string: of the lengths 4 and 6, a word of the cluster 0110101 has the features 0110 and
011010 (Miller et al. 2004; Koo et al. 2008). A bit string that is shorter than a length is taken whole, once.

    x_f = tf(f, d) idf(f), divided by the Euclidean norm of the review's features of clusters

with tf and idf as in `tfidf.py`.
Shapes: V vocabulary entries, C clusters, L lengths, F features, M pairs of a feature and a review that has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...neural.labelling.rows import FeatureRows, Rows
from .brown import BrownClusters
from .tfidf import PairCounts, blocks_of, count_keys, idf, joined, weighted_rows

SHOWN = 3
"""Words in the name of a feature."""


@dataclass(frozen=True)
class ClusterFeatures:
    """Prefixes of bit strings as features.

    Args:
        clusters: Of the vocabulary's entries.
        lengths: Lengths of the prefixes, in rising order.
        idf_F: idf of each feature.
        sublinear: Use 1 + ln(count) in place of the count.
    """

    clusters: BrownClusters
    lengths: tuple[int, ...]
    idf_F: np.ndarray
    sublinear: bool

    @classmethod
    def learn(cls, clusters: BrownClusters, lengths: tuple[int, ...], sublinear: bool, texts: Rows) -> ClusterFeatures:
        """Return the features of clusters, with idf from training reviews."""
        features = cls(clusters, lengths, np.zeros(0), sublinear)
        reviews_F = np.zeros(len(features.prefixes))
        for block in blocks_of(texts):
            for counted in features._counts(block):
                reviews_F += np.bincount(counted.keys_M, minlength=len(reviews_F))
        return cls(clusters, lengths, idf(reviews_F, len(texts)), sublinear)

    def __len__(self) -> int:
        return len(self.prefixes)

    @cached_property
    def prefixes(self) -> list[str]:
        """The bit string of each feature (F), shorter ones first."""
        found = {bits[:length] for bits in self.clusters.bits() for length in self.lengths}
        return sorted(found, key=lambda bits: (len(bits), bits))

    @cached_property
    def feature_VL(self) -> np.ndarray:
        """Feature of each entry and length (V, L; int64); −1 for none."""
        numbers, bits_C = {prefix: number for number, prefix in enumerate(self.prefixes)}, self.clusters.bits()
        feature_CL = np.full((len(bits_C) + 1, len(self.lengths)), -1, np.int64)  # the last row: no cluster
        for cluster, bits in enumerate(bits_C):
            for place, length in enumerate(self.lengths):
                if place == 0 or len(bits) > self.lengths[place - 1]:
                    feature_CL[cluster, place] = numbers[bits[:length]]
        return feature_CL[self.clusters.cluster_V]

    def _counts(self, block: Rows) -> list[PairCounts]:
        """Return the counts of the features of each length."""
        feature_PL, rows_P = self.feature_VL[block.ids_P], np.repeat(np.arange(len(block)), block.lengths)
        found = []
        for feature_P in feature_PL.T:
            known_P = feature_P >= 0
            found.append(count_keys(feature_P[known_P], rows_P[known_P], len(self), len(block)))
        return found

    def transform(self, texts: Rows) -> FeatureRows:
        """Return the weighted features of each review."""
        blocks = []
        for block in blocks_of(texts):
            parts = [(one.rows_M, one.keys_M.astype(np.int32), one.counts_M) for one in self._counts(block)]
            blocks.append(weighted_rows(parts, self.idf_F, self.sublinear, len(block)))
        return joined(blocks)

    def names(self, words: Sequence[str]) -> list[str]:
        """Return a name of each feature: its bit string, and its first words.

        Args:
            words: Name of each vocabulary entry, in the order of the ids: the most frequent first.
        """
        found: list[list[str]] = [[] for _ in range(len(self))]
        for word, feature_L in zip(words, self.feature_VL, strict=True):
            for feature in feature_L:
                if feature >= 0 and len(found[feature]) <= SHOWN:
                    found[feature].append(word)
        return [
            f"cluster {bits}: {', '.join(some[:SHOWN])}{' …' if len(some) > SHOWN else ''}"
            for bits, some in zip(self.prefixes, found, strict=True)
        ]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything but the options, to be stored."""
        return {**self.clusters.arrays(), "clusters.idf": self.idf_F}

    @classmethod
    def from_arrays(
        cls, lengths: tuple[int, ...], sublinear: bool, entries: int, arrays: Mapping[str, np.ndarray]
    ) -> ClusterFeatures:
        """Rebuild the features from the result of `arrays`.

        Raises:
            ValueError: The arrays are not those of such features.
        """
        features = cls(BrownClusters.from_arrays(entries, arrays), lengths, arrays["clusters.idf"], sublinear)
        if arrays["clusters.idf"].shape != (len(features),):
            raise ValueError(f"there are {arrays['clusters.idf'].size} weights of {len(features)} prefixes of clusters")
        return features
