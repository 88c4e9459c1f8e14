"""A run of a deployment sends heartbeats, and says where its code is not that of the deployment."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from core.provenance import code_digest, git_commit
from core.services.heartbeat import FREQUENCY
from core.services.pools import deployed_code
from tasks import flow_run
from tasks.flow_run import OTHER_CODE, other_code

VERSION = "PREFECT__RUNTIME__DEPLOYMENT__VERSION"
"""By which Prefect lets tests set what `prefect.runtime.deployment.version` is."""


@pytest.mark.parametrize("made", ["", "9ca32a6d2e61", deployed_code(), f"{'0' * 12} {code_digest()[:12]}"])
def test_the_code_of_the_deployment_or_a_version_of_others_is_no_news(
    made: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A commit of other files changes nothing about the code."""
    monkeypatch.setenv(VERSION, made)
    assert other_code() == set()
    assert caplog.messages == []


def test_other_code_is_a_tag_and_a_warning_with_both_versions(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = f"{git_commit()[:12]} {'0' * 12}"
    monkeypatch.setenv(VERSION, made)
    assert other_code() == {OTHER_CODE}
    [said] = caplog.messages
    assert made in said
    assert deployed_code() in said


def test_a_run_without_a_deployment_has_nothing_to_compare() -> None:
    assert other_code() == set()


@pytest.mark.parametrize(
    ("flow", "work", "parameters"),
    [
        ("flows.server.fit_job.fit_job", "do_for_pool", {"job": "a-job"}),
        ("flows.generate.generate", "generate_reviews", {}),
        ("flows.upkeep.upkeep", "collect", {}),
    ],
)
def test_a_flow_without_an_mlflow_run_sends_heartbeats_before_it_works(
    flow: str, work: str, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others begin to send them when they open their MLflow run."""
    module, _, name = flow.rpartition(".")
    began: list[Any] = []

    def start(program: list[str]) -> SimpleNamespace:
        began.append(program[2])
        return SimpleNamespace(wait=lambda: 0)

    def done(*asked: Any, **settings: Any) -> SimpleNamespace:
        began.append(work)
        return SimpleNamespace(to_dict=dict)

    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "a-run")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    monkeypatch.setenv(FREQUENCY, "30")
    monkeypatch.setattr(flow_run, "_alive", {})
    monkeypatch.setattr(flow_run, "start_child", start)
    monkeypatch.setattr(f"{module}.{work}", done)
    getattr(importlib.import_module(module), name).fn(**parameters)
    assert began == ["a-run", work]
