"""Compare a run's models on the test reviews: floor, intervals, differences, slices, and the table of models."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.sections.evaluation import EvaluationConfig
from reviewlm.core.store import Artifact, Built
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.evaluation.statistics.comparison import Baseline, comparison_table, own_baselines
from reviewlm.evaluation.statistics.floor import JUDGED, floor_of
from reviewlm.evaluation.statistics.intervals import (
    ComparedScores,
    flagged_below_floor,
    uncovered_table,
    usefulness_table,
)
from reviewlm.evaluation.statistics.slice_table import review_slices, worst_slices
from reviewlm.models.specs import parts_of
from reviewlm.tasks.data.documents import documents_of, grouped_by
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.evaluation.evaluate import (
    COSTS,
    Measured,
    costs_of,
    figures_of_artifact,
    scores_of,
)
from reviewlm.tasks.evaluation.observed import TOKEN_SCORES_FILE
from reviewlm.tasks.execution.stage import run_stage

JUDGED_FILE = "floor.parquet"
INTERVALS_FILE = "intervals.parquet"
DIFFERENCES_FILE = "differences.parquet"
SLICES_FILE = "slices.parquet"
WORST_FILE = "worst_slices.parquet"
MIN_EXPLAINED = 0.99
"""Minimum share of the reviews that the grammar must be able to generate."""

PROBE = 40
"""Shorter reviews that are tried first; where the grammar cannot generate more than half as many, it is given up."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """All models of a run, measured on the same test reviews, and compared.

    Args:
        table: One row per model, best first: figures, intervals, gaps to the floor, cost.
        floor: Facts of the floor, the cost of the test reviews under the grammar; None if no grammar wrote them.
    """

    models: tuple[Measured, ...]
    table: pl.DataFrame = field(repr=False)
    floor: dict[str, Any] | None
    artifact: Artifact

    def model_named(self, name: str) -> Measured:
        """Return the model with this name."""
        return next(model for model in self.models if model.name == name)

    def row(self, name: str) -> dict[str, Any]:
        """Return the row of the model with this name."""
        return self.table.row(by_predicate=pl.col("model") == name, named=True)

    @property
    def differences(self) -> pl.DataFrame:
        """Paired differences, see `reviewlm.evaluation.statistics.intervals.ComparedScores.difference_table`."""
        return pl.read_parquet(self.artifact.folder / DIFFERENCES_FILE)

    @property
    def slices(self) -> pl.DataFrame:
        """Figures by slice, see `reviewlm.evaluation.statistics.slice_table.SLICES`."""
        return pl.read_parquet(self.artifact.folder / SLICES_FILE)

    @property
    def worst(self) -> pl.DataFrame:
        """Worst slices, see `reviewlm.evaluation.statistics.slice_table.worst_slices`."""
        return pl.read_parquet(self.artifact.folder / WORST_FILE)


def compare(
    workspace: Workspace,
    evaluation: EvaluationConfig,
    baseline: str,
    prepared: Prepared,
    measured: Sequence[Measured],
) -> Evaluated:
    """Compare the models of a run; log a warning for each model below the floor."""
    floor = estimate_floor(workspace, prepared).artifact
    artifact = estimate_intervals(
        workspace,
        evaluation,
        baseline,
        prepared,
        measured,
        floor,
    ).artifact
    for name in artifact.facts["below_floor"]:
        log.warning(
            "'%s' needs fewer bits than the grammar that wrote the reviews, beyond noise: its probabilities do not "
            "sum to 1. Do not use its figures",
            name,
        )

    facts = floor.facts if floor.facts.get("explained") else None
    return Evaluated(tuple(measured), table_of(baseline, measured, artifact), facts, artifact)


def table_of(
    baseline: str,
    measured: Sequence[Measured],
    intervals: Artifact,
) -> pl.DataFrame:
    """Return the comparison table on the test split, best first, with intervals and cost."""
    figures = {model.name: figures_of_artifact(model.test) for model in measured}
    kinds = {model.name: model.fitted.spec.kind for model in measured}
    costs = [{"model": name, **cost} for name, cost in costs_of(measured).items()]
    schema = {"model": pl.String(), **dict.fromkeys(COSTS, pl.Float64())}
    table = comparison_table(figures, kinds, baselines_of(baseline, measured))
    for beside in (pl.read_parquet(intervals.folder / INTERVALS_FILE), pl.DataFrame(costs, schema)):
        table = table.join(
            beside,
            on="model",
            how="left",
            maintain_order="left",
        )

    return table


def baselines_of(baseline: str, measured: Sequence[Measured]) -> Baseline:
    """Return the baseline of each model; only the configured name if it is the baseline of all."""
    ways = {model.name: str(model.test.facts["adaptation"]) for model in measured}
    parts = {model.name: parts_of(model.fitted.spec) for model in measured}
    baselines = own_baselines(ways, parts, baseline)
    if set(baselines.values()) == {baseline}:
        return baseline
    return baselines


def estimate_floor(workspace: Workspace, prepared: Prepared) -> Built:
    """Return the floor: the cost of the test reviews under the grammar; no facts if the grammar did not write them."""

    def make(work: Path) -> dict[str, Any]:
        columns = ("review_id", "text", "stars", "bytes")
        reviews = pl.concat(iter_split(prepared.clean.folder, "test"))
        judged = judged_reviews(reviews.select(columns))
        if judged is None:
            return {}
        judged.write_parquet(work / JUDGED_FILE)
        return dict(floor_of(judged))

    inputs = {"clean": prepared.clean.digest}
    return run_stage(
        workspace,
        "floor",
        {},
        inputs,
        make,
        "of the test reviews",
    )


def judged_reviews(reviews: pl.DataFrame) -> pl.DataFrame | None:
    """Return the grammar's nats of each test review, or None if the reviews were not written by the grammar.

    Args:
        reviews: Columns review_id, text (cleaned), stars (0..5, 0: unknown) and bytes (the end included).

    Returns:
        One row per review with the columns of `JUDGED`, in the order of *reviews*. None if there are no reviews, if
        more than 1 % of them cannot come from the grammar, or more than `PROBE // 2` of the shorter ones that are
        tried first. The log says how many it explained.
    """
    # Imported late: the grammar is large, and code that only draws a floor does not need it.
    from reviewlm.corpus.synthetic.grammar import log_probability

    nats: list[float | None] = [None] * len(reviews)
    texts = reviews["text"]
    stars = reviews["stars"].fill_null(0)
    missed = 0
    order = texts.str.len_bytes().arg_sort().to_list()
    # A long review takes a second. A few from the shorter quarter are enough to see that a grammar wrote none of them.
    probe = order[: len(order) // 4 : max(1, len(order) // (4 * PROBE))]
    for seen, place in enumerate(dict.fromkeys([*probe, *order]), 1):
        logp = log_probability(texts[place], int(stars[place]))
        if logp is not None:
            nats[place] = -logp
            continue
        missed += 1
        if missed > (1 - MIN_EXPLAINED) * len(reviews) or (
            missed > PROBE // 2 and seen <= len(probe)
        ):
            log.debug(
                "no floor: the grammar of the demo did not write these reviews (%d of %d)",
                missed,
                seen,
            )
            return None

    log.debug("floor: the grammar explains %d of %d reviews", len(nats) - missed, len(nats))
    nats_D = pl.Series(nats, dtype=pl.Float64)
    judged = reviews.select("review_id", "bytes", nats=nats_D).cast(JUDGED)
    return judged if len(judged) else None


def estimate_intervals(
    workspace: Workspace,
    evaluation: EvaluationConfig,
    baseline_name: str,
    prepared: Prepared,
    measured: Sequence[Measured],
    floor: Artifact,
) -> Built:
    """Compute and store intervals, paired differences and slices of the models of a run, on the test reviews."""
    bootstrap = evaluation.bootstrap
    limits = {"min_reviews": evaluation.min_slice_reviews}
    observed = {model.name: model.observed for model in measured}
    baseline = baselines_of(baseline_name, measured)

    def make(work: Path) -> dict[str, Any]:
        scores = {model.name: scores_of(model.test) for model in measured}
        figures = {model.name: figures_of_artifact(model.test) for model in measured}
        judged = floor.folder / JUDGED_FILE
        reviews = documents_of(prepared.clean)
        floor_rows = None
        if judged.exists():
            floor_rows = pl.read_parquet(judged)

        compared = ComparedScores(
            scores,
            figures,
            floor_rows,
            documents=reviews,
            **bootstrap,
        )
        table = compared.interval_table(baseline)
        tokens: dict[str, pl.DataFrame] = {}
        for name, artifact in observed.items():
            tokens[name] = pl.read_parquet(artifact.folder / TOKEN_SCORES_FILE)

        sizes = next(iter(scores.values())).select("review_id", "bytes")
        useful = usefulness_table(tokens, sizes, documents=reviews, **bootstrap)
        for beside in (useful, uncovered_table(scores, reviews)):
            table = table.join(
                beside,
                on="model",
                how="left",
                maintain_order="left",
            )

        table.write_parquet(work / INTERVALS_FILE)
        compared.difference_table(baseline).write_parquet(work / DIFFERENCES_FILE)
        slices, left_out = review_slices(
            scores,
            reviews,
            baseline,
            **limits,
            confidence=evaluation.confidence,
        )
        slices.write_parquet(work / SLICES_FILE)
        worst_slices(slices, baseline).write_parquet(work / WORST_FILE)
        counted = slices.group_by("dimension", maintain_order=True).agg(pl.col("slice").n_unique())
        drawn = {"groups": compared.boot.groups, "grouped_by": grouped_by(prepared.clean, reviews)}
        below = list(flagged_below_floor(table))
        counts = {"slices": dict(counted.iter_rows()), "slices_left_out": left_out}
        return {
            **drawn,
            "below_floor": below,
            **counts,
        }

    inputs = {f"score {model.name}": model.test.digest for model in measured}
    inputs |= {f"observe {name}": artifact.digest for name, artifact in observed.items()}
    inputs |= {"clean": prepared.clean.digest, "floor": floor.digest}
    options = {
        "baseline": baseline,
        **bootstrap,
        **limits,
    }
    return run_stage(
        workspace,
        "intervals",
        options,
        inputs,
        make,
        f"{len(measured)} models",
    )
