"""Read the typed reviews of a data set with the file that each of them comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import polars as pl

from reviewlm.core.errors import disk_errors
from reviewlm.corpus.cleaning.clean_batch import batches_of
from reviewlm.corpus.ingestion.build_dataset import DATASET_FILE
from reviewlm.corpus.ingestion.parts import part_files
from reviewlm.models.dataflow import FilePiece


@dataclass(frozen=True)
class SourceFiles:
    """The files that a data set was read from, and which of its parts are theirs.

    Attributes:
        folder: The folder of the data set.
        rows: Number of reviews of each file, by its name.
        file_of: Number of the file of each part, by the part's name.
    """

    folder: Path
    rows: Mapping[str, int]
    file_of: Mapping[str, int]

    @classmethod
    def of(cls, folder: Path) -> SourceFiles:
        """Read which parts are of which file."""
        with disk_errors(folder):
            sources = orjson.loads((folder / DATASET_FILE).read_bytes())["sources"]

        rows = {source["name"]: source["rows"] for source in sources}
        file_of: dict[str, int] = {}
        for number, source in enumerate(sources):
            file_of |= dict.fromkeys(source["parts"], number)

        return cls(folder, rows, file_of)

    @property
    def names(self) -> list[str]:
        """The name of each file, by its number."""
        return list(self.rows)

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the reviews in order, each batch of one file, with its number in the column `FILE`."""
        for path in part_files(self.folder):
            yield from batches_of(pl.read_parquet(path), self.file_of[path.name])

    def parts(self) -> Iterator[tuple[FilePiece, int]]:
        """Yield each part, and the number of its file."""
        for path in part_files(self.folder):
            yield FilePiece(path), self.file_of[path.name]
