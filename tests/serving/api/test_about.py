"""Health, readiness and metrics tell the truth, also about what goes wrong."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import httpx
import pytest

from core.errors import BundleError, TrackingUnavailable
from serving.api.app import create_app
from serving.versions.versions import Versions
from tests.serving.made_versions import MadeSource, made_versions, running


def ask(app: object, method: str, path: str, **options: object) -> httpx.Response:
    async def one() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.request(method, path, **options)

    return asyncio.run(one())


@pytest.fixture
def source() -> MadeSource:
    return MadeSource(champion=1, challenger=2)


@pytest.fixture
def versions(source: MadeSource) -> Iterator[Versions]:
    with running(made_versions(source)) as versions:
        yield versions


@pytest.fixture
def app(versions: Versions) -> object:
    return create_app(versions, versions.settings, versions.metrics, None)


def figure(app: object, name: str) -> float:
    """The figure of a line of `/metrics`."""
    lines = ask(app, "GET", "/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), math.nan)


def test_a_server_is_ready_with_its_champion_and_names_what_it_refused(
    app: object, source: MadeSource, versions: Versions
) -> None:
    source.count, source.aliases["champion"], source.broken = 3, 3, {3: BundleError("its files are damaged")}
    versions.look()
    told = ask(app, "GET", "/readyz")
    assert told.status_code == 200
    assert told.json() | {"since": "", "refused": []} == {
        "status": "ready", "champion": "reviewlm/1", "since": "", "open": ["reviewlm/1"], "refused": [],
        "registry": "ok", "classifier": None,
    }  # fmt: skip
    (refused,) = told.json()["refused"]
    assert (refused["version"], refused["why"]) == ("reviewlm/3", "its files are damaged")
    assert figure(app, 'reviewlm_champion_version{model="reviewlm"}') == 1
    assert figure(app, 'reviewlm_versions_total{event="refused"}') == 1
    failed = ask(app, "POST", "/suggest", json={"prompt": "The", "model": "reviewlm/3"})
    assert failed.status_code == 503
    assert failed.json()["error"]["message"] == "reviewlm/3 was refused: its files are damaged"


def test_an_unreachable_registry_is_told_and_leaves_the_server_ready(
    app: object, source: MadeSource, versions: Versions
) -> None:
    source.unreachable = TrackingUnavailable("MLflow does not answer")
    versions.look()
    told = ask(app, "GET", "/readyz")
    assert (told.status_code, told.json()["registry"]) == (200, "MLflow does not answer")
    assert figure(app, "reviewlm_registry_reachable") == 0


def test_a_server_that_is_being_ended_is_not_ready_but_alive_and_still_answers(app: object, versions: Versions) -> None:
    versions.drain()
    told = ask(app, "GET", "/readyz")
    assert (told.status_code, told.json()["status"]) == (503, "ending")
    assert ask(app, "GET", "/healthz").status_code == 200
    assert ask(app, "POST", "/suggest", json={"prompt": "The"}).status_code == 200


def test_an_engine_that_has_ended_is_no_health(
    app: object, versions: Versions, caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(app, "GET", "/healthz").json() == {"status": "ok"}
    versions.champion.engine.close(5)
    told = ask(app, "GET", "/healthz")
    assert (told.status_code, told.json()["error"]["code"]) == (503, "engine_ended")
    assert "restart the server" in told.text
    assert "reviewlm" not in told.text  # strangers ask, too
    assert "the engine of reviewlm/1 has ended" in caplog.text
    assert ask(app, "GET", "/readyz").status_code == 503
    assert ask(app, "POST", "/v1/completions", json={}).status_code == 503


def test_requests_are_counted_by_route_and_status(app: object) -> None:
    ask(app, "POST", "/suggest", json={"prompt": "The"})
    ask(app, "POST", "/suggest", json={"prompt": 3})
    ask(app, "GET", "/v1/models/gpt-4")
    ask(app, "GET", "/nothing")
    assert figure(app, 'reviewlm_requests_total{route="/suggest",status="200"}') == 1
    assert figure(app, 'reviewlm_requests_total{route="/suggest",status="400"}') == 1
    assert figure(app, 'reviewlm_requests_total{route="/v1/models/{model:path}",status="404"}') == 1
    assert figure(app, 'reviewlm_requests_total{route="other",status="404"}') == 1
    assert figure(app, 'reviewlm_request_seconds_count{route="/suggest"}') == 2
    assert figure(app, 'reviewlm_refused_total{code="invalid_value"}') == 1


def test_the_description_of_the_interface_names_every_parameter_with_its_default(app: object) -> None:
    told = ask(app, "GET", "/openapi.json").json()
    assert set(told["paths"]) == {
        "/v1/completions", "/v1/embeddings", "/suggest", "/intervals", "/score", "/classify", "/tokenize",
        "/detokenize", "/tokenizer_info", "/v1/models",
        "/v1/models/{model}", "/healthz", "/readyz", "/metrics", "/models/card",
    }  # fmt: skip
    body = told["paths"]["/v1/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["temperature"]["default"] == 0.8
    assert body["additionalProperties"] is False
    assert all(prop.get("description") for prop in body["properties"].values())
