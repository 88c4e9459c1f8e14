"""A fit by two processes under the real flow, as `reviewlm run --set execution.ranks=2` starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import reviewlm.tasks.fitting.fit
from reviewlm.models.bundles.bundle import load_bundle
from reviewlm.tasks.fitting.fit_process import run_job
from reviewlm.tasks.fitting.job import LanguageModelJob

pytestmark = pytest.mark.long
PRESET = str(Path(__file__).with_name("killed.toml"))


def test_ranks_are_an_option_of_the_execution_alone(
    prefect_server: None,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from reviewlm.flows.retrain import retrain

    jobs: list[LanguageModelJob] = []

    def watched(job: LanguageModelJob, report: Any) -> dict[str, float]:
        jobs.append(job)
        return run_job(job, report)

    monkeypatch.setattr(reviewlm.tasks.fitting.fit, "run_job", watched)
    retrain(PRESET, overrides=["execution.ranks=2", "execution.threads=2"], until="train")
    assert {job.spec.name: (job.ranks, job.threads) for job in jobs} == {
        "kn2": (1, 2),
        "lstm": (2, 1),
    }
    bundles = [
        load_bundle(file.parent).spec.name for file in own_home.glob("store/fit/*/bundle/spec.json")
    ]
    assert sorted(bundles) == ["kn2", "lstm"]
    retrain(PRESET, until="train")
    assert len(jobs) == 2  # both were in the store
