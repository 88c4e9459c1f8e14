"""Requests in every form that OpenAI's schema allows mean the same, and mistakes are told in the words of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from reviewlm.serving.api.answers import as_event
from reviewlm.serving.api.app import create_app
from tests.serving.made_versions import MadeSource, made_versions, running
from tests.serving.served import answering, ask


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        answering(MadeSource(champion=1)) as (address, _),
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        yield client


def completed(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post(
        "/v1/completions",
        json={
            "prompt": "The",
            "max_tokens": 3,
            **body,
        },
    )


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["text"]
    return text


@pytest.mark.parametrize(
    "options",
    [
        None,
        {},
        {"include_usage": None},
        {"include_usage": False, "include_obfuscation": None},
        {"continuous_usage_stats": None},
    ],
)
def test_null_is_as_good_as_left_out_at_every_depth(client: httpx.Client, options: Any) -> None:
    answer = completed(client, stream=True, stream_options=options)
    assert answer.status_code == 200
    assert "usage" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 3.0},
        {"seed": 1.0},
        {"n": 1.0},
        {"stars": 5.0, "top_k": 0.0},
        {"logprobs": 2.0},
    ],
)
def test_a_whole_number_may_have_a_point(client: httpx.Client, body: dict[str, float]) -> None:
    whole = {name: int(value) for name, value in body.items()}
    assert text_of(completed(client, **body)) == text_of(completed(client, **whole))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("max_completion_tokens", "max_tokens"),
        ("messages", "prompt"),
        ("repeat_penalty", "repetition_penalty"),
        ("temprature", "temperature"),
    ],
)
def test_the_name_of_a_parameter_in_another_server_is_answered_with_ours(
    client: httpx.Client,
    theirs: str,
    ours: str,
) -> None:
    error = completed(client, **{theirs: 3}).json()["error"]
    assert (error["code"], error["param"]) == ("unknown_parameter", theirs)
    hint, _, _ = error["message"].partition("this request takes")
    assert ours in hint.replace(theirs, "")


def test_an_address_with_a_slash_at_its_end_leads_to_the_one_without(client: httpx.Client) -> None:
    body = {"prompt": "The", "max_tokens": 3}
    moved = client.post("/v1/completions/", json=body)
    assert (moved.status_code, moved.json()["error"]["code"]) == (307, "moved")
    followed = client.post("/v1/completions/", json=body, follow_redirects=True)
    assert followed.request.url.path == "/v1/completions"
    assert text_of(followed) == text_of(completed(client))


def test_a_proxy_is_not_left_by_a_slash_at_the_end() -> None:
    for path in ("/reviews/suggest/", "/suggest/"):
        with running(made_versions(MadeSource(champion=1), root_path="/reviews")) as versions:
            app = create_app(versions, versions.settings, versions.metrics, None)
            answer = ask(app, "POST", path, json={"prompt": "the"})
            assert (answer.status_code, answer.headers["location"]) == (307, "../suggest")


def test_tokens_may_have_a_point(client: httpx.Client) -> None:
    ids = client.post("/tokenize", json={"prompt": "The pizza"}).json()["tokens"]
    with_points = completed(client, prompt=[[float(token) for token in ids]])
    assert text_of(with_points) == text_of(completed(client, prompt=[ids]))


@pytest.mark.parametrize("body", [{"max_tokens": 3.5}, {"seed": 9.3e18}, {"n": True}])
def test_what_is_no_whole_number_is_refused(client: httpx.Client, body: dict[str, Any]) -> None:
    answer = completed(client, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(body)))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"n": True}, "n is true;"),
        ({"stream": "yes"}, 'stream is "yes"; it must be true or false'),
        ({"stop": [None]}, "stop is [null];"),
        ({"stream_options": []}, "stream_options is []; it must be an object"),
        ({"stream_options": {"every": True}}, "takes include_usage, include_obfuscation"),
        ({"tempratur": 1}, 'unknown parameter "tempratur"'),
    ],
)
def test_a_mistake_is_told_in_the_words_of_json(
    client: httpx.Client,
    body: dict[str, Any],
    words: str,
) -> None:
    message = completed(client, **body).json()["error"]["message"]
    assert words in message
    assert not {"None", "True", "False"} & set(message.replace(";", " ").split())


@pytest.mark.parametrize("line_break", ["\x85", "\u2028", "\u2029", "\x0b", "\x1c", "\r\n"])
def test_an_event_has_no_line_break_of_any_kind_but_its_end(line_break: str) -> None:
    event = as_event(json.dumps({"text": f"a{line_break}b"}, ensure_ascii=False).encode()).decode()
    assert len(event.rstrip("\n").splitlines()) == 1
    assert json.loads(event.removeprefix("data: "))["text"] == f"a{line_break}b"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"best_of": 2}, "best_of"),
        ({"n": 129}, "n"),
        ({"require": ["soup"]}, "require"),
        ({"beam": 2, "stop": ["."]}, "stop"),
    ],
)
def test_parameters_that_do_not_go_together_are_named(
    client: httpx.Client,
    body: dict[str, Any],
    param: str,
) -> None:
    error = completed(client, **body).json()["error"]
    assert (error["param"], error["code"]) == (param, "invalid_value")
