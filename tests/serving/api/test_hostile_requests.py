"""Whatever a request holds: its answer is a 4xx in OpenAI's shape that names what is wrong, and the server goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.serving.api.hostile_requests import (
    ADDRESSES,
    COMPLETIONS,
    CONTENT_TYPES,
    EMBEDDINGS,
    NO_ADDRESS,
    NO_METHOD,
    PAGE,
    SCORE,
    SUGGEST,
    UNKNOWN_MODELS,
    WRONG_BODIES,
    WRONG_VALUES,
    page,
)
from tests.serving.made_versions import MadeSource
from tests.serving.served import answering


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with answering(MadeSource(champion=1)) as (address, _), httpx.Client(base_url=address, timeout=30) as client:
        yield client


def check_refused(answer: httpx.Response, status: int, said: str) -> None:
    assert answer.status_code == status, answer.text[:300]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert said in error["message"]
    assert len(error["message"]) < 700
    assert error["type"] == "invalid_request_error"
    assert "Traceback" not in answer.text


def test_there_are_many_of_them() -> None:
    assert len(WRONG_VALUES) + len(WRONG_BODIES) >= 110


@pytest.mark.parametrize(("path", "body", "said"), WRONG_VALUES, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_named(client: httpx.Client, path: str, body: dict[str, object], said: str) -> None:
    check_refused(client.post(path, json=body), 400, said)


@pytest.mark.parametrize(("body", "status", "said"), WRONG_BODIES, ids=lambda value: str(value)[:30])
def test_a_body_that_is_no_json_object_is_refused(client: httpx.Client, body: bytes, status: int, said: str) -> None:
    check_refused(client.post(COMPLETIONS, content=body, headers={"content-type": "application/json"}), status, said)


@pytest.mark.parametrize("name", UNKNOWN_MODELS)
@pytest.mark.parametrize("path", [COMPLETIONS, SUGGEST, SCORE, EMBEDDINGS])
def test_an_unknown_model_is_not_found(client: httpx.Client, path: str, name: str) -> None:
    body = {{SCORE: "texts", EMBEDDINGS: "input"}.get(path, "prompt"): "a"}
    check_refused(client.post(path, json={**body, "model": name}), 404, "does not exist; there are reviewlm@champion")


@pytest.mark.parametrize("kind", CONTENT_TYPES)
def test_another_content_type_is_refused(client: httpx.Client, kind: str | None) -> None:
    headers = [] if kind is None else [(b"content-type", kind.encode())]
    answer = client.send(httpx.Request("POST", client.base_url.join(COMPLETIONS), content=b"{}", headers=headers))
    check_refused(answer, 415, "it must be application/json")


@pytest.mark.parametrize(("method", "path", "refusal"), ADDRESSES)
def test_other_addresses_and_methods_are_refused(
    client: httpx.Client, method: str, path: str, refusal: tuple[int, str]
) -> None:
    answer = client.request(method, path)
    check_refused(answer, *refusal)
    codes = {NO_ADDRESS: "not_found", NO_METHOD: "method_not_allowed"}
    assert answer.json()["error"]["code"] == codes.get(refusal, answer.json()["error"]["code"])
    assert (refusal == NO_METHOD) == ("allow" in answer.headers)


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
def test_the_head_of_a_page_and_of_probes_is_that_of_their_answers_without_a_body(
    client: httpx.Client, path: str
) -> None:
    whole, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "content-security-policy"):
        assert head.headers[name] == whole.headers[name]
    assert client.get(path).content == whole.content  # on the same connection


def test_the_page_of_the_documentation_lists_them_with_their_answers(client: httpx.Client) -> None:
    """If it fails: `python tests/serving/api/hostile_requests.py`."""
    assert PAGE.read_text(encoding="utf-8") == page(client)


def test_the_server_has_not_failed_once_and_still_answers(client: httpx.Client) -> None:
    answer = client.post(COMPLETIONS, json={"prompt": "The", "max_tokens": 3})
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["text"]
    figures = client.get("/metrics").text
    assert 'status="5' not in figures
    assert json.loads(client.get("/readyz").text)["status"] == "ready"
