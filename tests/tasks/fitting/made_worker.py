"""Stand in for `tasks.fitting.fit_worker` where only the ends of several ranks matter: the job says what each does."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any, ClassVar

from reviewlm.models.base import ModelError
from reviewlm.tasks.fitting.job import LanguageModelJob


@dataclass(frozen=True, kw_only=True)
class MadeJob(LanguageModelJob):
    """A job whose processes do what its facts say: for each rank a list of deeds."""

    WORKER: ClassVar[str] = "tests.tasks.fitting.made_worker"


def run(job: Any, report: Any) -> dict[str, float]:
    for deed in job.facts["deeds"][int(os.environ["RANK"])]:
        if isinstance(deed, dict):
            raise ModelError(deed["error"], deed["kind"])
        elif deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif deed == "abort":  # as a Rust library does
            print("memory allocation of 1638400000 bytes failed", file=sys.stderr, flush=True)
            os.abort()
        elif deed == "raise":
            raise ValueError("a mistake in the program")
        else:
            time.sleep(deed)
    return {}
