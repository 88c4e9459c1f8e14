"""Draw the data for the benchmark of the gate: reviews, their groups, and the nats that two models need for them.

Without a requested gain, the challenger is as good as the champion on average in every world, and differs in one way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from reviewlm.evaluation.gate.language import open_nats
from reviewlm.evaluation.scoring.metrics import LN2

MEDIAN, SPREAD, LONGEST = 420, 0.80, 5_000
"""Median, spread and maximum of the log-normal lengths in bytes: their mean is 577, coefficient of variation 0.92."""
Pair = tuple[np.ndarray, np.ndarray]
UNEQUAL = tuple(
    int(size) for size in np.maximum(1, np.random.default_rng(7).lognormal(1.5, 1.0, 60))
)
LAYOUTS = {
    "30 x 10": (10,) * 30,
    "100 x 10": (10,) * 100,
    "300 x 3": (3,) * 300,
    "60 unequal": UNEQUAL,
}


@dataclass(frozen=True)
class Drawn:
    """Lengths of reviews in bytes, the nats that two models need for them, and which reviews are one group."""

    bytes_D: np.ndarray
    champion_D: np.ndarray
    challenger_D: np.ndarray
    groups_D: np.ndarray | None = None


def texts(generator: np.random.Generator, reviews: int) -> Pair:
    """Return the bytes of reviews, and the nats that each costs both models because of its difficulty."""
    bytes_D = np.clip(generator.lognormal(math.log(MEDIAN), SPREAD, reviews), 20, LONGEST).astype(
        np.int64
    )
    return bytes_D, bytes_D * LN2 * np.maximum(1 + 0.15 * generator.normal(size=reviews), 0.3)


@dataclass(frozen=True)
class World:
    """Cost of a review for two models.

    Args:
        name: Name shown in the report.
        deviations: Function from a generator and a number of reviews to two arrays, the deviations of champion and
            challenger. Each has mean 0 and variance 1/2.
        spread: Standard deviation of the difference, as a multiple of an average review's bits.
    """

    name: str
    deviations: Callable[[np.random.Generator, int], Pair]
    spread: float = 0.10

    def draw(
        self,
        generator: np.random.Generator,
        reviews: int,
        gain: float,
    ) -> Drawn:
        """Return scores of which the challenger's are (1 − gain) of the champion's on average."""
        bytes_D, common_D = texts(generator, reviews)
        length_D = bytes_D / 570.0
        long = self.deviations(generator, reviews)
        short = self.deviations(generator, reviews)
        sides = []
        for style_D, chance_D in zip(long, short, strict=True):
            moved_D = (
                self.spread
                * math.sqrt(0.5)
                * (style_D + chance_D / np.sqrt(np.maximum(length_D, 0.25)))
            )
            sides.append(common_D * np.maximum(1 + moved_D, 0.05))

        return Drawn(bytes_D, sides[0], sides[1] * (1 - gain))


def equal_deviations(generator: np.random.Generator, reviews: int) -> Pair:
    """Draw twice, independently, from one distribution with heavy tails."""
    one, other = generator.standard_t(5, (2, reviews)) / math.sqrt(2 * 5 / 3)
    return one, other


def skewed_deviations(
    generator: np.random.Generator,
    reviews: int,
    sign: int,
) -> Pair:
    """Draw deviations with mean 0: skewed for the champion, none for the challenger, so the difference is skewed."""
    cut = 5.0  # so that no cost is negative, which would have to be corrected on one side only
    mean = 1 - math.exp(-cut)
    square = 2 * (1 - (1 + cut) * math.exp(-cut))
    drawn = np.minimum(generator.exponential(size=reviews), cut)
    lopsided = sign * (drawn - mean) / math.sqrt(square - mean**2)
    return lopsided, np.zeros(reviews)


class Drawing(Protocol):
    """Protocol of a world that trials are drawn from."""

    @property
    def name(self) -> str:
        """As shown."""

    def draw(
        self,
        generator: np.random.Generator,
        reviews: int,
        gain: float,
    ) -> Drawn:
        """Return scores of which the challenger's are (1 − gain) of the champion's on average."""


WORLDS = (
    World("equal", equal_deviations),
    World("skewed", partial(skewed_deviations, sign=1)),
    World("skewed, reversed", partial(skewed_deviations, sign=-1)),
)


@dataclass(frozen=True)
class Lopsided:
    """A challenger that is slightly better on most reviews, much worse on a few, and equal on average.

    Args:
        share: Share of the reviews on which it is worse.
        loss: How much worse it is there, as a share of the champion's bits.
        noise: Standard deviation of the other differences.
    """

    share: float
    loss: float
    noise: float = 0.01

    @property
    def name(self) -> str:
        """As shown."""
        noise = "" if self.noise == 0.01 else f", noise {self.noise:.0%}"
        return f"lopsided, {self.share:.0%} worse by {self.loss:.0%}{noise}"

    def draw(
        self,
        generator: np.random.Generator,
        reviews: int,
        gain: float,
    ) -> Drawn:
        """See `World.draw`."""
        bytes_D, champion_D = texts(generator, reviews)
        return Drawn(bytes_D, champion_D, champion_D * self.ratios(generator, reviews) * (1 - gain))

    def ratios(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Return the challenger's bits on *count* reviews, or groups of reviews, as a share of the champion's bits."""
        bad_D = generator.random(count) < self.share
        ratio_D = np.where(bad_D, 1 + self.loss, 1 - self.loss * self.share / (1 - self.share))
        return np.maximum(ratio_D + self.noise * generator.normal(size=count), 0.05)


