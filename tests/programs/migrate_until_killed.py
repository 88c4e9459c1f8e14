"""Migrate a SQLite file step by step; kill the parent before a step and wait: FILE STEP (-1: finish)."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time

STEPS = (
    "CREATE TABLE _new_rows (name TEXT, number INT)",
    "INSERT INTO _new_rows SELECT name, rowid - 1 FROM rows",
    "DROP TABLE rows",
    "ALTER TABLE _new_rows RENAME TO rows",
    "UPDATE alembic_version SET version_num = 'two'",
)

file, last = sys.argv[1], int(sys.argv[2])
database = sqlite3.connect(file, isolation_level=None)
for number, step in enumerate(STEPS):
    if number == last:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    database.execute(step)
database.close()
