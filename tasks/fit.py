"""One artifact per model: its bundle, its journal of metrics, and its MLflow run."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency

from models.base import ModelError
from models.bundle import SPEC
from models.specs import ModelSpec, identity, parts_of
from reviewlm.config import RunConfig
from reviewlm.environment import available_cores
from reviewlm.errors import Damaged, RankFailed, TrackingUnavailable
from reviewlm.store import Artifact, Store, sha256_of_file
from tasks.distributed import FOLDER
from tasks.prepare import VOCABULARY_FILE, Prepared
from tasks.progress import Report, progress
from tasks.stage import converted_errors, finished, run_stage, show_facts, store_of
from tasks.track import JOURNAL, ModelRun, open_model_run

FIT_VERSION = 1
BUNDLE_FOLDER = "bundle"
log = logging.getLogger(__name__)

_interrupted = threading.Event()
_running: set[subprocess.Popen[str]] = set()


@dataclass(frozen=True)
class Fitted:
    """A fitted model: its options, its artifact, and the MLflow run that describes it."""

    spec: ModelSpec
    artifact: Artifact
    run_id: str
    reused: bool

    @property
    def bundle(self) -> Path:
        """The folder that `models.bundle.load_bundle` opens."""
        return self.artifact.folder / BUNDLE_FOLDER


@task(name="fit", task_run_name="fit {spec.name}", cache_policy=NO_CACHE, persist_result=False)
def fit(
    config: RunConfig, spec: ModelSpec, prepared: Prepared, parent_run_id: str, parts: Mapping[str, Fitted]
) -> Any:
    """Fit one model in a process of its own; a finished fit is taken from the store and its run linked.

    *parts* are the fitted models that it is made of, by name: a mixture of the very same bundles is not fitted again.
    """
    tokens, vocabulary = prepared.tokens[spec.vocabulary], prepared.vocabularies[spec.vocabulary]
    inputs = {split: tokens[split].digest for split in ("train", "validation")}
    digests = {name: bundle_digest(part.bundle) for name, part in parts.items()}
    inputs |= {f"part {name}": found for name, found in digests.items()}
    digest = Store.digest("fit", FIT_VERSION, identity(spec), inputs)
    with open_model_run(config, spec, digest, prepared, parent_run_id, _is_there(config, digest)) as run:

        def make(work: Path) -> dict[str, Any]:
            job = {
                "spec": asdict(spec), "vocabulary": str(vocabulary.folder / VOCABULARY_FILE), "work": str(work),
                "bundle": str(work / BUNDLE_FOLDER), "device": device_of(config), "threads": threads_of(config),
                "facts": {"fit_digest": digest, "clean_digest": prepared.clean.digest, **_made_of(digests)},
                "parts": {name: str(part.bundle) for name, part in parts.items()}, "dask": _dask_of(config, spec),
                **{split: str(tokens[split].folder) for split in ("train", "validation")},
            }
            with _gpu_slot(device_of(config)), progress(spec.name, 1, "tokens") as report:
                summary = run_job(job, _both(report, run, work / JOURNAL))
            for leftover in (*work.glob("checkpoint*"), *work.glob(f"{FOLDER}*")):
                _remove(leftover)
            return {"name": spec.name, "kind": spec.kind, "summary": summary}

        built = run_stage(config, "fit", FIT_VERSION, identity(spec), inputs, make, spec.name, resumable=True)
        run.complete(built.artifact, BUNDLE_FOLDER)
    show_facts(f"fit-{spec.name}", built.artifact, built.reused, f"MLflow run: {run.link}")
    return finished(built, Fitted(spec, built.artifact, run.run_id, built.reused))


def _made_of(digests: Mapping[str, str]) -> dict[str, Any]:
    return {"parts": dict(digests)} if digests else {}


def _dask_of(config: RunConfig, spec: ModelSpec) -> str | None:
    """Return the address of the Dask scheduler that helps with a fit, "" for one of its own, None for no Dask."""
    wanted = spec.kind == "ngram" and config.execution.ngram_engine == "dask"
    return config.execution.dask_address if wanted else None


def _gpu_slot(device: str) -> AbstractContextManager[Any]:
    """Wait for one of the slots of the limit `gpu`, which `make ui` creates; fits on the processor need none."""
    return concurrency("gpu", occupy=1) if device == "cuda" else nullcontext()


def _is_there(config: RunConfig, digest: str) -> bool:
    """Return whether the fit will be taken from the store."""
    try:
        return "fit" not in config.execution.rebuild and store_of(config).find("fit", digest) is not None
    except Damaged:
        return False


def fitted_parts(spec: ModelSpec, fitted: Mapping[str, Fitted]) -> dict[str, Fitted] | None:
    """Return the fitted models that a model is made of (most are of none), by name; None while one is not fitted yet.

    Args:
        spec: The model.
        fitted: The models that are fitted, by name.
    """
    names = parts_of(spec)
    return {name: fitted[name] for name in names} if all(name in fitted for name in names) else None


def bundle_digest(folder: Path) -> str:
    """Return the digest that `models.bundle.load_bundle` gives a bundle, without opening its model."""
    return sha256_of_file(folder / SPEC)


def relative_cost(spec: ModelSpec) -> float:
    """Return roughly how long a fit takes, in no unit: the longest are started first, so that workers end together."""
    training = getattr(spec, "training", None)
    return 0.0 if training is None else training.epochs * getattr(spec, "hidden", 1)


def device_of(config: RunConfig) -> str:
    """Return "cpu" or "cuda"; "auto" takes the GPU where the driver's device file is there."""
    if config.execution.device != "auto":
        return config.execution.device
    return "cuda" if Path("/dev/nvidiactl").exists() else "cpu"


