"""Read each new source file into typed Parquet parts and a quarantine: the stage "read".

Every source file is a separate artifact, so only the new files of a growing folder are read. A file that cannot be read
is set aside with an artifact of its own, so that one damaged file does not end the reading of all others.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from core.config.run_config import RunConfig
from core.config.sections.source import SourceConfig
from core.errors import Damaged, Unreadable
from core.store import Built, Store
from core.storing.removal import WORK
from corpus.ingestion.ingest import read_source, settings_of
from corpus.ingestion.parts import SET_ASIDE, SourceReading
from corpus.ingestion.set_aside import (
    Refused,
    error_of,
    refused_in_pack,
    require_few,
    require_same_bytes,
    sentence,
    set_aside,
    why_of,
)
from corpus.reading.packs import Pack
from corpus.reading.sources import Listed, Source
from tasks.code_version import running_code
from tasks.fan_out import fan_out
from tasks.flow_run import SET_ASIDE as FOUND_SET_ASIDE
from tasks.flow_run import announce
from tasks.progress import Report, progress
from tasks.stage import run_stage, store_of

READ_AT = "read_at"
"""Fact of a reading: the moment that dates were compared with."""
log = logging.getLogger(__name__)


def read_all(config: RunConfig, sources: Mapping[str, Source]) -> dict[str, Built]:
    """Return the artifact of every source file, by `Listed.key` of the file.

    Raises:
        Unreadable: Too many files, or all of them, cannot be read.
    """
    read: dict[str, Built] = {}
    records = size = 0
    total = sum(source.bytes for source in sources.values())
    with progress("ingest", total, "bytes") as report, _read_by_workers(config, sources.values()) as by_worker:
        for key, source in sources.items():
            made = partial(by_worker, source) if by_worker else None
            read[key] = read_file(config, source, _after(report, records, size), len(sources) == 1, made)
            records, size = records + read[key].artifact.facts["records"], size + source.bytes
            report(size, {"reviews": records})
    _tell_set_aside(config, sources, read)
    return read


def _after(report: Report, records: int, size: int) -> Report:
    """Return the progress report for one file, offset by the *records* and bytes (*size*) of the files before it."""
    return lambda more, done, total: report(size + done, {"reviews": records + more})


def _tell_set_aside(config: RunConfig, sources: Mapping[str, Source], read: Mapping[str, Built]) -> None:
    """Warn of each file that was set aside, and send an event for those that this run has found.

    Raises:
        Unreadable: Too many files, or all of them, cannot be read.
    """
    refused: list[tuple[Refused, Built]] = []
    for key, built in read.items():
        if why := built.artifact.facts.get(SET_ASIDE):
            error = error_of(why, sources[key].path)
            refused.append((Refused(sources[key], error), built))
        elif isinstance(sources[key], Pack):
            refused += [(one, built) for one in refused_in_pack(SourceReading(built.artifact.folder))]
    files = sum(len(source.files) if isinstance(source, Pack) else 1 for source in sources.values())
    size = sum(source.bytes for source in sources.values())
    require_few([one for one, _ in refused], files, size, config.source.max_unreadable)
    for one, built in refused:
        said = f"{one.file.name} was set aside: {sentence(why_of(one.error))}"
        log.warning("%s", said)
        if not built.reused:
            announce(FOUND_SET_ASIDE, config, {"sentence": said})


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
    digest = Store.digest("read", running_code().version(__name__), options, inputs)
    with suppress(Damaged):
        return "read" not in config.execution.rebuild and store_of(config).find("read", digest) is not None
    return False


def _read_apart(config: SourceConfig, folder: Path, source: Source) -> Path:
    """Read a file into a new folder below *folder*, and return it.

    Its name is new each time, because a worker that was only believed lost may go on writing beside the next one. Of a
    file that cannot be read it holds the beginning: the process of the run goes on from there and meets the error.
    """
    own = Path(mkdtemp(dir=folder))
    with suppress(Unreadable):
        read_source(source, own, config)
    return own


def read_file(
    config: RunConfig, source: Source, report: Report, alone: bool = False,
    made: Callable[[], Path | None] | None = None, now: datetime | None = None,
) -> Built:
    """Return the artifact of one source file: its typed parts and its quarantine.

    A file that cannot be read has an artifact, too, which says why.

    Args:
        config: Has the limits, and locates the store.
        alone: A file that cannot be read is an error.
        made: Waits until a worker has read the file, and returns the folder; None: it is read here.
        now: The present moment in UTC; later dates are refused.
    """
    now = now or datetime.now(UTC)

    def make(work: Path) -> dict[str, Any]:
        if made and (folder := made()):
            shutil.rmtree(work)
            folder.rename(work)
        try:
            facts = read_source(source, work, config.source, report, now).facts
        except Unreadable as error:
            if isinstance(source, Pack):  # its files have changed; those that cannot be read are set aside within it
                raise
            require_same_bytes(source)
            if alone:
                raise
            facts = set_aside(source, work, config.source, why_of(error)).facts
        return {**facts, "parts": len(facts["parts"]), "path": str(source.path.absolute()), READ_AT: now.isoformat()}

    return _read(config, source, make)


def set_aside_again(config: RunConfig, source: Listed, path: str, why: Mapping[str, Any]) -> Built:
    """Return the artifact of a file that was set aside, from its record; the file may be gone, or mended."""
    def make(work: Path) -> dict[str, Any]:
        return {**set_aside(source, work, config.source, why).facts, "parts": 0, "path": path}

    return _read(config, source, make)


def _read(config: RunConfig, source: Listed, make: Callable[[Path], dict[str, Any]]) -> Built:
    options, inputs = _identity(config, source)
    return run_stage(
        config, "read", options, inputs, make, source.name, resumable=True, raw_bytes=source.bytes
    )


def _identity(config: RunConfig, source: Listed) -> tuple[dict[str, Any], dict[str, str]]:
    """Return options and inputs of the reading of a file."""
    return {**settings_of(config.source), "name": source.name}, {"file": source.sha256}
