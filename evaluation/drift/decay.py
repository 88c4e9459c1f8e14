"""Measure how a model ages: its bits per byte on the reviews of each month, compared with its own held-out reviews.

The reference is the held-out reviews of the last months of the model's own data. For a pipeline that runs on fresh
reviews, this is the time of its promotion. The months contain other reviews than the reference, so a difference is not
paired: both sides are drawn independently, and the interval is that of the differences of the draws (Efron and
Tibshirani 1993, chapter 8).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from reviewlm.core.errors import EmptyInput
from reviewlm.evaluation.scoring.metrics import FIGURES
from reviewlm.evaluation.statistics.bootstrap import Bootstrap, Interval

HELD_OUT = "held out"
NEW = "new"
BITS = FIGURES["open_bits_per_byte"]


@dataclass(frozen=True)
class Decay:
    """How the quality of a model changed over time.

    Args:
        table: One row per month and part, see `measure_decay`.
        since: First month of the reference.
        until: Last month of the reference.
        reference: Open bits per byte of the reference.
        month: The last month with enough new reviews to judge, "" for none.
        change: Open bits per byte of that month minus those of the reference; None for none. Above 0 is worse.
        restated: How many known reviews came with another text, rating or id, in words; they are not scored.
    """

    table: pl.DataFrame = field(repr=False)
    since: str
    until: str
    reference: Interval
    month: str = ""
    change: Interval | None = None
    restated: str = ""

    @property
    def worse(self) -> bool | None:
        """Whether the last month is worse beyond chance; None if no month has enough new reviews."""
        if self.change is None:
            return None
        return self.change.low > 0 or self.change.estimate == math.inf

    @property
    def sentence(self) -> str:
        """The verdict in a sentence, with its numbers."""
        return "; ".join(part for part in (self._verdict, self.restated) if part)

    @property
    def _verdict(self) -> str:
        if self.change is None:
            return f"no month after {self.until} has enough new reviews to be judged"
        change = self.change
        share = self.change.estimate / self.reference.estimate
        interval = f"{change.estimate:+.4f} bits per byte ({share:+.1%}), {change.low:+.4f} to {change.high:+.4f}"
        verdict = "significantly worse" if self.worse else "not significantly worse"
        return f"{self.month} is {verdict} than the model's own held-out reviews: {interval}"


def measure_decay(
    scores: pl.DataFrame,
    *,
    fewest: int,
    confidence: float,
    resamples: int,
    seed: int,
) -> Decay:
    """Return the figures of each month, and whether the last month is worse than the reference.

    Args:
        scores: One row per review: month ("2024-05"), part (HELD_OUT or NEW), nats, spelling_nats, bytes, tokens.
        fewest: Minimum number of reviews in a month to judge it. The reference includes earlier months until it has
            this number of reviews.

    Returns:
        The table in it has month, part, reviews, tokens, bytes, open_bits_per_byte, lo, hi, change, change_lo,
        change_hi (compared with the reference), and judged: whether the month has at least *fewest* new reviews.

    Raises:
        EmptyInput: No review is held out.
    """
    held_out = scores.filter(pl.col("part") == HELD_OUT)
    if held_out.is_empty():
        raise EmptyInput("No held-out review has a date, so there is no reference for the months")

    options: dict[str, Any] = {"confidence": confidence, "resamples": resamples}
    since = _since(held_out, fewest)
    reference = _bootstrap_of(held_out.filter(pl.col("month") >= since), seed=seed, **options)
    rows: list[dict[str, Any]] = []
    last: tuple[str, Interval | None] = ("", None)
    months = scores.sort("month", "part").partition_by(
        "month", "part", as_dict=True, maintain_order=True
    )
    for number, ((month, part), group) in enumerate(months.items(), start=1):
        boot = _bootstrap_of(group, seed=seed + number, **options)
        judged = part == NEW and len(group) >= fewest
        change = _difference(boot, reference)
        if judged:
            last = (str(month), change)

        row: dict[str, Any] = {
            "month": str(month),
            "part": str(part),
            "reviews": len(group),
        }
        row["tokens"] = int(group["tokens"].sum())
        row["bytes"] = int(group["bytes"].sum())
        row |= _as_fields("", boot.interval(BITS))
        row |= _as_fields("change_", change)
        row["judged"] = judged
        rows.append(row)

    return Decay(
        pl.DataFrame(rows),
        since,
        str(held_out["month"].max()),
        reference.interval(BITS),
        *last,
    )


def _since(held_out: pl.DataFrame, fewest: int) -> str:
    """Return the month from which the last months have *fewest* reviews together; the first month if all have fewer."""
    counts = (
        held_out.group_by("month")
        .len()
        .sort("month", descending=True)
        .with_columns(pl.col("len").cum_sum())
    )
    enough = counts.filter(pl.col("len") >= fewest)
    return str(enough["month"][0] if enough.height else counts["month"][-1])


def _bootstrap_of(
    rows: pl.DataFrame,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Bootstrap:
    arrays = ((name, rows[name].to_numpy()) for name in ("nats", "spelling_nats", "bytes"))
    return Bootstrap(
        arrays,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def _difference(boot: Bootstrap, reference: Bootstrap) -> Interval:
    value, value_R = boot.figures(BITS)
    base, base_R = reference.figures(BITS)
    # The smaller sample decides how wide the tails must be.
    fewer = boot if boot.units < reference.units else reference
    with np.errstate(invalid="ignore"):
        low, high = fewer.ends(value_R - base_R)
        return replace(
            fewer.interval(BITS),
            estimate=value - base,
            low=low,
            high=high,
        )


def _as_fields(prefix: str, interval: Interval) -> dict[str, float]:
    name = prefix.rstrip("_") or "open_bits_per_byte"
    return {
        name: interval.estimate,
        f"{prefix}lo": interval.low,
        f"{prefix}hi": interval.high,
    }
