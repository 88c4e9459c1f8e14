"""Compute intervals of all figures of all models, and of their differences, from the same draws of reviews.

The intervals of two models can overlap although their difference is certain, because both models find the same reviews
hard. Decide between two models by the interval of their difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from reviewlm.core.errors import ReviewLMError
from reviewlm.corpus.splitting.certificate import PARTLY_COVERED
from reviewlm.evaluation.scoring.metrics import FIGURES, LN2, Figures, Sums, figures_of
from reviewlm.evaluation.scoring.observe import HITS
from reviewlm.evaluation.statistics.bootstrap import Bootstrap, Interval
from reviewlm.evaluation.statistics.comparison import METRICS, Baseline, baseline_of, comparable
from reviewlm.evaluation.statistics.floor import floor_nats
from reviewlm.evaluation.statistics.groups import groups_of

OWN = ("nats", "spelling_nats", "tokens", "words", "oov", "gap_nats")
"""Columns that each model has separately."""
SHARED = ("bytes", "reviews", "gap_bytes")
"""Columns that are the same for all models."""

BELOW = 1e-9
"""Bits per byte: a gap this close to 0 is rounding."""
NUMBERS = (
    "value",
    "other_value",
    *(of + end for of in ("difference", "gain") for end in ("", "_lo", "_hi")),
)
DIFFERENCES = pl.Schema(
    {
        **dict.fromkeys(("model", "other", "figure"), pl.String()),
        **dict.fromkeys(NUMBERS, pl.Float64()),
    }
)
"""Columns of `ComparedScores.difference_table`."""


def gap(sums: Sums) -> Any:
    """Return the bits per byte above the grammar's floor."""
    return sums["gap_nats"] / sums["gap_bytes"] / LN2


class ComparedScores:
    """The scores of several models on the same reviews, with the draws used for all their intervals.

    Args:
        scores: By name of model: `evaluation.scoring.score.score_stream`; the order of the rows does not matter.
        figures: By name of model; unit, vocabulary and boundary policy decide what may be compared.
        judged: The grammar's nats of the reviews (`evaluation.statistics.floor.JUDGED`), if it wrote them.
        confidence: Confidence of the intervals, in (0, 1).
        resamples: Number of draws.
        seed: Equal seeds draw equal reviews.
        documents: Further facts about the reviews; its column `group`, if any, says which reviews are drawn together.

    Raises:
        ReviewLMError: The models were scored on different reviews, or on none.
    """

    def __init__(
        self,
        scores: Mapping[str, pl.DataFrame],
        figures: Mapping[str, Figures],
        judged: pl.DataFrame | None = None,
        *,
        confidence: float,
        resamples: int,
        seed: int,
        documents: pl.DataFrame | None = None,
    ) -> None:
        rows = align_rows(scores)
        self.figures = {name: figures[name] for name in scores}
        self.judged = judged
        columns: dict[Any, np.ndarray] = {}
        for name, frame in rows.items():
            columns |= {
                (name, column): frame[column].to_numpy()
                for column in OWN
                if column in frame.columns
            }
            columns |= _gap_columns(name, frame, judged) if judged is not None else {}

        first = next(iter(rows.values()))
        columns |= {"bytes": first["bytes"].to_numpy(), "reviews": np.ones(len(first))}
        groups = groups_of(first["review_id"], documents)
        self.boot = Bootstrap(
            columns.items(),
            confidence=confidence,
            resamples=resamples,
            seed=seed,
            groups=groups,
        )

    def interval_table(self, baseline: Baseline) -> pl.DataFrame:
        """Return one row per model: the intervals for `reviewlm.evaluation.statistics.comparison.comparison_table`.

        Returns:
            model; `x_lo` and `x_hi` of each figure x of `FIGURES`, in the figure's unit; baseline_gain_lo, baseline_gain_hi;
            gap (bits per byte above the floor) with its ends; below_floor: whether even the upper end of the gap is below 0.
            Null if there is no interval: the figure is infinite, has no meaning for the unit, or there is one review.
            Gaps are also null if there is no floor.
        """
        rows = [self._row(name, baseline_of(baseline, name)) for name in self.figures]
        schema = dict.fromkeys(rows[0], pl.Float64()) | {
            "model": pl.String(),
            "below_floor": pl.Boolean(),
        }
        return pl.DataFrame(rows, schema)

    def difference_table(self, baseline: Baseline) -> pl.DataFrame:
        """Return the paired differences of each model to its baseline.

        Static models are compared with static ones, adaptive models with adaptive ones.

        Returns:
            model, other, figure, value and other_value of both, difference (model − other: below 0 the model is
            better) with difference_lo and difference_hi, gain (1 − model / other) with gain_lo and gain_hi.
            There is no row for a figure that cannot compare the pair (`evaluation.statistics.comparison.comparable`).
        """
        rows = []
        for model in sorted(
            self.figures, key=lambda name: (self.figures[name].open_bits_per_byte, name)
        ):
            if (other := baseline_of(baseline, model)) in self.figures and other != model:
                for metric in METRICS:
                    if comparable(metric, self.figures[model], self.figures[other]):
                        rows.append(self._difference(model, other, metric))

        return pl.DataFrame(rows, DIFFERENCES)

    def _row(self, name: str, baseline: str) -> dict[str, Any]:
        row: dict[str, Any] = {"model": name}
        for figure, of in FIGURES.items():
            meant = figure != "bits_per_character" or self.figures[name].unit == "char"
            row |= _ends(figure, self.boot.interval(partial(_of, name, of) if meant else _missing))

        compared = partial(_gain_of, name, baseline, FIGURES["open_bits_per_byte"])
        gain = self.boot.interval(compared if baseline in self.figures else _missing)
        row |= _ends("baseline_gain", gain)
        row |= self.boot.interval(
            partial(_of, name, gap) if self.judged is not None else _missing
        ).to_fields("gap")
        above = row["gap_hi"]
        row["below_floor"] = None if above is None else above < -BELOW
        return row

    def _difference(
        self,
        name: str,
        other: str,
        metric: str,
    ) -> dict[str, Any]:
        of = FIGURES[metric]
        difference = self.boot.interval(lambda sums: _of(name, of, sums) - _of(other, of, sums))
        gain = self.boot.interval(partial(_gain_of, name, other, of))
        values = {
            "value": getattr(self.figures[name], metric),
            "other_value": getattr(self.figures[other], metric),
        }
        names = {
            "model": name,
            "other": other,
            "figure": metric,
        }
        return {
            **names,
            **values,
            **difference.to_fields("difference"),
            **gain.to_fields("gain"),
        }


