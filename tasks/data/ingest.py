"""Raw input, or the embedded corpus where none is given → typed Parquet parts and a quarantine.

Every source file is an artifact of its own (stage "read"), so that of a growing folder only what is new is read. The
data set (stage "ingest") is made of those artifacts and of the records that were replayed from their quarantines.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from core.config.run_config import RunConfig
from core.environment import available_cores
from core.errors import Damaged, EmptyInput
from core.store import Artifact, Built, Store, sha256_of_file
from corpus.ingestion.ingest import limits_of, read_source, settings_of
from corpus.ingestion.parts import Reading
from corpus.quarantine.replay import assemble_with, replay, replays_of
from corpus.reading.sources import Listed, Source, identify, originals, source_names
from corpus.synthetic.synth import write_reviews
from tasks.progress import Report, progress
from tasks.stage import finished, run_stage, show_facts, store_of

log = logging.getLogger(__name__)

SYNTH_VERSION = 1
READ_VERSION = 2
INGEST_VERSION = 2
SYNTHETIC_FILE = "reviews.jsonl"
REPLAYS = "replays"
"""Folder below the home that holds what came back from quarantine; it is data, not a result that could be rebuilt."""


@task(name="synthesise", cache_policy=NO_CACHE, persist_result=False)
def synthesise(config: RunConfig) -> Artifact:
    """Write the embedded corpus; every run without `--input` says that it is synthetic."""
    log.info("no input was given: the reviews are synthetic, written by the embedded grammar")
    options = config.source.synthetic

    def make(work: Path) -> dict[str, Any]:
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
    """Read the files that are new, and make one data set of all; raw files enter by the SHA-256 of their bytes."""
    files = {synthetic.folder / SYNTHETIC_FILE: SYNTHETIC_FILE} if synthetic else source_names(config.source.input)
    memory = store_of(config).root / ".files"
    sources = [identify(path, name, memory) for path, name in files.items()]
    read = _read_all(config, originals(sources))
    readings = {digest: built.artifact for digest, built in read.items()}
    new = [built.artifact.facts["name"] for built in read.values() if not built.reused]
    return finished(make_data_set(config, sources, readings, new))


def _read_all(config: RunConfig, sources: Mapping[str, Source]) -> dict[str, Built]:
    """Return the artifact of every source file, by SHA-256 of the file."""
    read: dict[str, Built] = {}
    records = size = 0
    with progress("ingest", sum(source.bytes for source in sources.values()), "bytes") as report:
        for digest, source in sources.items():
            read[digest] = read_file(config, source, _after(report, records, size))
            records, size = records + read[digest].artifact.facts["records"], size + source.bytes
            report(size, {"reviews": records})
    return read


def _after(report: Report, records: int, size: int) -> Report:
    """Return the progress of a file that is read after so many records and bytes of others."""
    return lambda more, done, total: report(size + done, {"reviews": records + more})


def read_file(config: RunConfig, source: Source, report: Report) -> Built:
    """Return the artifact of one source file: its typed parts, and its quarantine."""
    def make(work: Path) -> dict[str, Any]:
        facts = read_source(source, work, config.source, report).facts
        return {**facts, "parts": len(facts["parts"]), "path": str(source.path.absolute())}

    options = {**settings_of(config.source), "name": source.name}
    inputs = {"file": source.sha256}
    return run_stage(config, "read", READ_VERSION, options, inputs, make, source.name, resumable=True)


def make_data_set(
    config: RunConfig, sources: Sequence[Listed], read: Mapping[str, Artifact], new: Sequence[str]
) -> Built:
    """Return the data set of sources that have been read.

    Args:
        config: Whose store is used.
        sources: All source files, in order.
        read: Their artifacts, by SHA-256 of the file.
        new: Names of the sources that were read just now; told in the facts of this run, part of no result.
    """
    replays = {digest: replays_of(config.home / REPLAYS, digest) for digest in read}

    def make(work: Path) -> dict[str, Any]:
        readings = {digest: Reading(artifact.folder) for digest, artifact in read.items()}
        return assemble_with(work, sources, readings, replays)

    inputs = {_input_name(index, source): read[source.sha256].digest for index, source in enumerate(sources)}
    for digest, paths in replays.items():
        inputs |= {f"replay:{digest}:{path.stem}": sha256_of_file(path) for path in paths}
    built = run_stage(config, "ingest", INGEST_VERSION, {}, inputs, make, f"{len(sources)} file(s)")
    facts = {**built.artifact.facts, "new_sources": len(new), "reused_sources": len(read) - len(new)}
    artifact = replace(built.artifact, manifest={**built.artifact.manifest, "facts": facts})
    show_facts("ingest", artifact, built.reused, _news(new, len(sources)))
    return Built(artifact, built.reused)


def _input_name(index: int, source: Listed) -> str:
    return f"{index:05d}:{source.name}"


@task(name="replay", cache_policy=NO_CACHE, persist_result=False)
def replay_quarantine(config: RunConfig, dataset: Artifact, fixed: Path | None = None) -> Artifact:
    """Read a data set's quarantine again, or what a person corrected of it, and make the data set anew.

    Raises:
        EmptyInput: The data set was made by an older version of the code, whose records cannot be replayed.
    """
    store = store_of(config)
    if dataset.manifest["version"] != INGEST_VERSION:
        raise EmptyInput(
            "This data set cannot be replayed", where=dataset.folder, cause="it was made by an older version",
            remedy="run `reviewlm ingest` with the same --input first",
        )
    sources = [Listed(entry["name"], entry["bytes"], entry["sha256"]) for entry in dataset.facts["sources"]]
    inputs = dataset.manifest["inputs"]
    read = {
        source.sha256: store.open("read", inputs[_input_name(index, source)]) for index, source in enumerate(sources)
    }
    facts = replay(
        sources, {digest: Reading(artifact.folder) for digest, artifact in read.items()}, config.home / REPLAYS,
        limits_of(config.source), fixed, {digest: _path_now(store, artifact) for digest, artifact in read.items()},
    )
    log.info("%d records came back from quarantine, %d are left", facts["replayed"], facts["left"])
    return finished(make_data_set(config, sources, read, []))


def _path_now(store: Store, read: Artifact) -> Path:
    """Return where a source file lies; the embedded corpus is in this store, also where the home was copied since."""
    path = Path(read.facts["path"])
    own = store.root.joinpath(*path.parts[-3:])  # synthesise/DIGEST/reviews.jsonl
    return own if own.is_file() else path


def _news(new: Sequence[str], count: int) -> str:
    """Say which source files were read just now."""
    if not new:
        return f"None of the {count} source files is new."
    some = ", ".join(f"`{name}`" for name in new[:10]) + (" …" if len(new) > 10 else "")
    return f"{len(new)} of the {count} source files are new: {some}"


def replay_file(home: Path, name: str) -> Path:
    """Return the file of a replay that is an input of an artifact: "replay:SHA-256 of the source:number".

    The name may come from a record in a registry, so that it is not joined to a path before it is one.

    Raises:
        Damaged: It names no replay.
    """
    if (parts := re.fullmatch(r"replay:([0-9a-f]{64}):([0-9]{1,9})", name)) is None:
        raise Damaged("A record names a replay that cannot be one", value=name, remedy="do not use this record")
    return home / REPLAYS / parts[1] / f"{parts[2]}.parquet"
