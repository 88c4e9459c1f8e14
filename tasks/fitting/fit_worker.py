"""Run one fit in a separate process: `python -m tasks.fitting.fit_worker JOB.json`.

A process per fit has its own threads and memory, lets several fits use several cores, and turns a kill by the operating
system into an error message instead of the end of the whole flow. Messages go to standard output as JSON lines:
{"step", "total", "figures"} and {"log", "level", "logger"}, then {"summary"} or {"error", "kind" or "errno"}.
`tasks/fitting/fit_process.py` starts it as a child that ends with its parent (`core/processes/child.py`).

Several processes may train one network together ("ranks", `models/neural/parallel/data_parallel.py`). Rank and number
of ranks come from the variables that torchrun sets: `torchrun --nproc-per-node 2 -m tasks.fitting.fit_worker JOB.json`.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from core.processes.out_of_memory import LOWER, first_line, is_out_of_memory
from models.base import FitContext, FitProgress, ModelError
from models.bundles.bundle import save_bundle
from models.specs import ModelSpec, model_class
from models.streams import TokenStream, stars_prior
from models.tokens.vocabulary import Vocabulary
from tasks.fitting.dask_engine import DaskEngine, dask_engine
from tasks.fitting.job import FitJob

PROBES = (
    ("The food was great and the staff were very friendly.", 5),
    ("It was okay, but I would not go back.", 3),
    ("We waited an hour and the server was rude!", 1),
)
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)


def run(job: FitJob, report: Callable[[FitProgress], None] | None = None) -> dict[str, float]:
    """Fit the model of a job, save its bundle in the job's work folder, and return the fit's summary.

    *report* gets the progress; by default it is written to standard output, for the parent process. With several ranks,
    only rank 0 saves; the others return an empty summary.
    """
    spec, vocabulary = job.spec, Vocabulary.load(job.vocabulary)
    train, validation = TokenStream.open(job.train), TokenStream.open(job.validation)
    with _engine(job) as engine:
        context = FitContext(
            job.work, job.device, job.threads, report or _report, job.parts, engine, job.init_weights, pace=job.pace
        )
        if ranks_of_environment() > 1:
            context = _among_others(context, spec, job.init_method)
        result = model_class(spec.kind).fit(spec, vocabulary, train, validation, context)
    if context.rank:
        return {}
    if job.pace:  # the training is not finished
        return dict(result.summary)
    # No facts that differ from run to run, so that equal fits give equal bundles.
    facts = {**job.facts, "stars_prior": stars_prior(train)}
    save_bundle(job.bundle, spec, vocabulary, result.model, PROBES, facts)
    return dict(result.summary)


def ranks_of_environment() -> int:
    """Return the number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _among_others(context: FitContext, spec: ModelSpec, init_method: str) -> FitContext:
    """Return the fit context of this rank.

    Raises:
        ModelError: kind "input": the model has no gradient to share, or this rank has no device.
    """
    if not hasattr(spec, "training"):
        raise ModelError(
            f"'{spec.name}' is of kind '{spec.kind}'; only neural models can be trained by several processes", "input"
        )
    from models.neural.parallel.data_parallel import own_device  # imports torch

    rank, ranks = int(os.environ["RANK"]), ranks_of_environment()
    device = own_device(context.device, int(os.environ.get("LOCAL_RANK", rank)), ranks)
    return replace(context, device=device, rank=rank, ranks=ranks, init_method=init_method)


def _engine(job: FitJob) -> AbstractContextManager[DaskEngine | None]:
    """Return the engine for n-gram shards: Dask if the job has an address ("": local cluster), else None."""
    return nullcontext() if job.dask is None else dask_engine(job.dask, job.threads, job.work)


def _report(news: FitProgress) -> None:
    _say({"step": news.step, "total": news.total, "figures": dict(news.figures)})


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class _LogToParent(logging.Handler):
    """Handler that sends log messages to the parent process, for the terminal and the Prefect UI."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send one log message."""
        _say({"log": record.getMessage(), "level": record.levelno, "logger": record.name})


def main() -> int:
    """Run the job named on the command line; return exit code 0, or 6 with the error as the last line of output."""
    if os.environ.get("RANK", "0") == "0":  # other ranks would log the same
        logging.getLogger("models").addHandler(_LogToParent())
        logging.getLogger("models").setLevel(logging.DEBUG)
    try:
        _say({"summary": run(FitJob.from_json(Path(sys.argv[1]).read_text(encoding="utf-8")))})
    except ModelError as error:
        _say({"error": str(error), "kind": error.kind})
        return 6
    except BaseException as error:  # panics of Rust libraries are not an Exception
        if is_out_of_memory(error):
            _say({"error": f"not enough memory ({first_line(error)}); {LOWER}", "kind": "memory"})
        elif (number := _errno_of(error)) is not None:
            _say({"error": str(error), "errno": number})
        else:
            raise
        return 6
    return 0


def _errno_of(error: BaseException) -> int | None:
    """Return the errno of a disk error, else None; safetensors gives the number only in its text."""
    if not isinstance(error, OSError | SafetensorError):
        return None
    found = re.search(r"os error (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
    return number if number in DISK_ERRORS else None


if __name__ == "__main__":
    raise SystemExit(main())
