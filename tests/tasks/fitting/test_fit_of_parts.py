"""A fit of a model that is made of others: when the store still has it, and which bundles it is made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import reviewlm.tasks.fitting.fit
from reviewlm.core.config.presets import parse_config
from reviewlm.models.specs import MixtureSpec, NGramSpec
from reviewlm.tasks.fitting.fit import bundle_digest, fit
from reviewlm.tasks.fitting.job import Fitted, LanguageModelJob

KN, LSTM_LIKE = NGramSpec(name="kn"), NGramSpec(name="other", order=2)
MIX = MixtureSpec(name="mix", parts=("kn", "other"))


@pytest.fixture
def fit_all(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[dict[str, Fitted], list[Any]]]:
    """Fit two models and a mixture of them; bundles hold a number that is different after every fit."""
    jobs: list[LanguageModelJob] = []
    number = count()

    def run_job(job: LanguageModelJob, report: Any) -> dict[str, float]:
        jobs.append(job)
        job.bundle.mkdir()
        (job.bundle / "spec.json").write_text(json.dumps({"number": next(number)}))
        return {}

    run = SimpleNamespace(
        complete=lambda *args: None,
        follow=lambda *args: None,
        link="",
        run_id="run",
    )
    monkeypatch.setattr(reviewlm.tasks.fitting.fit, "run_job", run_job)
    monkeypatch.setattr(
        reviewlm.tasks.fitting.fit, "open_model_run", lambda *args: nullcontext(run)
    )
    monkeypatch.setattr(
        reviewlm.tasks.fitting.fit, "result_as_task_state", lambda built, value: value
    )
    stream = SimpleNamespace(digest="data", folder=own_home)
    prepared = SimpleNamespace(
        tokens={"word": {"train": stream, "validation": stream}},
        vocabularies={"word": stream},
        clean=stream,
    )

    def all_of(**execution: Any) -> tuple[dict[str, Fitted], list[Any]]:
        config = parse_config({"execution": {"device": "cpu", **execution}})
        jobs.clear()
        fitted: dict[str, Fitted] = {}
        for spec in (KN, LSTM_LIKE, MIX):
            parts = {name: fitted[name] for name in getattr(spec, "parts", ())}
            fitted[spec.name] = fit.fn(
                config,
                spec,
                prepared,
                "parent",
                parts,
            )
        return fitted, list(jobs)

    return all_of


def test_the_same_parts_are_not_mixed_again(fit_all: Any) -> None:
    assert len(fit_all()[1]) == 3
    fitted, jobs = fit_all()
    assert jobs == []
    assert all(one.reused for one in fitted.values())


def test_rebuilt_parts_are_mixed_anew(fit_all: Any) -> None:
    before, _ = fit_all()
    digests = {name: bundle_digest(one.bundle) for name, one in before.items()}
    fitted, jobs = fit_all(rebuild=["fit"])
    assert [job.spec.name for job in jobs] == ["kn", "other", "mix"]
    found = {name: bundle_digest(fitted[name].bundle) for name in ("kn", "other")}
    assert not set(found.values()) & set(digests.values())
    assert jobs[2].parts == {name: fitted[name].bundle for name in ("kn", "other")}
    assert fitted["mix"].artifact.digest != before["mix"].artifact.digest
