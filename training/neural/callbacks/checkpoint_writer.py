"""Write the checkpoints of a training on a GPU in a thread, so that its updates do not wait for the disk."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from models.neural.device import HostCopies
from training.neural.checkpoint import Checkpoints

IN_A_THREAD = ("cuda",)
"""Devices whose trainings have the thread. On the processor it would slow the updates down, and count as theirs."""
log = logging.getLogger(__name__)


class CheckpointWriter:
    """Writer of checkpoints, one after another in the order given; when its block is left, all are written.

    A checkpoint holds the state at the moment of `write`, whatever happens to the tensors afterwards. Until it is
    complete the one before is the newest, so a process that is killed meanwhile goes on from there. An error of the
    thread is raised by the next call of any method, at the latest at the end of the block.

    Args:
        checkpoints: Of this training. Nothing else may read or write them while `finish` has not returned.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self._thread: ThreadPoolExecutor | None = None
        self._written: Future[None] | None = None

    def write(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], good: bool, device: torch.device) -> None:
        """Write a checkpoint (see `Checkpoints.save`) of a training on *device*, after the one before."""
        self.finish()
        if device.type not in IN_A_THREAD:
            self.checkpoints.save(tensors, facts, good)
            return
        copies, facts = HostCopies(tensors, device), deepcopy(dict(facts))
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._written = self._thread.submit(lambda: self.checkpoints.write(copies.read(), facts, good))

    def look(self) -> None:
        """Raise the error of a checkpoint that could not be written; do not wait for one that is being written."""
        if self._written is not None and self._written.done():
            self.finish()

    def finish(self) -> None:
        """Wait until all checkpoints are written."""
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.finish()
        except Exception as own:
            if error is None:
                raise
            log.warning("the last checkpoint could not be written: %s", own)  # the other error is the cause to tell
        finally:
            if self._thread is not None:
                self._thread.shutdown()
