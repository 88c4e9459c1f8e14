"""Choose which texts to compare by locality-sensitive hashing: bands of MinHash signatures.

Two texts of Jaccard similarity s agree in one value of their signatures with probability s, in all r values of a band
with s^r, and in at least one of b bands with 1 - (1 - s^r)^b: the S-curve (Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, 3rd ed., section 3.4.2). The values are the least of (a x + b) >> 32 over the shingles' fingerprints
x, with 64-bit a and b drawn for each value (Broder 1997; Dietzfelbinger 1996 for the family of hash functions).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.config.run_config import DuplicatesConfig
from core.errors import ConfigError
from corpus.duplicates.shingles import mix

SEED = 1
"""Seed of the hash functions of MinHash."""

RECALL = 0.98
"""Least share of pairs just at the similarity limit that must share a band; for more similar pairs it is higher."""

LOWEST_RECALL = 0.95

SLOTS = 8
"""Slots for each key, by which most keys that only one text has are recognised before they are sorted."""


@dataclass(frozen=True)
class Bands:
    """The cut of a signature: *count* bands of *rows* values each."""

    count: int
    rows: int

    def recall(self, similarity: float) -> float:
        """Return the probability that two texts of this similarity share a band."""
        return float(1 - (1 - similarity**self.rows) ** self.count)

    @classmethod
    def of(cls, config: DuplicatesConfig) -> Bands:
        """Return the longest bands that still reach `RECALL`; long bands bring the fewest dissimilar texts together.

        Raises:
            ConfigError: Even bands of one value would lose more than one pair in twenty.
        """
        cuts = [cls(config.permutations // rows, rows) for rows in range(config.permutations, 0, -1)]
        chosen = next((cut for cut in cuts if cut.recall(config.similarity) >= RECALL), cuts[-1])
        if chosen.recall(config.similarity) < LOWEST_RECALL:
            raise ConfigError(
                f"{config.permutations} permutations find only {chosen.recall(config.similarity):.0%} of the pairs "
                f"that are {config.similarity:g} similar", where="duplicates.permutations", value=config.permutations,
                cause="pairs that are less similar need more permutations to be found",
                remedy="raise duplicates.permutations or duplicates.similarity",
            )
        return chosen

    def signatures(self, fingerprints: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return the signatures (D, count * rows) of D texts as uint64, mixed so that any of their bits may be used.

        Args:
            fingerprints: Fingerprints of the shingles of all texts (see `corpus.duplicates.shingles`).
            offsets: (D + 1,) where those of each text begin and the last ones end; each text has at least one.
        """
        from corpus.duplicates import kernels  # here, because numba's import takes half a second

        used = self.count * self.rows
        factors, terms = mix(np.arange(1, 2 * used + 1, dtype=np.uint64) + np.uint64(SEED << 32)).reshape(2, used)
        found = np.empty((len(offsets) - 1, used), np.uint64)
        kernels.signatures(fingerprints, offsets, factors, terms, np.empty(used, np.uint32), found)
        return found

    def keys(self, signature_DP: np.ndarray) -> np.ndarray:
        """Return the keys (count, D) as uint32: texts with equal values in a band have the same key for it.

        Others have the same key by chance once in 2^32 pairs, which costs a comparison.
        """
        from corpus.duplicates import kernels  # here, because numba's import takes half a second

        factors = mix(np.arange(1, self.rows + 1, dtype=np.uint64)) | np.uint64(1)
        found = np.empty((self.count, len(signature_DP)), np.uint32)
        kernels.band_keys(signature_DP, factors, found)
        return found


def buckets(keys_D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return texts that share a key: members (M,), ordered by bucket and number, and B + 1 bucket offsets.

    Keys of only one text are left out, most of them before the others are sorted. It takes about 24 bytes per key.
    """
    from corpus.duplicates import pair_kernels  # here, because numba's import takes half a second

    size = max(1, 1 << (SLOTS * len(keys_D) // 64).bit_length())
    order = np.empty(len(keys_D), np.int64)
    order = order[: pair_kernels.maybe_shared(keys_D, np.zeros(size, np.uint64), np.zeros(size, np.uint64), order)]
    order = order[np.argsort(keys_D[order])]  # not stable, which is slower; the few that share a key are sorted below
    sorted_keys = keys_D[order]
    again = sorted_keys[1:] == sorted_keys[:-1]
    shared = np.zeros(len(order), bool)
    shared[1:] = again
    shared[:-1] |= again
    first = shared.copy()
    first[1:] &= ~again
    members, starts, shared_keys = order[shared], np.flatnonzero(first[shared]), sorted_keys[shared]
    del order, sorted_keys
    members = members[np.lexsort((members, shared_keys))]
    return members, np.append(starts, len(members))
