"""Data sets from files, as the stages *read* and *ingest* build them, but without a store; and the splits of ids."""

import shutil

import polars as pl

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import disk_errors
from reviewlm.corpus.ingestion.build_dataset import assemble
from reviewlm.corpus.ingestion.ingest import iter_parts, read_source
from reviewlm.corpus.reading.sources import all_sources, originals
from reviewlm.corpus.splitting.split import SPLITS, places, ranks


def ingest(
    inputs,
    folder,
    config,
    now=None,
    engine=None,
):
    sources, readings = all_sources(inputs, None, config.skip_missing), folder / "readings"
    read = {
        key: read_source(source, readings / str(number), config, now=now)
        for number, (key, source) in enumerate(originals(sources).items())
    }
    with disk_errors(folder):
        facts = assemble(
            folder,
            sources,
            read,
            config,
            engine=engine,
        )
    shutil.rmtree(readings)
    return facts


def ingested(inputs, out, **settings):
    """Facts, rows and quarantine of a data set."""
    facts = ingest(inputs, out, SourceConfig(**settings))
    return facts, pl.concat(iter_parts(out)), pl.read_parquet(out / "quarantine.parquet")


def assign(ids, config):
    return ranks(places(ids, config.salt), config).replace_strict(
        dict(enumerate(SPLITS)), return_dtype=pl.String
    )
