"""Read a table of a SQLite file (FILE TABLE); with a third argument, hold it until a line comes."""

from __future__ import annotations

import sqlite3
import sys

database = sqlite3.connect(sys.argv[1])
reader = database.execute(f"SELECT 1 FROM {sys.argv[2]}")
if sys.argv[3:]:
    print(flush=True)
    input()
else:
    reader.fetchall()
    database.close()
