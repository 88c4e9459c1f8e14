"""Fits whose processes are forked from one: the very models, the same errors, and none is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from reviewlm.core.errors import RankFailed
from reviewlm.core.processes.forks import can_fork
from reviewlm.models.bundles.bundle import load_bundle
from reviewlm.models.specs import NGramSpec
from reviewlm.tasks.fitting.fit_process import environment_of, interruptible_fits, run_job
from reviewlm.training.context import FitProgress
from tests.tasks.fitting.small_jobs import job_of, network
from tests.tasks.fitting.test_fit_process import long_fit

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system cannot fork")


def fits() -> list[psutil.Process]:
    """Return the processes of fits, each of which has the name of its model."""
    family = psutil.Process().children(recursive=True)
    return [process for process in family if process.name().startswith("fit ")]


@pytest.mark.slow
@pytest.mark.parametrize("spec", [NGramSpec(order=2), network()])
def test_a_forked_fit_leaves_the_very_bundle_of_one_that_is_started(
    data: Path,
    tmp_path: Path,
    spec: Any,
) -> None:
    run_job(job_of(data, tmp_path / "started", spec), lambda news: None)
    with interruptible_fits():
        run_job(job_of(data, tmp_path / "forked", spec), lambda news: None)
    started, forked = (load_bundle(tmp_path / name / "bundle") for name in ("started", "forked"))
    assert started.digest == forked.digest


@pytest.mark.slow
def test_a_forked_fit_that_is_killed_is_an_error_and_the_next_one_runs(
    data: Path, tmp_path: Path
) -> None:
    parents = []

    def kill_at_first_news(news: FitProgress) -> None:
        for process in fits():
            parents.append(process.ppid())
            process.kill()

    with interruptible_fits():
        with pytest.raises(RankFailed, match="because memory ran out"):
            run_job(job_of(data, tmp_path / "killed", long_fit()), kill_at_first_news)
        with pytest.raises(RankFailed, match="because memory ran out"):
            run_job(job_of(data, tmp_path / "again", long_fit()), kill_at_first_news)
        server = psutil.Process(parents[0])
        assert set(parents) == {server.pid}
    assert not server.is_running()


def test_a_forked_fit_has_the_given_threads(data: Path, tmp_path: Path) -> None:
    found = []

    def look(news: FitProgress) -> None:
        for process in fits():
            found.append(process.environ()["OMP_NUM_THREADS"])
            process.kill()

    job = job_of(data, tmp_path / "work", long_fit(), threads=3)
    with interruptible_fits(), pytest.raises(RankFailed):
        run_job(job, look)
    assert set(found) == {environment_of(3)["OMP_NUM_THREADS"]}


def test_a_fit_with_others_or_a_gpu_or_a_cluster_is_not_forked(data: Path, tmp_path: Path) -> None:
    job = job_of(data, tmp_path / "work", NGramSpec(order=2))
    assert job.may_be_forked
    assert not replace(job, ranks=2).may_be_forked
    assert not replace(job, device="cuda").may_be_forked
    assert not replace(job, cluster="local").may_be_forked
