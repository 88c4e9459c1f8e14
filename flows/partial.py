"""The pipeline up to a stage: what the command line's verbs and the `train` deployment run.

Each is a whole flow of its own that takes finished stages from the store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.evaluate import evaluate
from flows.ingest import ingest, replay
from flows.prepare import prepare
from flows.retrain import resolve, run_pipeline
from flows.train import train
from tasks.lineage.about_version import CHAMPION, quarantined, settings_of
from tasks.reporting.report import make_report
from tasks.reporting.summary import describe_dataset, describe_evaluated, describe_fitted, describe_prepared
from tasks.tracking.track import parent_run

Arguments = list[str] | None


@flow(name="ingest-only", persist_result=False)
def ingest_only(preset: str = "small", input: Arguments = None, overrides: Arguments = None) -> dict[str, Any]:
    """Read and check the input; return rows, quarantined, parts, digest and dates."""
    return describe_dataset(ingest(resolve(preset, input, overrides)))


@flow(name="replay-only", persist_result=False)
def replay_only(
    preset: str = "", input: Arguments = None, overrides: Arguments = None, fixed: str = ""
) -> dict[str, Any]:
    """Read a quarantine again, or the corrected file *fixed*; return the new data set."""
    chosen, dataset = quarantined(preset, input or [], overrides or [])
    return describe_dataset(replay(chosen.config, dataset, Path(fixed) if fixed else None))


@flow(name="prepare-only", persist_result=False)
def prepare_only(preset: str = "small", input: Arguments = None, overrides: Arguments = None) -> dict[str, Any]:
    """Run up to the token streams; return their sizes."""
    config = resolve(preset, input, overrides)
    return describe_prepared(prepare(config, ingest(config)))


@flow(name="train", persist_result=False)
def train_only(preset: str = "small", input: Arguments = None, overrides: Arguments = None) -> dict[str, Any]:
    """Run up to the fitted models, e.g. on a GPU worker; a later `retrain` finds them in the store."""
    config = resolve(preset, input, overrides)
    with parent_run(config, "train") as run_id:
        return describe_fitted(train(config, prepare(config, ingest(config)), run_id), run_id)


@flow(name="evaluate-only", persist_result=False)
def evaluate_only(preset: str = "small", input: Arguments = None, overrides: Arguments = None) -> dict[str, Any]:
    """Run up to the table that compares the models; the registry is not touched."""
    config = resolve(preset, input, overrides)
    with parent_run(config, "evaluate") as run_id:
        dataset = ingest(config)
        prepared = prepare(config, dataset)
        evaluated = evaluate(config, prepared, train(config, prepared, run_id), run_id)
        report = make_report(config, dataset, prepared, evaluated, None, run_id)
        return describe_evaluated(config, evaluated, run_id, report)


@flow(name="promote-only", persist_result=False)
def promote_only(preset: str = "", input: Arguments = None, overrides: Arguments = None) -> dict[str, Any]:
    """Hold the best model of a configuration against the champion; what is not in the store yet is made first.

    Without a preset or input they are the champion's own. Where the demo's champion answered, for want of another, a
    model of the user's files is registered as the user's all the same.
    """
    config = settings_of((CHAMPION,), preset, input or [], overrides or []).config
    return run_pipeline(config.with_input(config.source.input)).to_dict()
