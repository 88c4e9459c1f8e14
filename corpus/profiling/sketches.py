"""Summarise unbounded lists in small, mergeable form: counts of the most frequent names, and a sample of types.

The result of a merge does not depend on order or grouping: `a + b == b + a` and `(a + b) + c == a + (b + c)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

SAMPLE = 1_024
"""Types that a `TypeSample` holds; the relative standard error of its estimates is 1/√(SAMPLE − 2), about 3 %."""


@dataclass
class Tally:
    """The number of occurrences of each name; the saved form has at most `capacity` names.

    A merge never drops a name. `to_dict` does, and it increases `unlisted` by the largest count that it drops.

    Args:
        capacity: Number of names that `to_dict` keeps: the most frequent; of equal counts the alphabetically first.
        counts: Name → count.
        total: Sum of all counts, including names that are not listed.
        unlisted: Largest error: each count is at most this much too low, and the count of a missing name at most this.
    """

    capacity: int
    counts: dict[str, int] = field(default_factory=dict)
    total: int = 0
    unlisted: int = 0

    def add(self, pairs: Iterable[tuple[str, int]]) -> None:
        """Add pairs of name and count."""
        for name, count in pairs:
            self.counts[name] = self.counts.get(name, 0) + count
            self.total += count

    def __add__(self, other: Tally) -> Tally:
        capacity, unlisted = max(self.capacity, other.capacity), self.unlisted + other.unlisted
        merged = Tally(capacity, dict(self.counts), self.total + other.total, unlisted)
        for name, count in other.counts.items():
            merged.counts[name] = merged.counts.get(name, 0) + count
        return merged

    def top(self, number: int | None = None) -> list[tuple[str, int]]:
        """Return the most frequent names with their counts."""
        ranked = sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return ranked[:number]

    def shortened(self) -> Tally:
        """Return the tally with at most `capacity` names."""
        entries = self.top(self.capacity + 1)
        dropped = entries[self.capacity][1] if len(entries) > self.capacity else 0
        return Tally(self.capacity, dict(entries[: self.capacity]), self.total, self.unlisted + dropped)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values with at most `capacity` names."""
        return vars(self.shortened())

@dataclass
class TypeSample:
    """An estimate of the number of different names, and of those that occur once, from the names with lowest hashes.

    The k lowest hashes are a uniform sample of the distinct names, independent of their frequency (Bar-Yossef et al.
    2002; estimator (k − 1)/h_k: Beyer et al. 2007). A name in the sample of the whole is also in the sample of every
    part that contains it. So counts are exact, and a merge equals the sample of the whole.

    Args:
        counts: Hash → number of occurrences of that name; at most `SAMPLE` entries.
    """

    counts: dict[int, int] = field(default_factory=dict)

    def add(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Add counts of names, given by their `name_hashes`."""
        # In a full sample no hash above the highest one can enter.
        limit = max(self.counts) if len(self.counts) >= SAMPLE else 1 << 64
        for key, count in pairs:
            if key <= limit:
                self.counts[key] = self.counts.get(key, 0) + count
        if len(self.counts) > SAMPLE:
            self.counts = {key: self.counts[key] for key in sorted(self.counts)[:SAMPLE]}

    def add_hashes(self, hashes: np.ndarray, counts: np.ndarray) -> None:
        """Add counts of different names, given by their `name_hashes`: only the lowest can enter."""
        lowest = np.argsort(hashes)[:SAMPLE]
        self.add(zip(hashes[lowest].tolist(), counts[lowest].tolist(), strict=True))

    def __add__(self, other: TypeSample) -> TypeSample:
        merged = TypeSample(dict(self.counts))
        merged.add(other.counts.items())
        return merged

    @property
    def exact(self) -> bool:
        """Whether all names are in the sample."""
        return len(self.counts) < SAMPLE

    @property
    def types(self) -> int:
        """Number of different names: exact below `SAMPLE`, otherwise estimated."""
        if self.exact:
            return len(self.counts)
        return round((SAMPLE - 1) * 2.0**64 / (max(self.counts) + 1))

    @property
    def hapaxes(self) -> int:
        """Number of names that occur once, estimated in the same way as `types`."""
        once = sum(1 for count in self.counts.values() if count == 1)
        return round(self.types * once / max(1, len(self.counts)))

    def to_dict(self) -> dict[str, int]:
        """Return JSON values; hashes are hexadecimal, because not every JSON reader supports 64-bit integers."""
        return {f"{key:016x}": count for key, count in sorted(self.counts.items())}


def name_hashes(names: Sequence[str]) -> np.ndarray:
    """Return a hash of each name (uint64) that is the same on every machine and in every version."""
    digests = [blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)
