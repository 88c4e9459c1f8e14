"""Score champions again, month by month, on reviews that they were not trained on, to measure decay."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import BundleError, ConfigError, EmptyInput
from reviewlm.core.output import literal
from reviewlm.core.store import Artifact
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.cleaning.normalise import in_languages
from reviewlm.corpus.known_reviews import Standing
from reviewlm.corpus.profile import first_of_months, month_of, sample_reviews
from reviewlm.corpus.splitting.certificate import reviews_digest
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.evaluation.drift.decay import HELD_OUT, NEW, Decay, measure_decay
from reviewlm.evaluation.drift.figures import decay_curve
from reviewlm.tasks.data.account import warn_of_oddities
from reviewlm.tasks.data.drift import (
    NotCompared,
    data_of,
    known_reviews,
    score_texts,
)
from reviewlm.tasks.execution.devices import OpenBundle
from reviewlm.tasks.execution.stage import run_stage, show_markdown, show_table, stage_task
from reviewlm.tasks.fitting.fit import bundle_digest
from reviewlm.tasks.records.track import registry_of, tracker_of
from reviewlm.tracking.registry.versions import CHAMPION, Version
from reviewlm.tracking.tags import DECAY_TAG, NOTE

log = logging.getLogger(__name__)
SCORES_FILE = "scores.parquet"
CURVE = "plots/decay.png"
TABLE = "decay.json"
ALL = "all"
MONTH_REVIEWS = 1_000
"""Maximum number of reviews of a month that are scored."""
MIN_REVIEWS = 100
"""A month with fewer reviews gets no verdict."""


@stage_task("choose versions")
def choose_versions(
    workspace: Workspace,
    model_name: str,
    versions: str,
) -> list[Version]:
    """Return the versions to score: the champion, followed by every former champion if *versions* is "all".

    Raises:
        ConfigError: *versions* is neither "champion" nor "all".
        EmptyInput: There is no champion yet.
    """
    if versions not in (CHAMPION, ALL):
        raise ConfigError(
            "The versions to score must be 'champion' or 'all'", where="versions", value=versions
        )

    registry = registry_of(workspace, model_name)
    champion = registry.alias(CHAMPION)
    if champion is None:
        raise EmptyInput(
            "There is no champion yet, so nothing to score again", remedy="run `reviewlm run` first"
        )
    if versions == CHAMPION:
        return [champion]

    newest_first = reversed(registry.champions())
    former = [version for version in newest_first if version.version != champion.version]
    return [champion, *former]


@stage_task("rescore", run_name="rescore v{version.version}")
def rescore_version(
    config: RunConfig,
    dataset: Artifact,
    version: Version,
) -> Decay | None:
    """Score a version, month by month, on its held-out reviews and on reviews of *dataset* that are new to it.

    Return None, with a warning, if its data or its bundle are missing: without its data it is unknown which reviews are
    new to it.
    """
    try:
        reference = data_of(config.home, version)
        folder = registry_of(config.workspace, config.promotion.model_name).bundle_folder(version)
        known = known_reviews(config.home, reference)
        comparison = known.compare(dataset.folder)
        warn_of_oddities(comparison.entries("rescore"))
        is_new = comparison.masks([Standing.NEW])  # an edited one has the month of its first text
        new = sample_reviews(
            dataset.folder,
            MONTH_REVIEWS,
            known.form,
            is_new,
            by_month=True,
        )
        new, _ = in_languages(new, config.selection)
        scores = _scored_months(
            config.workspace, folder, _by_month(reference, new), version.version
        )
    except (BundleError, NotCompared) as error:
        log.warning("rescore: version %d cannot be measured: %s", version.version, error)
        return None

    decay = measure_decay(scores, fewest=MIN_REVIEWS, **config.evaluation.bootstrap)
    decay = replace(decay, restated=comparison.sentence)
    level = logging.WARNING if decay.worse else logging.INFO
    log.log(level, "version %d: %s", version.version, decay.sentence)
    return decay


def _by_month(reference: Artifact, new: pl.DataFrame) -> pl.DataFrame:
    """Return held-out and new reviews with month and part; per month, only the first held-out ones."""
    types = {
        "stars": pl.Int8,
        "bytes": pl.Int32,
        "words": pl.Int32,
    }
    columns = [
        pl.col(name).cast(types.get(name, pl.String))
        for name in ("review_id", "text", "stars", "bytes", "words", "month")
    ]
    held_out = new.clear().select(columns)
    for batch in iter_split(reference.folder, "test"):  # batches are in hash order
        dated = batch.filter(pl.col("date").is_not_null()).with_columns(month_of())
        together = pl.concat([held_out, dated.select(columns)])
        held_out = first_of_months(together, MONTH_REVIEWS).select(columns)

    parts = {HELD_OUT: held_out, NEW: new.select(columns)}
    return pl.concat([rows.with_columns(part=pl.lit(part)) for part, rows in parts.items()])


def _scored_months(
    workspace: Workspace,
    folder: Path,
    rows: pl.DataFrame,
    version: int,
) -> pl.DataFrame:
    """Return one row of scores per review, with month and part; take months that were scored before from the store."""
    if rows.is_empty():  # no review has a date
        return rows.select("month", "part")

    groups = rows.partition_by("month", "part", as_dict=True)
    names = ("nats", "spelling_nats", "bytes", "tokens")
    tables = []
    with OpenBundle(workspace.execution, folder) as opened:
        for (month, part), group in sorted(groups.items(), key=lambda entry: str(entry[0])):
            scores = score_reviews(
                workspace,
                folder,
                opened,
                group,
                f"v{version} {month} {part}",
            )
            labels = (pl.lit(month).alias("month"), pl.lit(part).alias("part"))
            tables.append(scores.select(names).with_columns(*labels))

    return pl.concat(tables)


def score_reviews(
    workspace: Workspace,
    folder: Path,
    opened: OpenBundle,
    reviews: pl.DataFrame,
    label: str,
) -> pl.DataFrame:
    """Return a bundle's scores of some reviews; the store keeps them under the digests of bundle and reviews.

    Args:
        reviews: Columns review_id, text, stars, bytes, words.
    """

    def make(work: Path) -> dict[str, Any]:
        scores = score_texts(opened(), reviews, work / "stream")
        scores.write_parquet(work / SCORES_FILE)
        return {"reviews": scores.height}

    inputs = {"bundle": bundle_digest(folder), "reviews": reviews_digest(reviews)}
    built = run_stage(
        workspace,
        "rescore",
        {},
        inputs,
        make,
        label,
    )
    return pl.read_parquet(built.artifact.folder / SCORES_FILE)


@stage_task("decay")
def report_decay(
    workspace: Workspace,
    decays: Mapping[int, Decay],
    run_id: str,
) -> dict[str, Any]:
    """Log curve, table and metrics (step = year and month, 202405) to MLflow; return the champion's verdict.

    Args:
        decays: By version, the champion's first.
    """
    tracker = tracker_of(workspace)
    version, decay = next(iter(decays.items()))
    tables: list[pl.DataFrame] = []
    curves: dict[str, Decay] = {}
    for number, measured in decays.items():
        tables.append(measured.table.insert_column(0, pl.lit(number).alias("version")))
        curves[f"v{number}"] = measured

    table = pl.concat(tables)
    tracker.log_figure(run_id, decay_curve(curves), CURVE)
    tracker.log_table(run_id, table, TABLE)
    for row in table.filter(pl.col("part") == NEW).to_dicts():
        model = f"decay/v{row['version']}"
        figures = {f"{model}/{name}": row[name] for name in ("open_bits_per_byte", "lo", "hi")}
        step = int(row["month"].replace("-", ""))
        tracker.log_metrics(run_id, figures, step=step)

    verdict = {
        True: "worse",
        False: "not worse",
        None: "too few reviews",
    }[decay.worse]
    tracker.set_tags(run_id, {DECAY_TAG: verdict, NOTE: decay.sentence})
    show_table("decay", table.to_dicts(), decay.sentence)
    show_markdown("decay-verdict", literal(decay.sentence), verdict)
    return {
        "version": version,
        "worse": decay.worse,
        "sentence": decay.sentence,
        "reference": decay.reference.estimate,
        "since": decay.since,
        "until": decay.until,
        "months": table.to_dicts(),
    }
