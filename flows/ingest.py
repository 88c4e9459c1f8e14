"""Ingest raw files or the embedded corpus into a checked data set of typed Parquet parts."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from core.config.run_config import RunConfig
from core.store import Artifact
from tasks.data.ingest import ingest_files, replay_quarantine, synthesise
from tasks.data.prepare import check_table
from tasks.lineage.about_version import VersionSettings
from tasks.stage import step, store_of


@flow(name="ingest", flow_run_name="{config.title}", persist_result=False)
def ingest(config: RunConfig) -> Artifact:
    """Return the data set. A critical finding of the suite "raw" stops the run here, before any training."""
    with step("ingest", "read and check the reviews"):
        dataset = ingest_files(config, None if config.source.input else synthesise(config))
        check_table(config, "raw", dataset)
        return dataset


def recorded_or_read(chosen: VersionSettings) -> Artifact:
    """Return the stored data set of the version in *chosen*; ingest again if there is none or the store lost it."""
    known = store_of(chosen.config).find("ingest", chosen.dataset) if chosen.dataset else None
    return ingest(chosen.config) if known is None else known


@flow(name="replay", flow_run_name="{config.title}", persist_result=False)
def replay(config: RunConfig, quarantined: Artifact, fixed: Path | None = None) -> Artifact:
    """Return the data set with the records recovered from its quarantine (see `corpus.quarantine.replay`)."""
    dataset = replay_quarantine(config, quarantined, fixed)
    check_table(config, "raw", dataset)
    return dataset
