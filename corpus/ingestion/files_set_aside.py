"""Set aside a file that cannot be read to its end, so that one damaged file does not end the reading of all others.

Its reading has no parts, and one record in quarantine with the reason "unreadable_file". It is stored like any other, so
the file is read again only if its bytes, the settings or the readers change. A limit keeps a wrong mount, or a broken
export, from making the data small without anybody noticing.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import Unreadable, disk_errors, visible
from reviewlm.corpus.ingestion.ingest import describe_reading
from reviewlm.corpus.ingestion.parts import (
    PARTS,
    QUARANTINE_FILE,
    SET_ASIDE,
    QuarantineWriter,
    SourceReading,
)
from reviewlm.corpus.reading.sources import Listed, Source, identify
from reviewlm.corpus.schema import QUARANTINE, Reason

WHY = ("what", "cause", "value", "remedy")
"""Parts of the fact `SET_ASIDE`: those of the error."""


@dataclass(frozen=True)
class Refused:
    """A file that cannot be read, and the error that says why."""

    file: Listed
    error: Unreadable


def require_same_bytes(source: Source) -> None:
    """Check that an error comes from the content of a file, not from its disk or from a program that writes it.

    Raises:
        Unreadable: The file has changed or cannot be read now; it may be whole the next time.
    """
    source.require_unchanged()
    if identify(source.path, source.name).sha256 != source.sha256:
        raise Unreadable(
            "The file gives other bytes each time it is read",
            where=source.path,
            remedy="check its disk or its server",
        )


def why_of(error: Unreadable) -> dict[str, Any]:
    """Return the fact `SET_ASIDE` of a file from its error."""
    value = None
    if error.value is not None:
        value = visible(str(error.value))

    return {
        "what": error.what,
        "cause": visible(error.cause),
        "value": value,
        "remedy": error.remedy,
    }


def set_aside(
    source: Listed,
    folder: Path,
    config: SourceConfig,
    why: Mapping[str, Any],
) -> SourceReading:
    """Replace what was read of a file in `folder` by a reading without parts that says why; return it.

    Raises:
        StoreFull, NotWritable: The disk is full or not writable.
    """
    row = {
        "source": [source.name],
        "line": [0],
        "reason": [Reason.UNREADABLE_FILE.value],
        "detail": [sentence(why)],
        "raw": [b""],
    }
    with disk_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / PARTS).mkdir(parents=True)
        with QuarantineWriter(folder / QUARANTINE_FILE) as quarantine:
            quarantine.add(pl.DataFrame(row, schema=QUARANTINE))
        details = {Reason.UNREADABLE_FILE.value: sentence(why)}
        more: Any = {SET_ASIDE: {name: why[name] for name in WHY}}  # in their order
        return describe_reading(
            folder,
            source,
            config,
            [],
            Counter(details.keys()),
            details=details,
            **more,
        )


def sentence(why: Mapping[str, Any]) -> str:
    """Return the fact `SET_ASIDE` of a reading in words."""
    if why["cause"]:
        return f"{why['what']} ({why['cause']})"
    return str(why["what"])


def error_of(why: Mapping[str, Any], path: str | Path) -> Unreadable:
    """Return the error of a file from the fact `SET_ASIDE` of its reading."""
    return Unreadable(
        why["what"],
        where=path,
        value=why["value"],
        cause=why["cause"],
        remedy=why["remedy"],
    )


def require_few(
    refused: Sequence[Refused],
    files: int,
    size: int,
    limit: float,
) -> None:
    """Refuse a run of whose files too many cannot be read.

    Args:
        refused: Those that cannot be read.
        files, size: Number and bytes of all files, each content once.
        limit: Largest share of the files, and of their bytes, that may be set aside.

    Raises:
        Unreadable: More than that, or all of them; of a single file, its own error.
    """
    if not refused:
        return

    first = refused[0]
    if len(refused) == files:
        raise first.error

    count = len(refused) / files
    share = sum(one.file.bytes for one in refused) / max(1, size)
    if max(count, share) > limit:
        raise Unreadable(
            f"{len(refused)} of {files} files cannot be read, with {share:.0%} of the bytes",
            where=first.error.where,
            value=first.error.value,
            cause=f"{first.file.name}: {first.error.cause or first.error.what}",
            remedy="mend or remove these files; if the others are enough, raise the limit: source.max_unreadable (now "
            f"{limit:g})",
        ) from first.error


def refused_in_pack(reading: SourceReading) -> list[Refused]:
    """Return the small files of a pack that were set aside, each with an error that says why."""
    if Reason.UNREADABLE_FILE.value not in reading.facts["reasons"]:
        return []

    bad = pl.read_parquet(reading.quarantine).filter(
        pl.col("reason") == Reason.UNREADABLE_FILE.value
    )
    refused = []
    for row in bad.iter_rows(named=True):
        listed = Listed(row["source"], len(row["raw"]), "")
        error = Unreadable(row["detail"], where=row["source"])
        refused.append(Refused(listed, error))

    return refused
