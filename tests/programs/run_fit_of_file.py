"""Run the job of a fit that a file holds, pickled."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from reviewlm.tasks.fitting.fit_process import run_job

if __name__ == "__main__":
    run_job(pickle.loads(Path(sys.argv[1]).read_bytes()), lambda news: None)
