"""Raw files, or the embedded corpus, → a checked data set of typed Parquet parts."""

from __future__ import annotations

from prefect import flow

from reviewlm.config import RunConfig
from reviewlm.store import Artifact
from tasks.ingest import ingest_files, synthesise
from tasks.prepare import check_table


@flow(name="ingest", persist_result=False)
def ingest(config: RunConfig) -> Artifact:
    """Return the data set; a critical finding of the suite "raw" stops here, before anything is trained."""
    synthetic = None if config.source.input else synthesise.submit(config).result()
    dataset = ingest_files.submit(config, synthetic).result()
    check_table.submit(config, "raw", dataset).result()
    return dataset
