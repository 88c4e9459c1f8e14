"""Ask a process with a model for a work that waits: MODEL FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from reviewlm.tasks.evaluation.model_work import ModelWork
from reviewlm.tasks.evaluation.processes import ModelProcesses
from tests.tasks.evaluation.made_works import wait

if __name__ == "__main__":
    model, folder = map(Path, sys.argv[1:])
    work = ModelWork(
        wait,
        "kn",
        model,
        {"own": "told"},
        work=folder,
    )
    ModelProcesses().do(work, lambda number: None)
