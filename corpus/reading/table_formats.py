"""Refuse files of table formats (Delta Lake, Hudi, Iceberg …): some of them hold reviews that were deleted.

A folder of such a table keeps the files that a DELETE or an UPDATE replaced. Read as plain Parquet, they bring deleted
reviews back. Which files are alive, only the library of the format knows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reviewlm.core.errors import Unreadable


@dataclass(frozen=True)
class TableFormat:
    """A format of tables whose folder also holds files that do not belong to the table any more.

    Attributes:
        folder: Name of the folder, at the root of the table, that says which files are alive.
        file: Pattern of the names of files in it.
        export: Command that writes what is alive; TABLE stands for the root of the table.
    """

    name: str
    folder: str
    file: re.Pattern[str]
    export: str


TABLE_FORMATS = (
    TableFormat(
        "Delta Lake",
        "_delta_log",
        re.compile(r".+"),
        "pip install deltalake; python -c \"import polars; polars.read_delta('TABLE').write_parquet('reviews.parquet')\"",
    ),
    TableFormat(
        "Apache Hudi",
        ".hoodie",
        re.compile(r".+"),
        "in Spark: spark.read.format('hudi').load('TABLE').write.parquet('reviews')",
    ),
    TableFormat(
        "Apache Iceberg",
        "metadata",
        re.compile(r".+\.metadata\.json|version-hint\.text|snap-.+\.avro"),
        "pip install pyiceberg; python -c \"import polars; polars.scan_iceberg('TABLE/metadata/NEWEST.metadata.json')"
        ".sink_parquet('reviews.parquet')\"",
    ),
    TableFormat(
        "Lance",
        "_versions",
        re.compile(r".+\.manifest"),
        'pip install pylance; python -c "import lance; from pyarrow import parquet; '
        "parquet.write_table(lance.dataset('TABLE').to_table(), 'reviews.parquet')\"",
    ),
    TableFormat(
        "Apache Paimon",
        "snapshot",
        re.compile(r"snapshot-\d+|EARLIEST|LATEST"),
        "in Spark: spark.read.format('paimon').load('TABLE').write.parquet('reviews')",
    ),
)


def require_no_table_format(where: str, names: Iterable[str]) -> None:
    """Refuse a folder or an archive in which a table format keeps its files.

    Args:
        names: Paths of all its files, below it, with slashes.

    Raises:
        Unreadable: It names the format and the command that exports the table.
    """
    for name in names:
        above, _, file = name.rpartition("/")
        root, _, folder = above.rpartition("/")
        for known in TABLE_FORMATS:
            if folder == known.folder and known.file.fullmatch(file):
                raise _table_error(known, f"{where}/{root}".rstrip("/"))


def require_outside_table_formats(paths: Iterable[Path]) -> None:
    """Refuse single files of a table format, which a user or a glob has named.

    Raises:
        Unreadable: One of the folders above a file is such a table.
    """
    above: dict[Path, None] = {}
    for parent in dict.fromkeys(path.absolute().parent for path in paths):
        above |= dict.fromkeys((parent, *parent.parents))

    for folder in above:
        for known in TABLE_FORMATS:
            try:
                files = os.listdir(folder / known.folder)
            except OSError:
                continue
            if any(known.file.fullmatch(file) for file in files):
                raise _table_error(known, str(folder))


def _table_error(known: TableFormat, root: str) -> Unreadable:
    return Unreadable(
        f"These files belong to a table of {known.name}",
        where=root,
        cause=f"it keeps files whose reviews were deleted or replaced; only {known.folder} says which are alive",
        remedy=f"export the table, and name the exported file: {known.export.replace('TABLE', root)}",
    )
