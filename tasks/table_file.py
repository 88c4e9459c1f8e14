"""Hand a table from task to task as a reference to a file."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from core.config.run_config import RunConfig
from core.errors import disk_errors
from core.storing.removal import WORK
from tasks.stage import store_of

NAME = "table.parquet"


class TableFile:
    """Rows in a Parquet file: of a stored result, or of this run alone.

    Args:
        file: The file.
        kept: Folder of the file that is removed when nothing refers to this object any more; None: the file stays.
    """

    def __init__(self, file: Path, kept: TemporaryDirectory[str] | None = None) -> None:
        self.file, self._kept = file, kept

    @classmethod
    def written(cls, rows: pl.DataFrame, config: RunConfig) -> TableFile:
        """Write rows that are not stored; `reviewlm gc` removes what a killed run leaves.

        Raises:
            StoreFull, NotWritable: The operating system refuses.
        """
        below = store_of(config).root / WORK
        with disk_errors(below):
            below.mkdir(parents=True, exist_ok=True)
            kept = TemporaryDirectory(prefix="table-", dir=below, ignore_cleanup_errors=True)
            file = Path(kept.name, NAME)
            rows.write_parquet(file)
        return cls(file, kept)

    def read(self) -> pl.DataFrame:
        """Return the rows."""
        return pl.read_parquet(self.file)

    def __reduce__(self) -> tuple[type[TableFile], tuple[Path]]:
        return TableFile, (self.file,)
