"""Look at the first records of every input before a run starts, so that an unusable file costs seconds.

The readers are those of a run, and so are the errors.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import MissingColumn, Unreadable
from reviewlm.corpus.ingestion.build_dataset import no_records
from reviewlm.corpus.ingestion.files_set_aside import Refused, require_few
from reviewlm.corpus.ingestion.ingest import reading_options
from reviewlm.corpus.ingestion.labels_of_fields import reading_options_with_label
from reviewlm.corpus.reading.readers import Progress, read
from reviewlm.corpus.reading.sources import Listed, source_names
from reviewlm.corpus.schema import Block

MOST_BYTES = 32 << 20
MOST_FILES = 200
"""Bytes on disk, and files, after which the remaining files are left to the run."""


def require_usable(
    inputs: Sequence[Path | str],
    config: SourceConfig,
    label: str = "",
) -> None:
    """Read the first records of each file with the readers of a run, and raise what the run would raise.

    Whether any record is good is left to the run.

    Args:
        inputs: Files, folders or globs.
        config: Limits of the readers, and names of the fields.
        label: Name of a field with labels, which every file must have then.

    Raises:
        EmptyInput: An archive or a folder holds no reviews, or there are no records.
        Unreadable: An input is missing; or more inputs than `source.max_unreadable` allows, or all, are damaged at
            their beginning or in an unknown format.
        MissingColumn: A file has no text, or not the field with the labels; or none has a field under the name that
            the user gave.
    """
    if label:
        options = reading_options_with_label(config, label)
    else:
        options = reading_options(config)

    options = replace(options, workers=1, named=set())  # one block at a time is enough
    names = source_names(inputs, config.skip_missing)
    files = [(path, Listed(name, path.stat().st_size, "")) for path, name in names.items()]
    some = False
    taken = 0
    looked = 0
    damaged: list[Refused] = []
    for path, file in files[:MOST_FILES]:
        looked += 1
        progress = Progress()
        try:
            with closing(
                cast(Generator[Block], read(path, file.name, options, progress))
            ) as blocks:
                some = any(block.records for block in blocks) or some
                taken += progress.bytes_done
        except Unreadable as error:
            damaged.append(Refused(file, error))
        if taken >= MOST_BYTES:
            break

    require_few(damaged, len(files), sum(file.bytes for _, file in files), config.max_unreadable)
    misspelt = [ours for ours in config.renamed_fields if ours not in options.named]
    if misspelt and not damaged and looked == len(files):
        raise MissingColumn(
            f"No file has a field '{config.renamed_fields[misspelt[0]]}'",
            where=f"source.fields.{misspelt[0]}",
            remedy=f"--set source.fields.{misspelt[0]}=NAME; if these files use our name, NAME is {misspelt[0]}",
        )
    if not some and not damaged and taken < MOST_BYTES and len(files) <= MOST_FILES:
        raise no_records(file for _, file in files)
