"""Load the libraries of all fork servers, and print the names of the threads that there are besides the first."""

from __future__ import annotations

import os
from pathlib import Path

from reviewlm.core.processes.fork_server import load
from reviewlm.tasks.evaluation.model_work import load_libraries
from reviewlm.tasks.execution.code_version import WORKERS
from reviewlm.training.fit import FITS, libraries_of

load_libraries()
load(tuple(WORKERS.values()))
for kind in FITS:
    load(libraries_of(kind))
tasks = Path("/proc/self/task")
print(
    {
        (tasks / number / "comm").read_text().strip()
        for number in os.listdir(tasks)
        if number != str(os.getpid())
    }
)
