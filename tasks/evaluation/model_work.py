"""Describe a work with a model, and do such works in a process of their own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from reviewlm.models.bundles.bundle import Bundle, load_bundle
from reviewlm.tasks.fitting.worker import serve
from reviewlm.training.context import FitProgress

LIBRARIES = (
    "reviewlm.models.neural.architectures",
    "reviewlm.models.mixture.lm",
    "reviewlm.models.ngram.lm",
    "reviewlm.tasks.evaluation.observed",
    "reviewlm.models.sampling",
    "scipy.stats",
    "pyarrow.compute",
)
"""Modules that import what most works need, and libraries that these import only when they use them. None of them may
compute with torch or polars while it is imported: the threads for that do not exist in a forked process, where polars
would wait for them without end."""
Report = Callable[[int], None]
"""Gets how much is done."""


@dataclass(frozen=True)
class ModelWork:
    """One work with one model.

    Args:
        function: Top-level function of a module without Prefect, which would double the memory of a process. It gets
            the bundle, a `Report`, the folder and *options*, and returns equal facts in any process.
        label: Name in messages.
        model: Folder of the bundle.
        work: Folder for the files that are made.
    """

    function: Callable[..., dict[str, Any]]
    label: str
    model: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    work: Path = field(kw_only=True)

    def __call__(self, bundle: Bundle, report: Report) -> dict[str, Any]:
        """Do the work with the opened bundle; return the facts."""
        return self.function(bundle, report, self.work, **self.options)


def only_opened(
    bundle: Bundle,
    report: Report,
    folder: Path,
) -> dict[str, Any]:
    """Do nothing with the bundle: that it opened has checked its files and probe texts."""
    return {}


def load_libraries() -> None:
    """Import what most works need, and call a kernel: numba loads 250 modules at the first call, 0.6 CPU seconds."""
    for module in LIBRARIES:
        importlib.import_module(module)

    import numpy as np  # here: the process of a run imports this module, too, but not numba

    from reviewlm.models.neural.inference.kernels import add_to_log_sum

    total_NV, logp_NPV, log_weight_NP = (
        np.zeros(shape, np.float32) for shape in ((1, 1), (1, 1, 1), (1, 1))
    )
    add_to_log_sum(total_NV, logp_NPV, 0, log_weight_NP)


def serve_models(connection: Connection) -> None:
    """Do works with models; the last model stays open, because the next work is with the same one."""
    opened = lru_cache(maxsize=1)(load_bundle)

    def do(work: ModelWork, report: Callable[[FitProgress], None]) -> dict[str, Any]:
        return work(opened(work.model), lambda done: report(FitProgress(done, 0)))

    serve(connection, do)
