"""Pass a table between tasks as a reference to a file."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp
from weakref import finalize

import polars as pl
from filelock import BaseFileLock

from core.config.run_config import RunConfig
from core.errors import disk_errors
from core.removal import WORK, build_lock
from tasks.stage import store_of

NAME = "table.parquet"


class TableFile:
    """Rows in a Parquet file: of a stored result, or of this run alone.

    Args:
        file: The file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    @classmethod
    def written(cls, rows: pl.DataFrame, config: RunConfig) -> TableFile:
        """Write rows that are not stored; the file goes when nothing refers to the returned object any more.

        Its folder is locked until then, so `reviewlm home gc` removes only what a killed run left.

        Raises:
            StoreFull, NotWritable: The operating system refuses.
        """
        root = store_of(config).root
        below = root / WORK
        with disk_errors(below):
            below.mkdir(parents=True, exist_ok=True)
            folder = Path(mkdtemp(prefix="table-", dir=below))
            lock = build_lock(root, folder.name, thread_local=False)
            lock.acquire()
            made = cls(folder / NAME)
            finalize(made, _remove, folder, lock)
            rows.write_parquet(made.file)
        return made

    def read(self) -> pl.DataFrame:
        """Return the rows."""
        return pl.read_parquet(self.file)

    def __reduce__(self) -> tuple[type[TableFile], tuple[Path]]:
        return TableFile, (self.file,)


def _remove(folder: Path, lock: BaseFileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)
