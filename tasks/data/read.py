"""Read each new source file into typed Parquet parts and a quarantine: the stage "read".

Every source file is a separate artifact, so only the new files of a growing folder are read. A file that cannot be read
is set aside with an artifact of its own, so that one damaged file does not end the reading of all others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.errors import Unreadable
from core.store import Built
from corpus.ingestion.ingest import read_source, settings_of
from corpus.ingestion.parts import SET_ASIDE, SourceReading
from corpus.ingestion.quarantine import (
    Refused,
    error_of,
    refused_in_pack,
    require_few,
    require_same_bytes,
    sentence,
    set_aside,
    why_of,
)
from corpus.reading.sources import Listed, Pack, Source
from tasks.flow_run import SET_ASIDE as FOUND_SET_ASIDE
from tasks.flow_run import announce
from tasks.progress import Report, progress
from tasks.stage import run_stage

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
    with progress("ingest", total, "bytes") as report:
        for key, source in sources.items():
            read[key] = read_file(config, source, _after(report, records, size), len(sources) == 1)
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
        message = f"{one.file.name} was set aside: {sentence(why_of(one.error))}"
        log.warning("%s", message)
        if not built.reused:
            announce(FOUND_SET_ASIDE, config, {"sentence": message})


def read_file(
    config: RunConfig, source: Source, report: Report, alone: bool = False, now: datetime | None = None
) -> Built:
    """Return the artifact of one source file: its typed parts and its quarantine.

    A file that cannot be read has an artifact, too, which says why.

    Args:
        config: Has the limits, and locates the store.
        alone: A file that cannot be read is an error.
        now: The present moment in UTC; later dates are refused.
    """
    now = now or datetime.now(UTC)

    def make(work: Path) -> dict[str, Any]:
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
    options = {**settings_of(config.source), "name": source.name}
    return run_stage(config, "read", options, {"file": source.sha256}, make, source.name)
