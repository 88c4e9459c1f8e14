"""Ingest raw files or the embedded corpus into a checked data set, and announce new files."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, cast

from prefect import State, flow
from prefect.states import Completed

from core.config.run_config import RunConfig
from core.services.join import INGESTED
from core.store import Artifact
from flows.parts import ingest
from flows.retrain import resolve
from flows.server.parameters import Inputs, Overrides, PresetOrNone, with_absolute_paths
from tasks.data.ingest import ingest_files, synthesise
from tasks.data.prepare import check_table
from tasks.run_summary import describe_dataset
from tasks.stage import NotFinished, RunRecord, announce, finished_only, recorded_stages

MOST_NAMED = 20
"""New files that the event names."""
log = logging.getLogger(__name__)


@flow(name="ingest-only", persist_result=False)
def ingest_only(preset: PresetOrNone = "small", input: Inputs = None, overrides: Overrides = None) -> dict[str, Any]:
    """Ingest and check the input; return row count, quarantine count, parts, digest and dates.

    If all files were read before and have passed the check, the run ends at once. New files are an event.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the champion's own settings.
        input: Files, folders or globs of reviews. Empty: the demo's synthetic reviews, or the champion's files in a run
            without a preset and in a deployment's run of your own data.
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


def known_data_set(config: RunConfig, record: RunRecord) -> Artifact | None:
    """Return the data set if all of it was read before and the check has passed; make no task run and no result.

    Args:
        record: Stages of this run so far. It stays as it is if something is new, because all stages are asked again.

    Raises:
        CheckFailed: A critical finding of before: the data set stays refused.
    """
    before = len(record.stages)
    with suppress(NotFinished), finished_only():
        synthetic = None if config.source.input else _result(synthesise.fn(config))
        dataset = _result(ingest_files.fn(config, synthetic))
        check_table.fn(config, "raw", dataset)
        return dataset
    del record.stages[before:]
    return None


def _result(returned: Artifact | State[Artifact]) -> Artifact:
    """Return what a stage's function returns, also if it is wrapped in the state "Reused"."""
    return cast(Artifact, returned.result()) if isinstance(returned, State) else returned


def announce_new_files(
    config: RunConfig, dataset: Artifact, record: RunRecord, preset: str, input: Inputs, overrides: Overrides
) -> None:
    """Emit an event if this run has read new files; with its parameters, a retrain uses the same settings and data."""
    new = {one.label for one in record.stages if one.stage == "read" and not one.reused}
    if not new:
        return
    rows = {source["name"]: source["rows"] for source in dataset.facts["sources"] if source["name"] in new}
    reviews = sum(rows.values())
    announce(INGESTED, config, {
        **with_absolute_paths(preset, input, overrides), "count": len(new),
        "files": sorted(new)[:MOST_NAMED], "new_reviews": reviews,
        "sentence": f"New files: {len(new)}, with {reviews:,} reviews", "dataset": dataset.digest,
    })  # fmt: skip
