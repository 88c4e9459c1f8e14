"""Ingest raw files, or the embedded corpus if none are given, into typed Parquet parts and a quarantine.

Every source file is a separate artifact (stage "read"). So only the new files of a growing folder are read. The data
set (stage "ingest") combines these artifacts with the records that were replayed from their quarantines.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from core.config.run_config import RunConfig, SourceConfig
from core.environment import available_cores
from core.errors import Damaged, EmptyInput, Unreadable
from core.store import Artifact, Built, Store, sha256_of_file
from core.storing.removal import WORK
from corpus.ingestion.ingest import limits_of, read_source, settings_of
from corpus.ingestion.parts import SourceReading
from corpus.quarantine.replay import assemble_with, replay, replays_of
from corpus.reading.sources import Listed, Source, identify, originals, source_names
from corpus.synthetic.synth import write_reviews
from tasks.code_version import running_code
from tasks.engines.fan_out import fan_out
from tasks.progress import Report, progress
from tasks.stage import as_task_state, run_stage, show_facts, stage, store_of

log = logging.getLogger(__name__)

SYNTH_VERSION = 1
READ_VERSION = 2
INGEST_VERSION = 2
SYNTHETIC_FILE = "reviews.jsonl"
REPLAYS = "replays"
"""Folder in the home folder with the records replayed from quarantine. These are data and cannot be rebuilt."""


@stage("synthesise")
def synthesise(config: RunConfig) -> Artifact:
    """Write the embedded synthetic corpus, for a run without `--input`, and log that it is synthetic."""
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
    return as_task_state(built)


@stage("ingest")
def ingest_files(config: RunConfig, synthetic: Artifact | None = None) -> Artifact:
    """Read the new files and build one data set from all; raw files are identified by the SHA-256 of their bytes."""
    files = {synthetic.folder / SYNTHETIC_FILE: SYNTHETIC_FILE} if synthetic else source_names(config.source.input)
    memory = store_of(config).root / ".files"
    sources = [identify(path, name, memory) for path, name in files.items()]
    read = _read_all(config, originals(sources))
    readings = {digest: built.artifact for digest, built in read.items()}
    new = [built.artifact.facts["name"] for built in read.values() if not built.reused]
    return as_task_state(make_data_set(config, sources, readings, new))


def _read_all(config: RunConfig, sources: Mapping[str, Source]) -> dict[str, Built]:
    """Return the artifact of every source file, keyed by the SHA-256 of the file."""
    read: dict[str, Built] = {}
    records = size = 0
    total = sum(source.bytes for source in sources.values())
    with progress("ingest", total, "bytes") as report, _read_by_workers(config, sources.values()) as by_worker:
        for digest, source in sources.items():
            made = partial(by_worker, source) if by_worker else None
            read[digest] = read_file(config, source, _after(report, records, size), made)
            records, size = records + read[digest].artifact.facts["records"], size + source.bytes
            report(size, {"reviews": records})
    return read


@contextmanager
def _read_by_workers(
    config: RunConfig, sources: Iterable[Source]
) -> Iterator[Callable[[Source], Path | None] | None]:
    """Let the workers of a Dask cluster read the files that are new, if these are several, each by one worker.

    Yields:
        A function that waits for a file and returns the folder with its reading, None for a file that was read before.
        Or None: the files are read here, by threads.
    """
    new = [source for source in sources if config.execution.engine != "threads" and not _is_read(config, source)]
    if len(new) < 2:
        yield None
        return
    work = store_of(config).root / WORK
    work.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix="read-", dir=work, ignore_cleanup_errors=True) as folder,
        fan_out(config, work) as engine,
    ):
        absolute = [replace(source, path=source.path.absolute()) for source in new]
        handed = zip(new, engine(partial(_read_apart, config.source, Path(folder)), absolute), strict=True)
        done: dict[Source, Path] = {}

        def wait_for(source: Source) -> Path | None:
            while source in new and source not in done:
                done.update([next(handed)])
            return done.get(source)

        yield wait_for


def _is_read(config: RunConfig, source: Source) -> bool:
    """Return whether the store has a reading of a file that is not damaged."""
    options, inputs = _identity(config, source)
    digest = Store.digest("read", running_code().version(READ_VERSION, __name__), options, inputs)
    with suppress(Damaged):
        return "read" not in config.execution.rebuild and store_of(config).find("read", digest) is not None
    return False


def _read_apart(config: SourceConfig, folder: Path, source: Source) -> Path:
    """Read a file into a new folder below *folder*, and return it.

    Its name is new each time, because a worker that was only believed lost may go on writing beside the next one.
    """
    own = Path(mkdtemp(dir=folder))
    read_source(source, own, config)
    return own


def _after(report: Report, records: int, size: int) -> Report:
    """Return the progress report for one file, offset by the *records* and bytes (*size*) of the files before it."""
    return lambda more, done, total: report(size + done, {"reviews": records + more})


def read_file(
    config: RunConfig, source: Source, report: Report, made: Callable[[], Path | None] | None = None
) -> Built:
    """Return the artifact of one source file: its typed parts and its quarantine.

    Args:
        config: Has the limits, and locates the store.
        source: The file.
        report: Called with the progress.
        made: Waits until a worker has read the file, and returns the folder; None: it is read here.
    """
    def make(work: Path) -> dict[str, Any]:
        if made and (folder := made()):
            shutil.rmtree(work)
            folder.rename(work)
        facts = read_source(source, work, config.source, report).facts
        return {**facts, "parts": len(facts["parts"]), "path": str(source.path.absolute())}

    options, inputs = _identity(config, source)
    return run_stage(
        config, "read", READ_VERSION, options, inputs, make, source.name, resumable=True, raw_bytes=source.bytes
    )


def _identity(config: RunConfig, source: Source) -> tuple[dict[str, Any], dict[str, str]]:
    """Return options and inputs of the reading of a file."""
    return {**settings_of(config.source), "name": source.name}, {"file": source.sha256}


def make_data_set(
    config: RunConfig, sources: Sequence[Listed], read: Mapping[str, Artifact], new: Sequence[str]
) -> Built:
    """Return the data set built from sources that have been read.

    Args:
        config: Locates the store and the replays.
        sources: All source files, in order.
        read: Their artifacts, by SHA-256 of the file.
        new: Names of the sources read in this run; recorded in the run's facts only, not in the artifact.
    """
    replays = {digest: replays_of(config.home / REPLAYS, digest) for digest in read}

    def make(work: Path) -> dict[str, Any]:
        readings = {digest: SourceReading(artifact.folder) for digest, artifact in read.items()}
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


@stage("replay")
def replay_quarantine(config: RunConfig, dataset: Artifact, fixed: Path | None = None) -> Artifact:
    """Replay a data set's quarantine, or a file with corrected records (*fixed*), and build the data set again.

    Raises:
        EmptyInput: The data set was made by other code; its records cannot be replayed.
    """
    store = store_of(config)
    if dataset.manifest["version"] != running_code().version(INGEST_VERSION, __name__):
        raise EmptyInput(
            "This data set cannot be replayed", where=dataset.folder, cause="it was made by other code",
            remedy="run `reviewlm ingest` with the same --input first",
        )
    sources = [Listed(entry["name"], entry["bytes"], entry["sha256"]) for entry in dataset.facts["sources"]]
    inputs = dataset.manifest["inputs"]
    read = {
        source.sha256: store.open("read", inputs[_input_name(index, source)]) for index, source in enumerate(sources)
    }
    facts = replay(
        sources, {digest: SourceReading(artifact.folder) for digest, artifact in read.items()}, config.home / REPLAYS,
        limits_of(config.source), fixed, {digest: _path_now(store, artifact) for digest, artifact in read.items()},
    )
    log.info("%d records were replayed from quarantine, %d remain", facts["replayed"], facts["left"])
    return as_task_state(make_data_set(config, sources, read, []))


def files_of(config: RunConfig, dataset: Artifact) -> list[Source]:
    """Return the files that a data set was read from, each content once.

    A file is found by its content among those of the configuration, else where it was read first.

    Raises:
        Unreadable: A file is nowhere with these bytes.
    """
    store = store_of(config)
    memory, inputs = store.root / ".files", dataset.manifest["inputs"]
    named = source_names(config.source.input) if config.source.input else {}
    by_content = {source.sha256: source for source in (identify(path, name, memory) for path, name in named.items())}
    sources = [Listed(entry["name"], entry["bytes"], entry["sha256"]) for entry in dataset.facts["sources"]]
    kept, found = originals(sources), list[Source]()
    for index, listed in enumerate(sources):
        if kept[listed.sha256] != listed:
            continue
        if (source := by_content.get(listed.sha256)) is None:
            read = store.find_usable("read", inputs[_input_name(index, listed)])
            path = _path_now(store, read) if read else Path(listed.name)
            source = identify(path, listed.name, memory) if path.is_file() else None
        if source is None or source.sha256 != listed.sha256:
            raise Unreadable(
                "A file that the reviews were read from is gone, or has other bytes now", where=listed.name,
                value=f"SHA-256 {listed.sha256[:16]}", remedy="name the file as it was: --input FILE",
            )
        found.append(replace(source, name=listed.name))
    return found


def _path_now(store: Store, read: Artifact) -> Path:
    """Return the path of a source file; find the embedded corpus in this store even if the home folder was copied."""
    path = Path(read.facts["path"])
    own = store.root.joinpath(*path.parts[-3:])  # synthesise/DIGEST/reviews.jsonl
    return own if own.is_file() else path


def _news(new: Sequence[str], count: int) -> str:
    """Return a sentence that names the source files read in this run."""
    if not new:
        return f"None of the {count} source files is new."
    some = ", ".join(f"`{name}`" for name in new[:10]) + (" …" if len(new) > 10 else "")
    return f"{len(new)} of the {count} source files are new: {some}"


def replay_file(home: Path, name: str) -> Path:
    """Return the file of a replay from the name of an artifact's input, "replay:SHA-256 of the source:number".

    The name may come from a record in a registry, so its form is checked before it is joined to a path.

    Raises:
        Damaged: The name has another form.
    """
    if (parts := re.fullmatch(r"replay:([0-9a-f]{64}):([0-9]{1,9})", name)) is None:
        raise Damaged("The name of a replay is not valid", value=name, remedy="do not use this record")
    return home / REPLAYS / parts[1] / f"{parts[2]}.parquet"
