"""A run of a deployment says where its code is not that of the deployment."""

from __future__ import annotations

import pytest

from core.provenance import code_digest, git_commit
from core.services.pools import deployed_code
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
