"""Read the first records of every input before a run starts, so that an unusable file costs seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

import polars as pl

from core.config.sections.source import SourceConfig
from core.errors import Unreadable
from corpus.ingestion.build_dataset import no_records, none_usable
from corpus.ingestion.ingest import limits_of
from corpus.ingestion.labels import limits_with_label
from corpus.ingestion.set_aside import Refused, require_few
from corpus.reading.readers import Progress, read
from corpus.reading.sources import Listed, source_names
from corpus.schema import Block, Limits

MOST_BYTES = 32 << 20
"""Bytes on disk after which the remaining files are not looked at."""
MOST_FILES = 200
"""Files after which it is the same."""
MOST_BLOCKS = 2
"""Blocks of bad records after which a file is left to the run: good ones may follow."""


def require_usable(inputs: Sequence[Path | str], config: SourceConfig, label: str = "") -> None:
    """Read the beginning of each file as a run does, with the same readers, and raise what the run would raise.

    A file whose first records are bad is refused only if it has no others.

    Args:
        inputs: Files, folders or globs.
        config: Limits, and names of the fields.
        label: Name of a field with labels, which every file must have then.

    Raises:
        EmptyInput: There are no records, or all of them are bad.
        Unreadable: An input is missing; or more inputs than `source.max_unreadable` allows, or all, are damaged at
            their beginning or in an unknown format.
        MissingColumn: A file has no text, or not the field with the labels.
    """
    limits = limits_with_label(config, label) if label else limits_of(config)
    limits = replace(limits, workers=1)  # one block at a time is enough
    names, left, bad, unknown = source_names(inputs), MOST_BYTES, list[pl.DataFrame](), False
    files, damaged = {path: Listed(name, path.stat().st_size, "") for path, name in names.items()}, list[Refused]()
    for number, (path, name) in enumerate(names.items()):
        if left <= 0 or number == MOST_FILES:
            unknown = True
            break
        try:
            refused, whole, taken = _beginning(path, name, limits)
        except Unreadable as error:
            damaged.append(Refused(files[path], error))
            continue
        bad, unknown, left = bad + refused, unknown or not whole, left - taken
    require_few(damaged, len(files), sum(file.bytes for file in files.values()), config.max_unreadable)
    if unknown:
        return
    found = pl.concat(bad) if bad else None
    if found is None or not found.height:
        raise no_records(list(names.values()))
    raise none_usable(found.height, Counter(found["reason"]), found, "correct the input")


def _beginning(path: Path, name: str, limits: Limits) -> tuple[list[pl.DataFrame], bool, int]:
    """Return the bad records at the beginning of a file, whether these are all its records, and the bytes read."""
    progress, bad = Progress(), list[pl.DataFrame]()
    with closing(cast(Generator[Block], read(path, name, limits, progress))) as blocks:
        for block in islice(blocks, MOST_BLOCKS):
            if block.good.height:
                return bad, False, progress.bytes_done
            bad.append(block.bad)
        return bad, next(blocks, None) is None, progress.bytes_done
