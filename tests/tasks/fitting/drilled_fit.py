"""A fit as the `fit` task has it done, in a store, and ways to end its process at a chosen point as kill -9 does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import reviewlm.training.neural.checkpointing
import reviewlm.training.neural.trainer
from reviewlm.core.store import Store
from reviewlm.models.specs import identity
from reviewlm.tasks.fitting import fit_worker
from reviewlm.tasks.fitting.job import LanguageModelJob
from reviewlm.training.neural import checkpoint

TRAINING = Path(reviewlm.training.neural.trainer.__file__).parent
WATCHED = {
    str(TRAINING / name)
    for name in (
        "trainer.py",
        "step.py",
        "state.py",
        "averaging.py",
        "callbacks.py",
        "checkpoint.py",
        "checkpointing.py",
        "training_metrics.py",
        "tbptt.py",
        "validation.py",
    )
}
"""Files before whose lines a process can be killed."""
TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.truncate"}
Point = tuple[str, int]
"""What is counted ("line", "touch", "journal", "tensors") and the number, from 1, at which the process dies."""


def die() -> None:
    """End this process at once, like a power cut."""
    os.kill(os.getpid(), signal.SIGKILL)


class Points:
    """Counts the points at which a fit could be killed, and kills it at the chosen one.

    "line": before a line of the trainer's code; "touch": before a file below *folder* is opened, renamed or removed;
    "journal": when half of a journal's line is written; "tensors": when half of a checkpoint's tensors are written.
    """

    def __init__(self, folder: Path, fatal: Point | None) -> None:
        self.folder, self.fatal = os.fsencode(folder), fatal
        self.counts: Counter[str] = Counter()

    def reached(self, kind: str) -> bool:
        """Count a point; return whether it is the chosen one."""
        self.counts[kind] += 1
        return (kind, self.counts[kind]) == self.fatal

    def watch(self) -> None:
        """Count from here on."""
        sys.addaudithook(self._touched)
        self._tear(checkpoint.Journal, "write", self._half_a_line)
        self._tear(checkpoint, "save_file", self._half_the_tensors)
        sys.settrace(self._called)

    def _called(
        self,
        frame: FrameType,
        event: str,
        argument: Any,
    ) -> Any:
        return self._line if frame.f_code.co_filename in WATCHED else None

    def _line(
        self,
        frame: FrameType,
        event: str,
        argument: Any,
    ) -> Any:
        if event == "line" and self.reached("line"):
            die()
        return self._line

    def _touched(self, event: str, arguments: tuple[Any, ...]) -> None:
        named = event in TOUCHES and isinstance(arguments[0], str | bytes | os.PathLike)
        if named and os.fsencode(arguments[0]).startswith(self.folder) and self.reached("touch"):
            die()

    def _tear(
        self,
        owner: Any,
        name: str,
        torn: Callable[..., Any],
    ) -> None:
        whole = getattr(owner, name)
        setattr(owner, name, lambda *arguments: torn(whole, *arguments))

    def _half_a_line(
        self, write: Callable[..., None], journal: checkpoint.Journal, *arguments: Any
    ) -> None:
        before = journal.size()
        write(journal, *arguments)
        if self.reached("journal"):
            os.truncate(journal.path, (before + journal.size()) // 2)
            die()

    def _half_the_tensors(
        self,
        save: Callable[..., None],
        tensors: Any,
        path: Path,
        *header: Any,
    ) -> None:
        save(tensors, path, *header)
        if self.reached("tensors"):
            os.truncate(path, path.stat().st_size // 2)
            die()


def run(
    home: str,
    job: LanguageModelJob,
    seconds: float,
    fatal: Point | None = None,
    trace: str = "",
) -> None:
    """Build the fit's artifact in the store below *home*; write to *trace* how many points there were.

    Args:
        home: Folder of the store.
        job: See `tasks/fitting/fit_worker.py`; its work folder is filled in.
        seconds: Between restart points.
        fatal: Where to die; None lives.
    """
    torch.set_num_threads(1)
    reviewlm.training.neural.checkpointing.CHECKPOINT_SECONDS = seconds
    points = Points(Path(home), fatal)
    points.watch()
    spec = job.spec

    def make(work: Path) -> dict[str, Any]:
        summary = fit_worker.run(replace(job, work=work), lambda news: None)
        shutil.rmtree(work / reviewlm.training.neural.trainer.CHECKPOINTS)
        return {"summary": summary}

    Store(Path(home) / "store").build(
        "fit",
        1,
        identity(spec),
        {},
        make,
        resumable=True,
    )
    sys.settrace(None)
    if trace:
        Path(trace).write_text(json.dumps(points.counts))