def threads_of(config: RunConfig) -> int:
    """Return the threads of one fit: as configured, or the cores shared out among the workers."""
    return config.execution.threads or max(1, available_cores() // config.execution.workers)


def run_job(job: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> dict[str, float]:
    """Run a job of `tasks.fit_worker` in a process of its own and return the fit's summary.

    Raises:
        FitError, InputError: What the model itself said.
        OSError: What the operating system said to it, e.g. that the disk is full.
        RankFailed: The process died without a word, e.g. killed for want of memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, errors = Path(folder) / "job.json", Path(folder) / "stderr"
        file.write_text(json.dumps(job), encoding="utf-8")
        environment = {**os.environ, "OMP_NUM_THREADS": str(job["threads"]), "MKL_NUM_THREADS": str(job["threads"])}
        command = [sys.executable, "-m", "tasks.fit_worker", str(file)]
        with errors.open("wb") as stderr:
            # The worker ends when its standard input does: no fit outlives the process that wanted it.
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
            )
            _running.add(process)
            try:
                if _interrupted.is_set():
                    process.kill()
                last = _listen(process, report)
            finally:
                _running.discard(process)
                process.kill()
                process.communicate()
        if "errno" in last:
            raise OSError(last["errno"], last["error"])
        if "error" in last:
            with converted_errors(job["spec"]["name"]):
                raise ModelError(last["error"], last["kind"])
        if "summary" not in last:
            raise _died(job, process.returncode, errors.read_text(encoding="utf-8", errors="replace"))
        return last["summary"]


@contextmanager
def interruptible_fits() -> Iterator[None]:
    """End the fits where the block is interrupted: their threads cannot be, and the flow would wait for them."""
    _interrupted.clear()
    try:
        yield
    except Exception:
        raise
    except BaseException:
        _interrupted.set()
        for process in tuple(_running):
            process.kill()
        raise


def _listen(process: subprocess.Popen[str], report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Pass on progress and log messages until the process ends; return its last word, empty if it said none."""
    last: dict[str, Any] = {}
    for line in process.stdout or ():
        try:
            news = json.loads(line)
        except ValueError:
            continue
        if not isinstance(news, dict):
            continue
        if "step" in news:
            report(news)
        elif "log" in news:
            logging.getLogger(news["logger"]).log(news["level"], "%s", news["log"])
        else:
            last = news
    process.wait()
    return last


def _died(job: dict[str, Any], code: int, said: str) -> RankFailed:
    cause = "killed by the system, most likely for want of memory" if code == -9 else "\n".join(said.splitlines()[-12:])
    return RankFailed(
        f"The process that fitted '{job['spec']['name']}' ended with exit code {code}", cause=cause,
        remedy="give it more memory, or a smaller batch (models.N.training.batch); a rerun goes on from the checkpoint",
    )


def _both(report: Report, run: ModelRun, journal: Path) -> Callable[[dict[str, Any]], None]:
    """Return a listener that moves the bar at once and forwards the journal to MLflow now and then."""
    forwarded = time.monotonic()

    def listen(news: dict[str, Any]) -> None:
        nonlocal forwarded
        report(news["step"], news["figures"], total=news["total"])
        if time.monotonic() - forwarded > 20:
            forwarded = time.monotonic()
            try:
                run.forward(journal)
            except TrackingUnavailable as error:  # the journal keeps what MLflow misses; a fit goes on without it
                log.warning("%s; its figures follow later", error.what)

    return listen


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()

