"""Retrain until the training, with fits that hold a GPU's slot but run on the processor: PRESET OWN OTHER.

A fit notes in the file OWN that it asks for the slot, and holds it until OTHER is there: as long as the other process
needs to come to its own training. It says "holds", then "held" with the times at which it began and ended.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import reviewlm.tasks.fitting.fit as fits
from reviewlm.flows.retrain import retrain
from reviewlm.tasks.fitting.job import FitJob


def pretend_gpu(own: Path, other: Path) -> None:
    """Replace the slot and the processes of a fit."""
    slot: Callable[..., AbstractContextManager[tuple[int, ...]]] = fits.gpu_slot
    run = fits.run_job

    def ask_for_slot(device: str, ranks: int) -> AbstractContextManager[tuple[int, ...]]:
        if device == "cuda":
            own.touch()
        return slot(device, ranks)

    def run_on_processor(job: FitJob, listen: Any) -> dict[str, Any]:
        if job.device == "cpu":
            return run(job, listen)

        begun = time.time()
        print("holds", flush=True)
        try:
            return run(replace(job, device="cpu", gpus=()), listen)
        finally:
            while not other.exists():
                time.sleep(0.05)
            time.sleep(1)
            print("held", begun, time.time(), flush=True)

    fits.gpu_slot = ask_for_slot  # type: ignore[assignment]
    fits.run_job = run_on_processor  # type: ignore[assignment]


if __name__ == "__main__":
    pretend_gpu(Path(sys.argv[2]), Path(sys.argv[3]))
    retrain(sys.argv[1], None, ["execution.device=cuda"], until="train")