def normal_deviations(generator: np.random.Generator, count: int) -> np.ndarray:
    """Draw standard normal numbers."""
    return generator.normal(size=count)


def heavy_deviations(generator: np.random.Generator, count: int) -> np.ndarray:
    """Draw numbers of variance 1 with heavy tails: Student's t with 3.5 degrees of freedom, no finite kurtosis."""
    return generator.standard_t(3.5, count) / math.sqrt(3.5 / 1.5)


def lopsided_deviations(generator: np.random.Generator, count: int) -> np.ndarray:
    """Draw numbers of variance 1 and skewness 1.6: the challenger is a little better on most, much worse on few."""
    cut = 5.0
    mean = 1 - math.exp(-cut)
    square = 2 * (1 - (1 + cut) * math.exp(-cut))
    drawn = np.minimum(generator.exponential(size=count), cut)
    return (drawn - mean) / math.sqrt(square - mean**2)


TAILS = {
    "normal": normal_deviations,
    "heavy": heavy_deviations,
    "skewed": lopsided_deviations,
}


@dataclass(frozen=True)
class Clustered:
    """Reviews in groups; reviews of one group are similar.

    Args:
        label: Label shown in the report.
        sizes: Number of reviews of each group.
        resemblance: Intra-class correlation of the difference of two models.
        rare: Losses that few groups have, all of their reviews; or few reviews of any group (`by_review`).
        by_review: Whether the rare losses are of single reviews.
        spread: Standard deviation of the other differences.
        tail: Their distribution, a name of `TAILS`.
    """

    label: str
    sizes: tuple[int, ...]
    resemblance: float = 0.0
    rare: Lopsided | None = None
    by_review: bool = False
    spread: float = 0.12
    tail: str = "normal"

    @property
    def name(self) -> str:
        """As shown."""
        if self.rare:
            what = "reviews" if self.by_review else "groups"
            noise = f", noise {self.spread:.0%}" if self.spread else ""
            loss = f"{self.rare.share:.0%} worse by {self.rare.loss:.0%}"
            return f"rare {what}, {self.label}, {loss}{noise}"
        tail = "" if self.tail == "normal" else f", {self.tail}"
        return f"clusters, {self.label}, ICC {self.resemblance:g}{tail}"

    def draw(
        self,
        generator: np.random.Generator,
        reviews: int,
        gain: float,
    ) -> Drawn:
        """See `World.draw`; *reviews* is the sum of the sizes."""
        groups_D = np.repeat(np.arange(len(self.sizes)), self.sizes)
        bytes_D, champion_D = texts(generator, reviews)
        ratio_D = np.ones(reviews)
        if self.spread:
            shared_D = TAILS[self.tail](generator, len(self.sizes))[groups_D]
            own_D = TAILS[self.tail](generator, reviews)
            parts = math.sqrt(self.resemblance), math.sqrt(1 - self.resemblance)
            ratio_D = ratio_D + self.spread * (parts[0] * shared_D + parts[1] * own_D)

        if self.rare and self.by_review:
            ratio_D = ratio_D + self.rare.ratios(generator, reviews) - 1
        elif self.rare:
            ratio_D = ratio_D + self.rare.ratios(generator, len(self.sizes))[groups_D] - 1

        challenger_D = champion_D * np.maximum(ratio_D, 0.05) * (1 - gain)
        return Drawn(bytes_D, champion_D, challenger_D, groups_D)


