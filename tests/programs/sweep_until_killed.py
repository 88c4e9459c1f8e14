"""Complete four trials of a sweep in a folder, begin a fifth, and be killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.tasks.fitting.test_sweep import complete, opened

with opened(Path(sys.argv[1])) as (study, trials):
    for _ in range(4):
        complete(study, next(trials))
    next(trials)
    os.kill(os.getpid(), signal.SIGKILL)
