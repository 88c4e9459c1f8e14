"""What a job is described by: a node of a cluster must find everything that its processes read."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from reviewlm.models.classification.spec import RecurrentClassifierSpec
from reviewlm.models.specs import RecurrentSpec
from reviewlm.tasks.execution.code_version import WORKERS
from reviewlm.tasks.fitting.job import FIT, FIT_CLASSIFIER, ClassifierJob, FitJob, LanguageModelJob


def files(*names: str) -> dict[str, Any]:
    return {name: Path("/here") / name for name in names}


JOBS: list[FitJob] = [
    LanguageModelJob(
        spec=RecurrentSpec(
            name="lstm",
            hidden=8,
            embedding=8,
        ),
        **files("vocabulary", "train", "validation", "work"),
        **files("vectors", "init_weights"),
        facts={},
        parts=files("kn", "other"),
        gpus=(1,),
    ),
    ClassifierJob(
        spec=RecurrentClassifierSpec(labels=("bad", "good")),
        **files("vocabulary", "train", "validation", "work"),
        **files("vectors", "labels"),
        facts={"clean_digest": "0" * 16},
        parts=files("lstm"),
        label="mood",
        train_reviews=7,
    ),
]


def paths_in(value: Any) -> Iterator[Path]:
    """Yield each path in a value."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from paths_in(one)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.WORKER)
def test_each_path_of_a_job_but_its_work_folder_is_an_input(job: FitJob) -> None:
    values = {field.name: getattr(job, field.name) for field in fields(job)}
    del values["work"]

    assert set(paths_in(values)) == set(job.inputs)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.WORKER)
def test_a_job_can_be_moved_with_its_inputs(job: FitJob) -> None:
    moved = job.moved(Path("/there"), Path("/there/work"))

    assert moved.inputs == [Path("/there") / path.relative_to("/") for path in job.inputs]
    assert moved.work == Path("/there/work")
    assert moved.name == job.name


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.WORKER)
def test_a_job_is_read_as_it_was_written(job: FitJob) -> None:
    assert pickle.loads(pickle.dumps(job)) == job


def test_every_stage_that_fits_has_a_kind_of_job() -> None:
    assert {job.WORKER for job in JOBS} == {WORKERS[FIT], WORKERS[FIT_CLASSIFIER]}
