"""Raw files, or the embedded corpus, → a checked data set of typed Parquet parts."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from reviewlm.config import RunConfig
from reviewlm.store import Artifact
from tasks.ingest import ingest_files, replay_quarantine, synthesise
from tasks.prepare import check_table


@flow(name="ingest", persist_result=False)
def ingest(config: RunConfig) -> Artifact:
    """Return the data set; a critical finding of the suite "raw" stops here, before anything is trained."""
    synthetic = None if config.source.input else synthesise.submit(config).result()
    dataset = ingest_files.submit(config, synthetic).result()
    check_table.submit(config, "raw", dataset).result()
    return dataset


@flow(name="replay", persist_result=False)
def replay(config: RunConfig, fixed: Path | None = None) -> Artifact:
    """Return the newest data set with the records that came back from quarantine (see `corpus.replay`)."""
    dataset = replay_quarantine.submit(config, fixed).result()
    check_table.submit(config, "raw", dataset).result()
    return dataset
