"""Compare the shares that the splits have with those that they should have, and name the largest group.

A hash gives each group of reviews its split, so the shares are reached if there are many groups of similar size. One
user with most of the reviews goes into one split as a whole: the shares are then far off, whatever the salt is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.sections.data import SplitConfig
from reviewlm.core.errors import InputError
from reviewlm.corpus.splitting.split import KEYS, TABLE, TRAIN_FIRST

FAR_FROM_SHARE = 0.25
"""A held-out split is far from its share if it misses more than this part of it, and more than `DEVIATIONS` allow."""
DEVIATIONS = 4.0
"""Standard deviations of a draw of single reviews by which a split may miss its share."""


@dataclass(frozen=True)
class LargestGroup:
    """The largest group: all reviews of one user or business, or those of one month.

    Args:
        name: The id of the user or business; the month, "2018-05".
        reviews: Number of its reviews.
        share: This number as a share of all reviews.
        split: The split that it is in.
    """

    name: str
    reviews: int
    share: float
    split: str


@dataclass(frozen=True)
class Shares:
    """Shares of the splits among all reviews that stay.

    Args:
        asked: By split, as the settings have them; empty if the settings give dates and no shares.
        reached: By split.
        reviews: Number of reviews in all splits.
        largest: The largest group; None where each review is a group of its own.
    """

    asked: dict[str, float]
    reached: dict[str, float]
    reviews: int
    largest: LargestGroup | None = None

    @property
    def smallest_asked(self) -> float:
        """Share of the smaller held-out split, as asked for; 1 if no shares are."""
        return min((share for name, share in self.asked.items() if name != "train"), default=1.0)

    @property
    def far(self) -> list[str]:
        """Held-out splits that are far from their shares."""
        return [name for name in self.asked if name != "train" and self._is_far(name)]

    def _is_far(self, name: str) -> bool:
        asked = self.asked[name]
        by_chance = DEVIATIONS * sqrt(asked * (1 - asked) / max(1, self.reviews))
        return abs(self.reached[name] - asked) > max(FAR_FROM_SHARE * asked, by_chance)

    @property
    def sentence(self) -> str:
        """Asked and reached shares and the largest group, in words."""
        parts = []
        for name in TRAIN_FIRST:
            if name in self.asked:
                parts.append(
                    f"{name} has {self.reached[name]:.1%} of the reviews and should have {self.asked[name]:.1%}"
                )

        if self.largest:
            group = self.largest
            parts.append(
                f"the largest group, {group.name!r}, has {group.share:.1%}, in {group.split}"
            )

        return "; ".join(parts)

    def require(
        self,
        most: float,
        remedy: str,
        where: Path,
    ) -> None:
        """Refuse splits that are too far from their shares.

        Args:
            most: Largest difference of a held-out split, as a share of all reviews.

        Raises:
            InputError: It says both shares, the largest group and what to do.
        """
        differences = {}
        for name, share in self.asked.items():
            if name != "train":
                differences[name] = abs(self.reached[name] - share)

        worst = max(differences, key=lambda name: differences[name], default="")
        if worst and differences[worst] > most:
            raise InputError(
                f"The split '{worst}' is far from the share that it should have",
                where=where,
                value=f"{self.reached[worst]:.1%} of the reviews instead of {self.asked[worst]:.1%}",
                cause=self.sentence,
                remedy=f"{remedy}; or allow it: --set split.max_deviation={_rounded_up(differences[worst])}",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the shares as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Shares:
        """Return the shares that `to_dict` wrote."""
        largest = values["largest"]
        return cls(**{**values, "largest": LargestGroup(**largest) if largest else None})


def _rounded_up(value: float) -> float:
    return min(1.0, int(value * 100 + 1) / 100)


def measure_shares(
    folder: Path,
    config: SplitConfig,
    splits: Mapping[str, Mapping[str, int]],
    dates_given: bool,
) -> Shares:
    """Return the shares of the splits of a prepared data set.

    Args:
        folder: Holds clean.parquet.
        config: The shares that are asked for.
        splits: By split, with the number of its reviews as `reviews`.
        dates_given: The settings give the dates of the splits, and no shares.
    """
    reviews = sum(split["reviews"] for split in splits.values())
    reached = {name: splits[name]["reviews"] / max(1, reviews) for name in TRAIN_FIRST}
    train = 1 - config.validation - config.test
    asked = {
        "train": train,
        "validation": config.validation,
        "test": config.test,
    }
    return Shares({} if dates_given else asked, reached, reviews, _largest(folder, config, reviews))


def _largest(
    folder: Path,
    config: SplitConfig,
    reviews: int,
) -> LargestGroup | None:
    """Return the largest group of reviews that stay together; of equally large ones, the first by name."""
    if config.by == "review":
        return None

    key = pl.col(KEYS[config.by])
    name = key
    if config.by == "month":
        name = key.dt.strftime("%Y-%m")

    named = pl.scan_parquet(folder / TABLE).select("split", name=name)
    named = named.filter(pl.col("name").is_not_null() & (pl.col("name") != ""))
    counts = named.group_by("name").agg(reviews=pl.len(), split=pl.col("split").first())
    first = counts.sort(["reviews", "name"], descending=[True, False]).head(1)
    rows = first.collect(engine="streaming").to_dicts()
    if rows:
        return LargestGroup(share=rows[0]["reviews"] / max(1, reviews), **rows[0])
    return None
