"""Raw input, or the embedded corpus where none is given → typed Parquet parts and a quarantine."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from corpus.ingest import expand_inputs, ingest
from corpus.synth import write_reviews
from reviewlm.config import RunConfig
from reviewlm.environment import available_cores
from reviewlm.errors import Unreadable, disk_errors
from reviewlm.store import Artifact, sha256_of_file
from tasks.progress import progress
from tasks.stage import finished, run_stage, show_facts, store_of

log = logging.getLogger(__name__)

SYNTH_VERSION = 1
INGEST_VERSION = 1
SYNTHETIC_FILE = "reviews.jsonl"


@task(name="synthesise", cache_policy=NO_CACHE, persist_result=False)
def synthesise(config: RunConfig) -> Artifact:
    """Write the embedded corpus; every run without `--input` says that it is synthetic."""
    log.info("no input was given: the reviews are synthetic, written by the embedded grammar")
    options = config.source.synthetic

    def make(work: Path) -> dict[str, Any]:
        for leftover in work.glob(".*.partial"):  # of a killed attempt: the artifact would list it
            leftover.unlink()
        with progress("synthesise", options.reviews, "reviews") as report:
            return write_reviews(
                work / SYNTHETIC_FILE, options.reviews, options.seed, options.malformed, options.duplicates,
                workers=available_cores(), report=lambda done, total: report(done),
            )

    built = run_stage(config, "synthesise", SYNTH_VERSION, options.model_dump(mode="json"), {}, make, "embedded corpus")
    show_facts("synthesise", built.artifact, built.reused, "A synthetic corpus: no input was given.")
    return finished(built)


@task(name="ingest", cache_policy=NO_CACHE, persist_result=False)
def ingest_files(config: RunConfig, synthetic: Artifact | None = None) -> Artifact:
    """Read the input files; raw files enter the digest by the SHA-256 of their bytes."""
    paths = [synthetic.folder / SYNTHETIC_FILE] if synthetic else expand_inputs(config.source.input)
    inputs = {f"{index:05d}:{path.name}": _file_digest(config, path) for index, path in enumerate(paths)}
    options = config.source.model_dump(mode="json", include={"max_chars", "part_rows"})

    def make(work: Path) -> dict[str, Any]:
        with progress("ingest", sum(path.stat().st_size for path in paths), "bytes") as report:
            return ingest(paths, work, config.source, lambda rows, done, total: report(done, {"reviews": rows}))

    built = run_stage(config, "ingest", INGEST_VERSION, options, inputs, make, f"{len(paths)} file(s)", resumable=True)
    show_facts("ingest", built.artifact, built.reused)
    return finished(built)


def _file_digest(config: RunConfig, path: Path) -> str:
    """Return the SHA-256 of a file's bytes, remembered by device, inode, size and time of change.

    Raises:
        Unreadable: The file is not there any more, or may not be read.
        StoreFull, NotWritable: The store.
    """
    store = store_of(config).root
    try:
        stat = path.stat()
        with path.open("rb"):
            pass
    except OSError as error:
        raise Unreadable("The file cannot be read", where=path, cause=str(error)) from error
    memo = store / ".files" / f"{stat.st_dev}-{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}"
    if memo.is_file():
        return memo.read_text()
    digest = sha256_of_file(path)
    with disk_errors(store):
        memo.parent.mkdir(parents=True, exist_ok=True)
        temporary = memo.with_suffix(f".{os.getpid()}")
        temporary.write_text(digest)
        temporary.rename(memo)
    return digest
