"""Health, readiness and metrics tell the truth, also about what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from reviewlm.core.errors import BundleError
from reviewlm.serving.api.app import create_app
from tests.serving.made_versions import MadeSource, made_versions, running
from tests.serving.served import ask


def figure(app: object, name: str) -> float:
    """The figure of a line of `/metrics`."""
    lines = ask(app, "GET", "/metrics").text.splitlines()
    return next(
        (float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), math.nan
    )


@pytest.fixture
def refusing_app() -> Iterator[Any]:
    """A server whose registry has a new champion that cannot be opened."""
    source = MadeSource(champion=1, challenger=2)
    with running(made_versions(source)) as versions:
        app = create_app(versions, versions.settings, versions.metrics, None)
        source.count = 3
        source.aliases["champion"] = 3
        source.broken = {3: BundleError("its files are damaged")}
        versions.look()
        yield app


def test_a_server_is_ready_with_its_champion(refusing_app: Any) -> None:
    told = ask(refusing_app, "GET", "/readyz")
    assert told.status_code == 200
    assert told.json() | {"since": "", "refused": []} == {
        "status": "ready",
        "champion": "reviewlm/1",
        "since": "",
        "open": ["reviewlm/1"],
        "refused": [],
        "registry": "ok",
        "classifier": None,
    }
    assert figure(refusing_app, 'reviewlm_champion_version{model="reviewlm"}') == 1


def test_a_server_names_the_version_that_it_refused(refusing_app: Any) -> None:
    (refused,) = ask(refusing_app, "GET", "/readyz").json()["refused"]
    assert (refused["version"], refused["why"]) == ("reviewlm/3", "its files are damaged")
    assert figure(refusing_app, 'reviewlm_versions_total{event="refused"}') == 1


def test_a_request_for_a_version_that_was_refused_is_told_why(refusing_app: Any) -> None:
    body = {"prompt": "The", "model": "reviewlm/3"}
    failed = ask(refusing_app, "POST", "/suggest", json=body)
    assert failed.status_code == 503
    assert failed.json()["error"]["message"] == "reviewlm/3 was refused: its files are damaged"


def test_a_champion_deleted_in_the_registry_answers_every_address() -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        app = create_app(versions, versions.settings, versions.metrics, None)
        source.aliases, source.count = {}, 0
        versions.look()
        ready = ask(app, "GET", "/readyz")
        assert (ready.status_code, ready.json()["champion"]) == (200, "reviewlm/1")
        assert ready.json()["registry"] != "ok"
        assert ask(app, "POST", "/suggest", json={"prompt": "The"}).status_code == 200
        listed = ask(app, "GET", "/v1/models").json()["data"]
        assert [one["id"] for one in listed] == ["reviewlm@champion", "reviewlm/1"]
        card = ask(app, "GET", "/models/card")
        assert card.status_code == 200
        assert card.json()["verdict"].startswith("not known")