LOPSIDED = (
    *(Lopsided(rare, round(0.01 * (1 - rare) / rare, 2)) for rare in (0.02, 0.05, 0.10)),
    *(Lopsided(rare, 1.0) for rare in (0.02, 0.05, 0.10)),
    *(Lopsided(0.01, 0.99, noise) for noise in (0.01, 0.05, 0.12)),
)
"""Worlds with a gain of 1 % on most reviews, and the largest loss that the policy allows for."""
RARE = Lopsided(0.02, 0.5)


def clusters_of(label: str, sizes: tuple[int, ...]) -> tuple[Clustered, ...]:
    """Return the worlds of one layout of groups: ordinary, heavy, skewed, and lopsided by review or by group."""
    ordinary = (Clustered(label, sizes, icc) for icc in (0.0, 0.1, 0.3, 0.6))
    tails = (
        Clustered(label, sizes, icc, tail=tail)
        for tail in ("heavy", "skewed")
        for icc in (0.0, 0.3)
    )
    rare = (
        Clustered(
            label,
            sizes,
            rare=RARE,
            by_review=by_review,
            spread=spread,
        )
        for by_review in (True, False)
        for spread in (0.0, 0.12)
    )
    return (*ordinary, *tails, *rare)


CLUSTERS = tuple(world for label, sizes in LAYOUTS.items() for world in clusters_of(label, sizes))


@dataclass(frozen=True)
class StoredWorld:
    """Scores of two real models on the same reviews, assigned to champion and challenger at random for each review.

    So both are equally good, and differ as the two real models do.
    """

    bytes_D: np.ndarray
    nats_2D: np.ndarray
    name: str = "real scores"

    @classmethod
    def load(cls, one: Path, other: Path) -> StoredWorld:
        """Read two files `scores.parquet`; the second model's nats are scaled to the first one's sum."""
        columns = ["review_id", "bytes", "nats", "spelling_nats"]
        tables = [pl.read_parquet(file, columns=columns).sort("review_id") for file in (one, other)]
        if (
            not tables[0]
            .select("review_id", "bytes")
            .equals(tables[1].select("review_id", "bytes"))
        ):
            raise SystemExit("the two files are not scores of the same reviews")

        nats_2D = np.stack([open_nats(rows) for rows in tables])
        return cls(
            tables[0]["bytes"].to_numpy(),
            nats_2D * (nats_2D[0].sum() / nats_2D.sum(axis=1))[:, None],
        )

    def draw(
        self,
        generator: np.random.Generator,
        reviews: int,
        gain: float,
    ) -> Drawn:
        """See `World.draw`; reviews are drawn with replacement."""
        drawn_D = generator.integers(0, len(self.bytes_D), reviews)
        side_D = generator.integers(0, 2, reviews)
        ours_D = self.nats_2D[1 - side_D, drawn_D]
        theirs_D = self.nats_2D[side_D, drawn_D]
        return Drawn(self.bytes_D[drawn_D], theirs_D, ours_D * (1 - gain))
