"""Ingest raw files, or the embedded corpus if none are given, into typed Parquet parts and a quarantine.

Every source file is a separate artifact (stage "read"). So only the new files of a growing folder are read. The data
set (stage "ingest") combines these artifacts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.errors import Unreadable
from core.store import Artifact, Built, Store
from corpus.ingestion.build_dataset import assemble
from corpus.ingestion.parts import SET_ASIDE, SourceReading
from corpus.reading.sources import PACK, Listed, Pack, Source, all_sources, identify, originals
from corpus.synthetic.synth import write_reviews
from tasks.data.read import read_all
from tasks.progress import progress
from tasks.stage import as_task_state, run_stage, stage, store_of

log = logging.getLogger(__name__)

SYNTHETIC_FILE = "reviews.jsonl"


@stage("synthesise")
def synthesise(config: RunConfig) -> Artifact:
    """Write the embedded synthetic corpus, for a run without `--input`, and log that it is synthetic."""
    log.info("no input was given: the reviews are synthetic, written by the embedded grammar")
    options = config.source.synthetic

    def make(work: Path) -> dict[str, Any]:
        with progress("synthesise", options.reviews, "reviews") as report:
            return write_reviews(
                work / SYNTHETIC_FILE, options.reviews, options.seed, options.malformed, options.duplicates,
                report=lambda done, total: report(done),
            )

    built = run_stage(config, "synthesise", options.model_dump(mode="json"), {}, make, "embedded corpus")
    return as_task_state(built)


@stage("ingest")
def ingest_files(config: RunConfig, synthetic: Artifact | None = None) -> Artifact:
    """Read the new files and build one data set from all; raw files are identified by the SHA-256 of their bytes."""
    memory = store_of(config).root / ".files"
    if synthetic:
        sources = [identify(synthetic.folder / SYNTHETIC_FILE, SYNTHETIC_FILE, memory)]
    else:
        sources = all_sources(config.source.input, memory)
    read = read_all(config, originals(sources))
    readings = {key: built.artifact for key, built in read.items()}
    new = [built.artifact.facts["name"] for built in read.values() if not built.reused]
    return as_task_state(make_data_set(config, sources, readings, new))


def make_data_set(
    config: RunConfig, sources: Sequence[Listed], read: Mapping[str, Artifact], new: Sequence[str]
) -> Built:
    """Return the data set built from sources that have been read.

    Args:
        config: Locates the store.
        sources: All source files, in order.
        read: Their artifacts, by `Listed.key` of the file.
        new: Names of the sources read in this run; recorded in the run's facts only, not in the artifact.
    """
    readings = {key: SourceReading(artifact.folder) for key, artifact in read.items()}

    def make(work: Path) -> dict[str, Any]:
        return assemble(work, sources, readings)

    inputs = {_input_name(index, source): read[source.key].digest for index, source in enumerate(sources)}
    built = run_stage(config, "ingest", {}, inputs, make, f"{len(sources)} file(s)")
    facts = {**built.artifact.facts, "new_sources": len(new), "reused_sources": len(read) - len(new)}
    artifact = replace(built.artifact, manifest={**built.artifact.manifest, "facts": facts})
    return Built(artifact, built.reused)


def _input_name(index: int, source: Listed) -> str:
    return f"{index:05d}:{source.name}"


def files_of(config: RunConfig, dataset: Artifact) -> list[Source]:
    """Return the files that a data set was read from, each content once, without those that could not be read.

    A file is found by its content among those of the configuration, else where it was read first.

    Raises:
        Unreadable: A file is nowhere with these bytes.
    """
    store = store_of(config)
    memory, inputs = store.root / ".files", dataset.manifest["inputs"]
    named = all_sources(config.source.input, memory) if config.source.input else []
    by_content = {source.sha256: source for source in named if not isinstance(source, Pack)}
    entries = dataset.facts["sources"]
    sources = [Listed(entry["name"], entry["bytes"], entry["sha256"]) for entry in entries]
    first_files, files = originals(sources), list[Source]()
    for index, listed in enumerate(sources):
        if first_files[listed.key] != listed or SET_ASIDE in entries[index]:
            continue
        if (source := by_content.get(listed.sha256)) is None:
            read = store.find_usable("read", inputs[_input_name(index, listed)])
            path = path_now(store, read) if read else Path(listed.name)
            source = identify(path, listed.name, memory) if path.is_file() else None
        if source is None or source.sha256 != listed.sha256:
            raise Unreadable(
                "A file that the reviews were read from is missing or was changed", where=listed.name,
                value=f"SHA-256 {listed.sha256[:16]}", remedy="name the unchanged file: --input FILE",
            )
        files.append(replace(source, name=listed.name))
    return files


def path_now(store: Store, read: Artifact) -> Path:
    """Return the path of a source file; find what is in this store even if the home folder was copied."""
    if (pack := read.folder / PACK).is_file():
        return pack
    path = Path(read.facts["path"])
    in_store = store.root.joinpath(*path.parts[-3:])  # synthesise/DIGEST/reviews.jsonl
    return in_store if in_store.is_file() else path
