"""The OpenAPI description is true: generated requests get the answers it promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given

from reviewlm.core.config.section import MAX_TOKENS
from reviewlm.serving.api.answers import DirectRoute
from reviewlm.serving.api.app import create_app
from reviewlm.serving.api.request_schemas import MOST_TOKENS
from tests.examples import examples
from tests.serving.api.test_classify import MadeClassifiers
from tests.serving.engine.small_models import bundle_of
from tests.serving.made_versions import MadeSource, made_versions, running
from tests.serving.served import served

OPERATIONS = (
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /suggest",
    "POST /intervals",
    "POST /score",
    "POST /classify",
    "POST /tokenize",
    "POST /detokenize",
    "GET /tokenizer_info",
    "GET /v1/models",
    "GET /v1/models/{model}",
    "GET /models/card",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
)
LEFT_OUT: dict[str, str] = {}
"""Described operations that are not tried with generated requests, each with the reason."""


WHOLE = {
    "type": ["integer", "null"],
    "minimum": 0,
    "description": "",
}


@contextmanager
def application(**settings: Any) -> Iterator[Any]:
    """An application with a language model of every shape of answers (a mixture), and a classifier."""
    source = MadeSource(champion=1, challenger=2)
    source.make = lambda number: replace(bundle_of("mixture"), digest=f"{number:064d}")
    versions = made_versions(source, hosts=("testserver",), **settings)
    with running(versions), running(made_versions(MadeClassifiers(champion=1))) as classifiers:
        yield create_app(
            versions,
            versions.settings,
            versions.metrics,
            None,
            classifiers,
        )


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        application() as app,
        served(app) as address,
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        yield client


def test_every_described_operation_is_tried_or_left_out_for_a_reason(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    described = {
        f"{method.upper()} {path}" for path, methods in paths.items() for method in methods
    }
    assert described == {*OPERATIONS, *LEFT_OUT}
    assert all(LEFT_OUT.values())


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_generated_request_is_answered_as_the_description_says(operation: str) -> None:
    import schemathesis  # takes a second to import
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi import checks

    every = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.negative_data_rejection,
    ]
    with application() as app:
        described = schemathesis.openapi.from_asgi("/openapi.json", app)
        method, path = operation.split()
        modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        for mode in modes if method == "POST" else modes[:1]:

            @given(case=described[path][method].as_strategy(generation_mode=mode))
            @examples(400)
            def answered(case: schemathesis.Case) -> None:
                case.call_and_validate(checks=every)

            answered()


def test_every_parameter_is_described(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()["paths"]
    for methods in described.values():
        for operation in methods.values():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for name, kind in body.get("schema", {}).get("properties", {}).items():
                assert kind["description"], name
                assert not any("anyOf" in one for one in kind.get("anyOf", ())), name
                assert "le" not in kind, name


def test_parameters_have_the_limits_that_hold(client: httpx.Client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/v1/completions"]["post"]
    kinds = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    said = {name: {**kinds[name], "description": ""} for name in ("max_tokens", "stars", "echo")}
    assert said == {
        "max_tokens": {
            **WHOLE,
            "maximum": MOST_TOKENS,
            "default": MAX_TOKENS,
        },
        "stars": {**WHOLE, "maximum": 5},
        "echo": {
            "type": ["boolean", "null"],
            "default": False,
            "description": "",
        },
    }


def test_every_example_of_the_description_is_answered(client: httpx.Client) -> None:
    tried = 0
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            address = path.format(**operation.get("x-example", {}))
            answer = client.request(method, address, json=body.get("example"))
            assert answer.status_code == 200, (address, answer.text)
            tried += 1
    assert tried == len(OPERATIONS)


def test_functions_that_take_only_the_request_are_called_without_fastapi_s_steps() -> None:
    with application() as door:
        routes = [route for route in door.app.routes if isinstance(route, DirectRoute)]
        assert {route.path for route in routes} == {
            "/v1/completions",
            "/v1/embeddings",
            "/suggest",
            "/intervals",
            "/score",
            "/classify",
        }
        assert all(route.get_route_handler() is route.endpoint for route in routes)