def align_rows(scores: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Return each model's rows sorted by review.

    Raises:
        ReviewLMError: The models were scored on different reviews, or on none.
    """
    rows = {name: frame.sort("review_id") for name, frame in scores.items()}
    first = next(iter(rows.values()), pl.DataFrame())
    if not len(first):
        raise ReviewLMError("There are no scored reviews to compare models by")

    for name, frame in rows.items():
        if not frame.select("review_id", "bytes").equals(first.select("review_id", "bytes")):
            raise ReviewLMError(
                "Figures of different test sets cannot be compared",
                value=f"{next(iter(rows))} and {name}",
                remedy="score all models on the same split",
            )

    return rows


def uncovered_table(
    scores: Mapping[str, pl.DataFrame], documents: pl.DataFrame | None
) -> pl.DataFrame:
    """Return the figures without the reviews of whose words training text has the share `PARTLY_COVERED` or more.

    Args:
        scores: By name of model, as in `ComparedScores`.
        documents: Facts about the reviews; with the column `coverage` if it was measured.

    Returns:
        One row per model: model; if there are such reviews and others, also `covered_reviews` (their number),
        `uncovered_perplexity` and `uncovered_open_bits_per_byte`.
    """
    table = pl.DataFrame({"model": list(scores)}, schema={"model": pl.String()})
    if documents is None or "coverage" not in documents.columns:
        return table

    covered = documents.filter(pl.col("coverage") >= PARTLY_COVERED).select("review_id")
    rest = {name: rows.join(covered, on="review_id", how="anti") for name, rows in scores.items()}
    left = [len(scores[name]) - len(rows) for name, rows in rest.items()]
    if not any(left) or not all(map(len, rest.values())):
        return table

    figures = [figures_of(rows) for rows in rest.values()]
    perplexities = pl.Series([figure.perplexity for figure in figures])
    bits = pl.Series([one.open_bits_per_byte for one in figures])
    return table.with_columns(
        covered_reviews=pl.Series(left, dtype=pl.Int64),
        uncovered_perplexity=perplexities,
        uncovered_open_bits_per_byte=bits,
    )


def usefulness_table(
    tokens: Mapping[str, pl.DataFrame],
    sizes: pl.DataFrame,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    documents: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return how useful next-word suggestions are, with intervals.

    The figures are defined in `reviewlm.evaluation.scoring.observe`.

    Args:
        tokens: By name of model, `reviewlm.evaluation.scoring.observe.observe`; all models on the same reviews.
        sizes: review_id and bytes of these reviews, and of any others.
        resamples: Number of draws of the observed reviews.
        documents: Further facts about the reviews; its column `group`, if any, says which reviews are drawn together.

    Returns:
        One row per model: model, hit@1, hit@3, hit@5 and mrr (per token) and keystroke_savings (per byte), each with
        `_lo` and `_hi`.

    Raises:
        ReviewLMError: The models were observed on different reviews.
    """
    hits = [(pl.col("suggestion") <= k).fill_null(False).sum().alias(f"hit@{k}") for k in HITS]
    reciprocal = (1 / pl.col("suggestion")).fill_null(0.0).sum().alias("mrr")
    keys_spared = pl.col("keys_spared").sum()
    sums: dict[str, pl.DataFrame] = {}
    for name, frame in tokens.items():
        by_review = frame.group_by("review_id").agg(
            *hits, reciprocal, tokens=pl.len(), keys=keys_spared
        )
        sums[name] = by_review.join(sizes, on="review_id", how="left").sort("review_id")

    if len({tuple(frame["review_id"]) for frame in sums.values()}) > 1:
        raise ReviewLMError(
            "The models were observed on different reviews",
            remedy="run again with --rebuild observe",
        )

    shares = {**{f"hit@{k}": (f"hit@{k}", "tokens") for k in HITS}, "mrr": ("mrr", "tokens")}
    shares["keystroke_savings"] = ("keys", "bytes")
    keys = {key for share in shares.values() for key in share}
    columns = {
        (name, key): frame[key].to_numpy() for name, frame in sums.items() for key in sorted(keys)
    }
    groups = groups_of(next(iter(sums.values()))["review_id"], documents)
    boot = Bootstrap(
        columns.items(),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        groups=groups,
    )
    rows = []
    for name in tokens:
        row: dict[str, Any] = {"model": name}
        for figure, (part, whole) in shares.items():
            interval = boot.interval(partial(_share, (name, part), (name, whole)))
            row |= interval.to_fields(figure)
        rows.append(row)

    return pl.DataFrame(rows, dict.fromkeys(rows[0], pl.Float64()) | {"model": pl.String()})


def _share(
    part: Any,
    whole: Any,
    sums: Sums,
) -> Any:
    return sums[part] / sums[whole]


def _ends(name: str, interval: Interval) -> dict[str, float | None]:
    """Return the ends of an interval as `x_lo` and `x_hi`; null if there is none."""
    return {end: value for end, value in interval.to_fields(name).items() if end != name}


def _missing(sums: Sums) -> float:
    return math.nan


def _of(
    name: str,
    of: Callable[[Sums], Any],
    sums: Sums,
) -> Any:
    """Return a figure of one model."""
    return of(_own(sums, name))


def _own(sums: Sums, name: str) -> dict[str, Any]:
    """Return the sums of one model, and the sums shared by all, under plain names."""
    model_sums = {column: sums[name, column] for column in OWN if (name, column) in sums}
    return model_sums | {column: sums[column] for column in SHARED if column in sums}


def _gain_of(
    name: str,
    other: str,
    of: Callable[[Sums], Any],
    sums: Sums,
) -> Any:
    """Return 1 − a model's figure / another's; NaN if the other's is infinite, because the gain is then undefined."""
    base = _of(other, of, sums)
    return 1 - _of(name, of, sums) / np.where(np.isinf(base), np.nan, base)


def _gap_columns(
    name: str,
    rows: pl.DataFrame,
    judged: pl.DataFrame,
) -> dict[Any, np.ndarray]:
    """Return the extra nats of a model compared with the grammar, over the reviews that the grammar can generate."""
    floor_D = floor_nats(judged, rows)
    explained_D = np.isfinite(floor_D)
    open_D = (rows["nats"] + rows["spelling_nats"]).to_numpy()
    return {
        (name, "gap_nats"): np.where(explained_D, open_D - floor_D, 0.0),
        "gap_bytes": np.where(explained_D, rows["bytes"].to_numpy(), 0.0),
    }


def flagged_below_floor(table: pl.DataFrame) -> Sequence[str]:
    """Return the models of an interval table that are below the floor beyond noise.

    A correct model of the whole text cannot be below it. A model below the floor was scored on less than the text (for
    example a vocabulary of words that folds case and spacing), gives probabilities that sum to more than 1, or has seen
    the test reviews.
    """
    return table.filter(pl.col("below_floor"))["model"].to_list()
