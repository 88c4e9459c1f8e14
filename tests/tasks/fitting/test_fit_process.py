"""A fit runs in a process of its own: its errors come back as ours, and it never outlives who wanted it."""

from __future__ import annotations

import pickle
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from reviewlm.core.errors import Diverged, RankFailed
from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import load_bundle
from reviewlm.models.specs import NGramSpec, RecurrentSpec, TrainingSpec
from reviewlm.tasks.execution.cluster import is_installed
from reviewlm.tasks.fitting.fit_process import environment_of, run_job
from reviewlm.tasks.fitting.worker import answer_of
from reviewlm.training.context import FitProgress
from tests.core.waiting import until
from tests.programs import command
from tests.small_cluster import MISSING
from tests.tasks.fitting.small_jobs import job_of


def long_fit(epochs: float = 1e5) -> RecurrentSpec:
    training = TrainingSpec(
        epochs=epochs,
        batch=2,
        bptt_len=8,
        precision="float32",
        evaluations=1,
    )
    return RecurrentSpec(
        hidden=8,
        embedding=8,
        training=training,
    )


def test_a_fit_leaves_a_bundle_that_opens(data: Path, tmp_path: Path) -> None:
    summary = run_job(job_of(data, tmp_path / "work", NGramSpec(order=2)), lambda news: None)
    assert summary["validation/perplexity"] > 1
    assert load_bundle(tmp_path / "work" / "bundle").spec == NGramSpec(order=2)


@pytest.mark.long
def test_equal_fits_give_equal_bundles(data: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        run_job(job_of(data, tmp_path / name, NGramSpec(order=2)), lambda news: None)
        digests.add(load_bundle(tmp_path / name / "bundle").digest)
    assert len(digests) == 1


@pytest.mark.long
def test_a_fit_with_a_cluster_of_its_own_leaves_the_very_files(data: Path, tmp_path: Path) -> None:
    if not is_installed():
        pytest.skip(MISSING)
    digests = set()
    for name, cluster in (("one", None), ("two", "local")):
        run_job(
            job_of(data, tmp_path / name, NGramSpec(order=2), cluster=cluster), lambda news: None
        )
        digests.add(load_bundle(tmp_path / name / "bundle").digest)
    assert len(digests) == 1
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        path.name for path in (tmp_path / "one").iterdir()
    }


@pytest.mark.long
def test_a_model_error_comes_back_as_the_branch_it_belongs_to(data: Path, tmp_path: Path) -> None:
    training = TrainingSpec(
        learning_rate=1e30,
        clip=None,
        precision="float32",
        batch=2,
        bptt_len=8,
        epochs=50,
    )
    spec = RecurrentSpec(
        hidden=8,
        embedding=8,
        training=training,
    )
    with pytest.raises(Diverged):
        run_job(job_of(data, tmp_path / "work", spec), lambda news: None)


@pytest.mark.slow
def test_a_killed_fit_is_an_error_with_its_cause(data: Path, tmp_path: Path) -> None:
    def kill_at_first_news(news: FitProgress) -> None:
        for child in psutil.Process().children(recursive=True):
            if "reviewlm.tasks.fitting.fit_worker" in " ".join(child.cmdline()):
                child.kill()

    with pytest.raises(RankFailed, match="because memory ran out"):
        run_job(job_of(data, tmp_path / "work", long_fit()), kill_at_first_news)


@pytest.mark.long
def test_no_fit_outlives_the_process_that_wanted_it(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_bytes(pickle.dumps(job_of(data, tmp_path / "work", long_fit())))
    parent = subprocess.Popen(command("run_fit_of_file", file))
    worker = wait_for_worker(parent)
    parent.kill()
    parent.wait()
    assert psutil.wait_procs([worker], timeout=20)[1] == []


def wait_for_worker(parent: subprocess.Popen[bytes]) -> psutil.Process:
    def fits() -> list[psutil.Process]:
        family = psutil.Process(parent.pid).children(recursive=True)
        return [
            child
            for child in family
            if "reviewlm.tasks.fitting.fit_worker" in " ".join(child.cmdline())
        ]

    worker = until(fits, 60, pause=0.1)[0]
    time.sleep(1)
    return worker


def test_a_fits_process_has_the_given_threads() -> None:
    found = environment_of(3)

    assert found["OMP_NUM_THREADS"] == "3"
    assert found["MKL_NUM_THREADS"] == "3"


def test_the_allocator_of_a_fits_process_keeps_large_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)

    assert int(environment_of(3)["MALLOC_MMAP_THRESHOLD_"]) > 1 << 30


def test_the_users_setting_of_the_allocator_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")

    assert environment_of(3)["MALLOC_TRIM_THRESHOLD_"] == "1000"


def test_a_fits_process_keeps_few_operations_of_changing_shapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    assert int(environment_of(1)["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) < 1024
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "500")
    assert environment_of(1)["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "500"


def test_a_fit_on_a_gpu_has_cublas_repeat_its_sums_unless_the_user_says_how(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    assert "CUBLAS_WORKSPACE_CONFIG" not in environment_of(1, device="cpu")
    assert environment_of(1, device="cuda")["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    assert environment_of(1, device="cuda")["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.parametrize("kind", ["numpy", "rust"])
def test_an_allocation_that_fails_in_a_fit_is_out_of_memory(kind: str) -> None:
    class PanicException(BaseException):
        """As of a Rust library."""

    def run(job: object, report: object) -> dict[str, float]:
        if kind == "rust":
            raise PanicException("memory allocation of 99 bytes failed")
        np.zeros(1 << 60, dtype=np.uint8)
        return {}

    answer = answer_of(run, None, lambda news: None)
    assert isinstance(answer.error, ModelError)
    assert answer.error.kind == "memory"
    assert "batch" in str(answer.error)
