"""Ingest raw files or the embedded corpus into a checked data set of typed Parquet parts."""

from __future__ import annotations

from contextlib import suppress
from typing import cast

from prefect import State, flow

from core.config.run_config import RunConfig
from core.store import Artifact
from flows.server.parameters import Given, Inputs, Overrides, with_absolute_paths
from tasks.data.ingest import ingest_files, synthesise
from tasks.data.prepare import check_table
from tasks.flow_run import INGESTED, announce
from tasks.lineage.about_version import VersionSettings
from tasks.stage import NotFinished, RunRecord, finished_only, step, store_of

MOST_NAMED = 20
"""New files that the event names."""


@flow(name="ingest", flow_run_name="{config.title}", persist_result=False)
def ingest(config: Given[RunConfig]) -> Artifact:
    """Return the data set. A critical finding of the suite "raw" stops the run here, before any training."""
    with step("ingest", "read and check the reviews"):
        dataset = ingest_files(config, None if config.source.input else synthesise(config))
        check_table(config, "raw", dataset)
        return dataset


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


def recorded_or_read(chosen: VersionSettings) -> Artifact:
    """Return the stored data set of the version in *chosen*; ingest again if there is none or the store lost it."""
    dataset = store_of(chosen.config).find("ingest", chosen.dataset) if chosen.dataset else None
    return ingest(chosen.config) if dataset is None else dataset
