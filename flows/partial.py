"""Define one Prefect flow per part of the pipeline: ingest, prepare, train, evaluate, promote.

Each function is a complete flow. It takes finished stages from the store.
"""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.evaluate import evaluate
from flows.ingest import announce_new_files, ingest, known_data_set
from flows.prepare import prepare
from flows.retrain import resolve, run_pipeline
from flows.server.parameters import Inputs, Overrides, PresetOrNone
from flows.train import train
from tasks.fitting.fit import limits_of_fits
from tasks.fitting.on_cluster import require_cluster
from tasks.limits import require_limits
from tasks.lineage.about_version import CHAMPION, settings_of
from tasks.run_report import make_report
from tasks.run_summary import (
    describe_dataset,
    describe_evaluated,
    describe_fitted,
    describe_prepared,
    hints_of,
)
from tasks.stage import recorded_stages
from tasks.track import parent_run

log = logging.getLogger(__name__)


@flow(name="ingest-only", persist_result=False)
def ingest_only(preset: PresetOrNone = "small", input: Inputs = None, overrides: Overrides = None) -> dict[str, Any]:
    """Ingest and check the input; return row count, quarantine count, parts, digest and dates.

    If all files were read before and have passed the check, the run ends at once. New files are an event.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the champion's own settings.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus; with an empty preset, and in a
            deployment's run of a preset that is not the demo's, the champion's files in their current state.
        overrides: Settings as `key=value`, e.g. `source.max_chars=20000`.
    """
    config = resolve(preset, input, overrides)
    with recorded_stages() as record:
        if (read := known_data_set(config, record)) is not None:
            message = f"Nothing new: all source files ({len(read.facts['sources'])}) were read and checked before"
            log.info("%s", message)
            unchanged: Any = Completed(message=message, data=describe_dataset(read))
            return unchanged  # type: ignore[no-any-return]
        dataset = ingest(config)
    announce_new_files(config, dataset, record, preset, input, overrides)
    return describe_dataset(dataset)


@flow(name="prepare-only", persist_result=False)
def prepare_only(preset: PresetOrNone = "small", input: Inputs = None, overrides: Overrides = None) -> dict[str, Any]:
    """Run the pipeline up to the token streams; return their sizes.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the champion's own settings.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus; with an empty preset, and in a
            deployment's run of a preset that is not the demo's, the champion's files in their current state.
        overrides: Settings as `key=value`, e.g. `vocabulary.word.size=8000`.
    """
    config = resolve(preset, input, overrides)
    return describe_prepared(prepare(config, ingest(config)))


@flow(name="train", persist_result=False)
def train_only(preset: PresetOrNone = "small", input: Inputs = None, overrides: Overrides = None) -> dict[str, Any]:
    """Run the pipeline up to the fitted models, e.g. on a GPU worker; a later `retrain` finds them in the store.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the champion's own settings.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus; with an empty preset, and in a
            deployment's run of a preset that is not the demo's, the champion's files in their current state.
        overrides: Settings as `key=value`, e.g. `models.lstm.hidden=650`.
    """
    config = resolve(preset, input, overrides)
    require_limits(limits_of_fits(config))
    require_cluster(config)
    with parent_run(config, "train") as run_id:
        return describe_fitted(train(config, prepare(config, ingest(config)), run_id), run_id)


@flow(name="evaluate-only", persist_result=False)
def evaluate_only(preset: PresetOrNone = "small", input: Inputs = None, overrides: Overrides = None) -> dict[str, Any]:
    """Run the pipeline up to the comparison of the models; do not change the registry.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the champion's own settings.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus; with an empty preset, and in a
            deployment's run of a preset that is not the demo's, the champion's files in their current state.
        overrides: Settings as `key=value`, e.g. `models.lstm.hidden=650`.
    """
    config = resolve(preset, input, overrides)
    require_limits(limits_of_fits(config))
    require_cluster(config)
    with parent_run(config, "evaluate") as run_id:
        dataset = ingest(config)
        prepared = prepare(config, dataset)
        evaluated = evaluate(config, prepared, train(config, prepared, run_id), run_id)
        report = make_report(config, dataset, prepared, evaluated, None, run_id)
        described = describe_evaluated(config, evaluated, run_id, report)
        return {**described, "hints": hints_of(config, prepared, evaluated)}


@flow(name="promote-only", persist_result=False)
def promote_only(preset: PresetOrNone = "", input: Inputs = None, overrides: Overrides = None) -> dict[str, Any]:
    """Compare the best model of a configuration with the champion; build first what the store does not have yet.

    Without a preset or input, the champion's own settings and data are used. If the user has no registered model yet,
    these come from the demo's champion. A model trained on the user's files is still registered as the user's model.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the champion's own settings.
        input: Files, folders or globs of reviews. None: the champion's files in their current state.
        overrides: Settings as `key=value`, e.g. `promotion.min_relative_gain=0.01`.
    """
    chosen = settings_of((CHAMPION,), preset, input or [], overrides or [])
    config = chosen.config.with_input(chosen.config.source.input)
    return run_pipeline(config if chosen.version else config.named_by_data()).to_dict()
