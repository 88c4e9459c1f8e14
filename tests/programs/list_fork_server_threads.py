"""Load the libraries of the fork server, and print the names of the threads that there are besides the first."""

from __future__ import annotations

import os
from pathlib import Path

from reviewlm.tasks.evaluation.fork_server import load_libraries

load_libraries()
tasks = Path("/proc/self/task")
print(
    {
        (tasks / number / "comm").read_text().strip()
        for number in os.listdir(tasks)
        if number != str(os.getpid())
    }
)
