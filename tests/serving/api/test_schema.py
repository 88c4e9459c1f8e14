"""The OpenAPI description is true: generated requests get the answers it promises, and answers hold what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from pydantic import BaseModel

from core.config.sections.execution import ServingConfig
from serving.api import answer_schemas
from serving.api.app import create_app
from serving.metrics import Metrics
from serving.versions.versions import Versions
from tests.examples import examples
from tests.serving.api.test_classify import MadeClassifiers
from tests.serving.engine.small_models import bundle_of
from tests.serving.made_versions import MadeSource, made_versions, running
from tests.serving.served import served

OPERATIONS = (
    "POST /v1/completions", "POST /v1/embeddings", "POST /suggest", "POST /intervals", "POST /score", "POST /classify",
    "POST /tokenize", "POST /detokenize", "GET /tokenizer_info", "GET /v1/models", "GET /v1/models/{model}",
    "GET /models/card", "GET /healthz", "GET /readyz", "GET /metrics",
)  # fmt: skip
LEFT_OUT: dict[str, str] = {}
"""Described operations that are not tried with generated requests, each with the reason."""


@contextmanager
def application(**settings: Any) -> Iterator[Any]:
    """An application with a language model of every shape of answers (a mixture), and a classifier."""
    source = MadeSource(champion=1, challenger=2)
    source.make = lambda number: replace(bundle_of("mixture"), digest=f"{number:064d}")
    versions = made_versions(source, hosts=("testserver",), **settings)
    classifiers = Versions(MadeClassifiers(champion=1), ServingConfig(poll_seconds=3_600), Metrics())
    with running(versions), running(classifiers):
        yield create_app(versions, versions.settings, versions.metrics, None, classifiers)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with application() as app, served(app) as address, httpx.Client(base_url=address, timeout=30) as client:
        yield client


def test_every_described_operation_is_tried_or_left_out_for_a_reason(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    described = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert described == {*OPERATIONS, *LEFT_OUT}
    assert all(LEFT_OUT.values())


ANSWERS: list[tuple[str, dict[str, Any] | None, type[BaseModel]]] = [
    ("/v1/completions", {"prompt": ["The", "We"], "n": 2, "max_tokens": 4}, answer_schemas.CompletionAnswer),
    ("/v1/completions", {"prompt": "The soup", "echo": True, "logprobs": 2, "max_tokens": 3},
     answer_schemas.CompletionAnswer),
    ("/v1/completions", {"prompt": "вкусно", "beam": 2, "n": 2, "max_tokens": 3}, answer_schemas.CompletionAnswer),
    ("/v1/embeddings", {"input": ["The soup", ""]}, answer_schemas.EmbeddingAnswer),
    ("/v1/embeddings", {"input": "The soup", "encoding_format": "base64"}, answer_schemas.EmbeddingAnswer),
    ("/suggest", {"prompt": "the soup wa"}, answer_schemas.SuggestAnswer),
    ("/suggest", {"prompt": "", "stars": 5, "both": False}, answer_schemas.SuggestAnswer),
    ("/intervals", {"prompt": "the soup", "smallest": 0.1}, answer_schemas.IntervalsAnswer),
    ("/score", {"texts": ["The soup was zxqv.", ""]}, answer_schemas.ScoreAnswer),
    ("/score", {"texts": "The soup", "stars": 3, "attribution": True}, answer_schemas.ScoreAnswer),
    ("/score", {"texts": ["The soup", ""], "alternatives": 3}, answer_schemas.ScoreAnswer),
    ("/classify", {"texts": ["The food was great.", ""]}, answer_schemas.ClassifyAnswer),
    ("/v1/completions", {"prompt": [[1, 9, 0], [10]], "echo": True, "logprobs": 2, "max_tokens": 1},
     answer_schemas.CompletionAnswer),
    ("/tokenize", {"prompt": "The soup"}, answer_schemas.TokenizeAnswer),
    ("/tokenizer_info", None, answer_schemas.TokenizerAnswer),
    ("/detokenize", {"tokens": [1, 9, 10, 2]}, answer_schemas.DetokenizeAnswer),
    ("/v1/models/", None, answer_schemas.ModelsAnswer), ("/v1/models", None, answer_schemas.ModelsAnswer),
    ("/v1/models/champion", None, answer_schemas.ModelAnswer),
    ("/models/card", None, answer_schemas.CardAnswer), ("/healthz", None, answer_schemas.HealthAnswer),
    ("/readyz", None, answer_schemas.ReadyAnswer),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "model"), ANSWERS, ids=lambda value: str(value)[:40])
def test_an_answer_holds_what_is_described_and_nothing_else(
    client: httpx.Client, path: str, body: dict[str, Any] | None, model: type[BaseModel]
) -> None:
    answer = client.get(path) if body is None else client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    model.model_validate_json(answer.content)


@pytest.mark.parametrize("options", [{}, {"logprobs": 1, "echo": True}, {"stream_options": {"include_usage": True}}])
def test_the_events_of_a_stream_hold_what_is_described(client: httpx.Client, options: dict[str, Any]) -> None:
    body = {"prompt": "вкусно", "max_tokens": 5, "stream": True, "n": 2, **options}
    lines = client.post("/v1/completions", json=body).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    for event in events:
        answer_schemas.CompletionEvent.model_validate_json(json.dumps(event))
    described = client.get("/openapi.json").json()["paths"]["/v1/completions"]["post"]["responses"]["200"]
    said = described["content"]["text/event-stream"]["schema"]["description"]
    assert all(name in said for event in events for name in event)


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_generated_request_is_answered_as_the_description_says(operation: str) -> None:
    import schemathesis  # takes a second to import
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi import checks

    every = [
        not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
        checks.response_schema_conformance, checks.negative_data_rejection,
    ]  # fmt: skip
    with application(max_tokens=8) as app:
        described = schemathesis.openapi.from_asgi("/openapi.json", app)
        method, path = operation.split()
        modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        for mode in modes if method == "POST" else modes[:1]:

            @given(case=described[path][method].as_strategy(generation_mode=mode))
            @examples(400)
            def answered(case: schemathesis.Case) -> None:
                case.call_and_validate(checks=every)

            answered()
