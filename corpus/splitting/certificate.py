"""Define the leak certificate: the comparisons between the splits of prepared data, and their results.

`corpus.splitting.leaks` writes certificates and compares data with them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from core.errors import Damaged
from corpus.splitting.split import SPLITS

CERTIFICATE_FILE = "leak_certificate.json"
FORMAT = 2
PARTLY = 0.25
"""Coverage from which on held-out reviews are counted; all figures are also given without these."""
BINS = 20
"""Bins of the distribution of coverage."""


@dataclass(frozen=True)
class CertifiedSplit:
    """One split: its reviews, the number of different texts, and the SHA-256 of the sorted text hashes."""

    reviews: int
    texts: int
    sha256: str


@dataclass(frozen=True)
class Certificate:
    """A record of the comparisons that found no leak.

    Args:
        sides: The sides by name of the split.
        test_digest: SHA-256 of the ids and texts of the test split, as in the facts of the prepared data.
        test_reviews: Digest of the ids, stars and sizes of the test split; scores use it to name the scored reviews.
        exact: `pairs` of texts of different splits that were compared (all of them), and `left`, which is 0.
        near: The same for near-duplicates, where `pairs` are those compared word by word. Also `shorter`, the number
            of texts with too few words to be near-duplicates, and the method with its parameters. None if
            near-duplicates were not searched.
        coverage: How much of the held-out reviews stands in train: `limit`, the constants of
            `corpus.duplicates.exact` and, by held-out split, the distribution (`spread`); `left` is 0 here too. None
            if near-duplicates were not searched.
        code: Version of this program.
        copies: By split, `groups` of reviews that repeat each other within it, and the number of these `reviews`. They
            are not a leak, but not independent evidence either.
    """

    sides: dict[str, CertifiedSplit]
    test_digest: str
    test_reviews: str
    exact: dict[str, int]
    near: dict[str, Any] | None
    coverage: dict[str, Any] | None
    code: str
    format: int = FORMAT
    copies: dict[str, dict[str, int]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the certificate as JSON text with sorted keys."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Certificate:
        """Return the certificate that `to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: The text is not a certificate.
        """
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}; known is {FORMAT}")
        sides = {name: CertifiedSplit(**values["sides"][name]) for name in SPLITS}
        return cls(**{**values, "sides": sides})

    @property
    def digest(self) -> str:
        """SHA-256 of the certificate's text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def summary(self) -> str:
        """What was compared, and what was found; it promises no more than that."""
        counts = ", ".join(f"{name} {side.reviews:,}" for name, side in self.sides.items())
        parts = [f"no text of one split is also in another ({counts})"]
        if self.near is None or self.coverage is None:
            parts.append("near-duplicates and passages were not looked for")
        else:
            near, covered = self.near, self.coverage
            parts += [
                f"no two are nearly equal ({near['pairs']:,} candidates compared, {near['recall']:.1%} of pairs of "
                f"similarity {near['similarity']:g} are candidates)",
                f"passages of train cover less than {covered['limit']:.0%} of the words of each held-out review, and "
                f"{PARTLY:.0%} or more in {at_least(covered['test'], PARTLY):,} of the test (runs of {covered['span']} "
                "equal words; a paraphrase is not found)",
            ]
        if test := self.copies.get("test", {}).get("reviews"):
            groups = self.copies["test"]["groups"]
            ending = "s" * (groups > 1)
            parts.append(f"within the test {test:,} reviews repeat another one, in {groups:,} group{ending}")
        return "; ".join(parts)


def spread(coverage_D: np.ndarray) -> dict[str, Any]:
    """Return the distribution of the coverage of reviews (D,).

    Returns:
        Number of `reviews`, mean, number of those with `none`, and number of the others in each of `BINS` equal bins,
        `counts`; a value between two bins belongs to the upper one.
    """
    place = np.minimum((coverage_D * BINS + 1e-9).astype(int), BINS - 1)[coverage_D > 0]
    counts, reviews = np.bincount(place, minlength=BINS).tolist(), len(coverage_D)
    mean = round(float(coverage_D.mean()), 6) if reviews else 0.0
    return {"reviews": reviews, "mean": mean, "none": reviews - len(place), "counts": counts}


def at_least(distribution: dict[str, Any], share: float) -> int:
    """Return how many reviews have at least this coverage, a multiple of 1 / `BINS` above 0; see `spread`."""
    return sum(distribution["counts"][round(share * BINS) :])


def read(folder: Path) -> Certificate:
    """Return the certificate in a folder, without checking it against the data.

    Raises:
        Damaged: There is no certificate, or it cannot be read.
    """
    file = folder / CERTIFICATE_FILE
    try:
        return Certificate.from_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(
            "There is no readable leak certificate", where=file, cause=f"{type(error).__name__}: {error}",
            remedy="run with --rebuild prepare",
        ) from error


def reviews_digest(reviews: pl.DataFrame) -> str:
    """Return a digest that identifies a set of reviews by their ids, stars and sizes, in any order."""
    lines = reviews.select(pl.format("{} {} {}", "review_id", "stars", "bytes")).to_series().sort()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
