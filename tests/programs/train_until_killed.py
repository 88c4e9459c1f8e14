"""Train a network, with a checkpoint after each update, and be killed before an update: FOLDER UPDATE."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from reviewlm.training.neural import checkpointing
from tests.training.neural import killed_trainings


def main(folder: Path, last: int) -> None:
    torch.set_num_threads(1)
    checkpointing.CHECKPOINT_SECONDS = 0.0
    network = killed_trainings.network_of()
    loss = network.output.loss
    windows = 0

    def die_or_compute_loss(*arguments: Any) -> Any:
        nonlocal windows
        windows += 1
        if windows == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(*arguments)

    network.output.loss = die_or_compute_loss
    killed_trainings.run(folder, network)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
