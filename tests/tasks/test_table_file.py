"""A table that is handed from task to task is a file that lives as long as somebody refers to it."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import polars as pl

from core.config.run_config import RunConfig
from core.removal import WORK, Removal
from tasks.stage import store_of
from tasks.table_file import TableFile
from tasks.upkeep.collect import leftovers

ROWS = pl.DataFrame({"review_id": ["a", "b"], "nats": [1.5, 2.5]})
KILLED = """
import os, polars as pl
from core.config.run_config import RunConfig
from tasks.table_file import TableFile
table = TableFile.written(pl.DataFrame({"a": [1]}), RunConfig())
print(table.file.parent, flush=True)
os.kill(os.getpid(), 9)
"""


def collect(home: Path) -> None:
    """Remove what `reviewlm home gc` would remove a year from now."""
    for found in leftovers(home, time.time_ns() + 365 * 86_400 * 10**9, set()):
        found.remove()
    Removal(home / "store").empty()


def work_of(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "store" / WORK).iterdir())


def test_a_reference_gives_the_rows_also_after_it_was_pickled(own_home: Path) -> None:
    table = TableFile.written(ROWS, RunConfig())
    assert table.read().equals(ROWS)
    sent = pickle.dumps(table)
    assert len(sent) < 1024
    assert pickle.loads(sent).read().equals(ROWS)


def test_a_collection_leaves_a_table_in_use_and_nothing_is_left_after_it(own_home: Path) -> None:
    table = TableFile.written(ROWS, RunConfig())
    collect(own_home)
    assert table.read().equals(ROWS)
    del table
    assert work_of(own_home) == []


def test_another_thread_may_be_the_last_to_refer_to_it(own_home: Path) -> None:
    held = [TableFile.written(ROWS, RunConfig())]
    thread = Thread(target=held.clear)
    thread.start()
    thread.join()
    assert work_of(own_home) == []


def test_a_collection_removes_what_a_killed_run_left(own_home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=300)
    folder = Path(done.stdout.strip())
    assert folder.parent == store_of(RunConfig()).root / WORK
    assert folder.is_dir()
    collect(own_home)
    assert not folder.exists()
