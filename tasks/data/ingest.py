"""Ingest raw files, or the embedded corpus if none are given, into typed Parquet parts and a quarantine.

Every source file is a separate artifact (stage "read"), so only the new files of a growing folder are read; the data
set (stage "ingest") combines them. A file that cannot be read is set aside with an artifact of its own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SourceConfig, SyntheticConfig
from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.errors import Unreadable, disk_errors
from reviewlm.core.services.join import SET_ASIDE as FOUND_SET_ASIDE
from reviewlm.core.store import Artifact, Built, Store
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.account import ACCOUNT
from reviewlm.corpus.ingestion.build_dataset import assemble
from reviewlm.corpus.ingestion.files_set_aside import (
    Refused,
    error_of,
    refused_in_pack,
    require_few,
    require_same_bytes,
    sentence,
    set_aside,
    why_of,
)
from reviewlm.corpus.ingestion.forgotten import Forgotten
from reviewlm.corpus.ingestion.ingest import read_source, settings_of
from reviewlm.corpus.ingestion.parts import SET_ASIDE, SourceReading
from reviewlm.corpus.reading.sources import (
    PACK,
    FoundFiles,
    Listed,
    Pack,
    Source,
    all_sources,
    find_files,
    identify,
    identify_all,
    originals,
)
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.tasks.data.account import account_of, show_account
from reviewlm.tasks.data.read_on_nodes import NodeReader, hash_seen
from reviewlm.tasks.execution.cluster import engine_of
from reviewlm.tasks.execution.code_version import running_code
from reviewlm.tasks.execution.progress import Report, progress
from reviewlm.tasks.execution.stage import announce, as_task_state, run_stage, stage_task

READ_ORDER = "read_order"
"""Option of a data set whose files were read in another order than the one in which they are named."""
ID_SETTINGS = ("ids", "max_reused_ids", "max_replaced")
"""Settings that change a data set, if they are not the default."""
READ_AT = "read_at"
"""Fact of a reading: the moment that dates were compared with."""
SYNTHETIC_FILE = "reviews.jsonl"
log = logging.getLogger(__name__)


def read_all(
    workspace: Workspace,
    source_settings: SourceConfig,
    promotion: PromotionConfig,
    sources: Mapping[str, Source],
) -> dict[str, Built]:
    """Return the artifact of every source file, by `Listed.key` of the file.

    Raises:
        Unreadable: Too many files, or all of them, cannot be read.
    """
    read: dict[str, Built] = {}
    records = 0
    size = 0
    total = sum(source.bytes for source in sources.values())
    nodes = _node_reader(workspace, source_settings, sources.values())
    with progress("ingest", total, "bytes") as report:
        for key, source in sources.items():
            report_file = _offset_report(report, records, size)
            read[key] = read_file(
                workspace,
                source_settings,
                source,
                report_file,
                alone=len(sources) == 1,
                nodes=nodes,
            )
            records += read[key].artifact.facts["records"]
            size += source.bytes
            report(size, {"reviews": records})

    _tell_set_aside(source_settings, promotion, sources, read)
    return read


def _node_reader(
    workspace: Workspace,
    source_settings: SourceConfig,
    sources: Iterable[Source],
) -> NodeReader | None:
    """Return a reader on the nodes of a cluster, of the files that are new; None without a cluster."""
    if not workspace.execution.cluster:
        return None

    store = Store.of(workspace.home)
    version = running_code().version(__name__)
    again = "read" in workspace.execution.rebuild
    new = []
    for source in sources:
        if isinstance(source, Pack):  # many small files, written anew as one from where they are
            continue
        digest = store.digest(
            "read",
            version,
            _options(workspace.home, source_settings, source),
            {"file": source.sha256},
        )
        if again or store.find_usable("read", digest) is None:
            new.append(source)

    return NodeReader(workspace, source_settings, new) if new else None


def _offset_report(
    report: Report,
    records: int,
    size: int,
) -> Report:
    """Return the progress report of one file, to which the *records* and bytes (*size*) of the files before it are added."""
    return lambda more, done, total: report(size + done, {"reviews": records + more})


def _tell_set_aside(
    source_settings: SourceConfig,
    promotion: PromotionConfig,
    sources: Mapping[str, Source],
    read: Mapping[str, Built],
) -> None:
    """Warn of each file that was set aside, and send an event for those that this run has found.

    Raises:
        Unreadable: Too many files, or all of them, cannot be read.
    """
    refused: list[tuple[Refused, Built]] = []
    for key, built in read.items():
        source = sources[key]
        why = built.artifact.facts.get(SET_ASIDE)
        if why:
            error = error_of(why, source.path)
            refused.append((Refused(source, error), built))
        elif isinstance(source, Pack):
            reading = SourceReading(built.artifact.folder)
            refused += [(refusal, built) for refusal in refused_in_pack(reading)]

    files = 0
    size = 0
    for source in sources.values():
        files += len(source.files) if isinstance(source, Pack) else 1
        size += source.bytes

    require_few([refusal for refusal, _ in refused], files, size, source_settings.max_unreadable)
    for refusal, built in refused:
        reason = sentence(why_of(refusal.error))
        message = f"{refusal.file.name} was set aside: {reason}"
        log.warning("%s", message)
        if not built.reused:
            announce(FOUND_SET_ASIDE, promotion.model_name, {"sentence": message})


def read_file(
    workspace: Workspace,
    source_settings: SourceConfig,
    source: Source,
    report: Report,
    alone: bool = False,
    now: datetime | None = None,
    nodes: NodeReader | None = None,
) -> Built:
    """Return the artifact of one source file: its typed parts and its quarantine.

    A file that cannot be read has an artifact, too, which says why.

    Args:
        alone: A file that cannot be read is an error.
        now: The present moment in UTC; later dates are refused.
        nodes: A reader on other machines, which has a moment of its own.
    """

    def make(work: Path) -> dict[str, Any]:
        read_there = nodes is not None and nodes.read_into(source, work)
        handed_out = nodes.moments.get(source.key) if nodes else None
        moment = handed_out or now or datetime.now(UTC)
        try:
            if not read_there:
                forgotten = Forgotten.of(workspace.home)
                read_source(
                    source,
                    work,
                    source_settings,
                    report,
                    moment,
                    forgotten,
                )
            facts = SourceReading(work).facts
        except Unreadable as error:
            # A pack sets aside its unreadable files within it: this one's files have changed.
            if isinstance(source, Pack):
                raise
            require_same_bytes(source)
            if alone:
                raise
            facts = set_aside(source, work, source_settings, why_of(error)).facts

        return {
            **facts,
            "parts": len(facts["parts"]),
            "path": str(source.path.absolute()),
            READ_AT: moment.isoformat(),
        }

    return _read(workspace, source_settings, source, make)


def set_aside_again(
    workspace: Workspace,
    source_settings: SourceConfig,
    source: Listed,
    path: str,
    why: Mapping[str, Any],
) -> Built:
    """Return the artifact of a file that was set aside, from its record; the file may be gone, or mended."""

    def make(work: Path) -> dict[str, Any]:
        facts = set_aside(source, work, source_settings, why).facts
        return {
            **facts,
            "parts": 0,
            "path": path,
        }

    return _read(workspace, source_settings, source, make)


def _read(
    workspace: Workspace,
    source_settings: SourceConfig,
    source: Listed,
    make: Callable[[Path], dict[str, Any]],
) -> Built:
    options = _options(workspace.home, source_settings, source)
    return run_stage(
        workspace,
        "read",
        options,
        {"file": source.sha256},
        make,
        source.name,
    )


def _options(
    home: Path,
    source_settings: SourceConfig,
    source: Listed,
) -> dict[str, Any]:
    """Return the options of a reading, which are part of its identity."""
    forgotten = Forgotten.of(home)
    return {
        **settings_of(source_settings),
        "name": source.name,
        **forgotten.options(source.sha256),
    }


@stage_task("synthesise")
def synthesise(workspace: Workspace, synthetic: SyntheticConfig) -> Artifact:
    """Write the embedded synthetic corpus, for a run without `--input`, and log that it is synthetic."""
    log.info("no input was given: the reviews are synthetic, written by the embedded grammar")

    def make(work: Path) -> dict[str, Any]:
        with progress("synthesise", synthetic.reviews, "reviews") as report:
            return write_reviews(
                work / SYNTHETIC_FILE,
                synthetic.reviews,
                synthetic.seed,
                synthetic.malformed,
                synthetic.duplicates,
                report=lambda done, total: report(done),
            )

    options = synthetic.model_dump(mode="json")
    built = run_stage(
        workspace,
        "synthesise",
        options,
        {},
        make,
        "embedded corpus",
    )
    return as_task_state(built)


@stage_task("ingest")
def ingest_files(config: RunConfig, synthetic: Artifact | None = None) -> Artifact:
    """Read the new files and build one data set from all; raw files are identified by the SHA-256 of their bytes."""
    memory = Store.of(config.home).root / ".files"
    found = FoundFiles({})
    if synthetic:
        sources = [identify(synthetic.folder / SYNTHETIC_FILE, SYNTHETIC_FILE, memory)]
    else:
        found = find_files(config.source.input, config.source.skip_missing)
        if config.execution.cluster and config.execution.storage:
            hash_seen(config.execution, found.names, memory)
        sources = identify_all(found, memory)

    read = read_all(config.workspace, config.source, config.promotion, originals(sources))
    readings = {key: reading.artifact for key, reading in read.items()}
    built = make_data_set(config.workspace, config.source, sources, readings)
    # The number of new files is a fact of this run, not of the data set.
    new = sum(not reading.reused for reading in read.values())
    account = account_of(built.artifact).plus(found.entries)  # of the files of this run
    show_account(account)
    facts = {
        **built.artifact.facts,
        ACCOUNT: account.to_dict(),
        "new_sources": new,
        "reused_sources": len(read) - new,
    }
    artifact = replace(built.artifact, manifest={**built.artifact.manifest, "facts": facts})
    return as_task_state(Built(artifact, built.reused))


def make_data_set(
    workspace: Workspace,
    source_settings: SourceConfig,
    sources: Sequence[Listed],
    read: Mapping[str, Artifact],
    read_order: Sequence[int] | None = None,
) -> Built:
    """Return the data set built from sources that have been read.

    Args:
        read_order: For each different file, its place in the order in which they were read; None: ask the store.
    """
    readings = {key: SourceReading(artifact.folder) for key, artifact in read.items()}
    keys = list(originals(sources))
    order = list(read_order or _read_order(Store.of(workspace.home), [read[key] for key in keys]))

    def make(work: Path) -> dict[str, Any]:
        places = dict(zip(keys, order, strict=True))
        return assemble(
            work,
            sources,
            readings,
            source_settings,
            places,
            engine_of(workspace.execution),
        )

    inputs: dict[str, str] = {}
    for index, source in enumerate(sources):
        inputs[_input_name(index, source)] = read[source.key].digest

    options: dict[str, Any] = {}
    settings = source_settings.model_dump(mode="json", include=set(ID_SETTINGS))
    for name, value in settings.items():
        if value != SourceConfig.model_fields[name].default:
            options[name] = value
    if order != sorted(order):
        options[READ_ORDER] = order

    return run_stage(
        workspace,
        "ingest",
        options,
        inputs,
        make,
        f"{len(sources)} file(s)",
    )


def _read_order(store: Store, read: Sequence[Artifact]) -> list[int]:
    """Return the place of each file in the order in which this store has read them for the first time.

    A file that is read again, with other settings or by other code, keeps its place.
    """
    moments = [_first_read(store, artifact) for artifact in read]
    by_moment = sorted(range(len(read)), key=lambda index: (moments[index], index))
    order = [0] * len(read)
    for place, index in enumerate(by_moment):
        order[index] = place
    return order


def _first_read(store: Store, artifact: Artifact) -> str:
    """Return the moment at which the file of a reading was read first; remember that of this reading if it is new."""
    record = store.root / ".files" / f"read-{artifact.manifest['inputs']['file']}"
    if record.is_file():
        moment = record.read_text()
        if moment:
            return moment

    moment = str(artifact.facts.get(READ_AT, ""))
    with disk_errors(record.parent):
        record.parent.mkdir(parents=True, exist_ok=True)
        temporary = record.with_suffix(f".{os.getpid()}")
        temporary.write_text(moment)
        temporary.rename(record)

    return moment


def _input_name(index: int, source: Listed) -> str:
    return f"{index:05d}:{source.name}"


def files_of(
    home: Path,
    source_settings: SourceConfig,
    dataset: Artifact,
) -> list[Source]:
    """Return the files that a data set was read from, each content once, without those that could not be read.

    A file is found by its content among those of the configuration, else where it was read first.

    Raises:
        Unreadable: A file is nowhere with these bytes.
    """
    store = Store.of(home)
    memory = store.root / ".files"
    inputs = dataset.manifest["inputs"]
    skip = source_settings.skip_missing
    named = []
    if source_settings.input:
        named = all_sources(source_settings.input, memory, skip)

    by_content = {source.sha256: source for source in named if not isinstance(source, Pack)}
    entries = dataset.facts["sources"]
    sources = [Listed(entry["name"], entry["bytes"], entry["sha256"]) for entry in entries]
    first_files = originals(sources)
    files: list[Source] = []
    for index, listed in enumerate(sources):
        if first_files[listed.key] != listed or SET_ASIDE in entries[index]:
            continue
        source = by_content.get(listed.sha256)
        if source is None:
            read = store.find_usable("read", inputs[_input_name(index, listed)])
            path = path_now(store, read) if read else Path(listed.name)
            if path.is_file():
                source = identify(path, listed.name, memory)
        if source is None or source.sha256 != listed.sha256:
            raise Unreadable(
                "A file that the reviews were read from is missing or was changed",
                where=listed.name,
                value=f"SHA-256 {listed.sha256[:16]}",
                remedy="name the unchanged file: --input FILE",
            )
        files.append(replace(source, name=listed.name))

    return files


def path_now(store: Store, read: Artifact) -> Path:
    """Return the path of a source file; find what is in this store even if the home folder was copied."""
    pack = read.folder / PACK
    if pack.is_file():
        return pack

    path = Path(read.facts["path"])
    in_store = store.root.joinpath(*path.parts[-3:])  # synthesise/DIGEST/reviews.jsonl
    return in_store if in_store.is_file() else path
