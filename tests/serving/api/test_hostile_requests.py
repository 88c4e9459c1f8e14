"""Whatever a request holds: its answer is a 4xx in OpenAI's shape that names what is wrong, and the server goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.serving.made_versions import MadeSource
from tests.serving.served import answering

COMPLETIONS, SUGGEST, SCORE, INTERVALS = "/v1/completions", "/suggest", "/score", "/intervals"
EMBEDDINGS, TOKENIZE, DETOKENIZE = "/v1/embeddings", "/tokenize", "/detokenize"
LONG = "x" * 20_001


def nested(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return value


WRONG: dict[str, dict[str, list[object]]] = {
    COMPLETIONS: {
        "prompt": [
            3,
            True,
            {},
            [],
            [1, 2, 3],
            [9, 1],
            [[9], [-1]],
            [10**9],
            [2**70],
            [9, True],
            [9, 1.5],
            [9] * 20_001,
            ["a", None],
            nested(500),
            LONG,
            ["a", LONG],
        ],
        "n": [0, -1, 1.5, "2", True, 10**9, 10**18],
        "max_tokens": [-5, 4_097, "many", [5]],
        "temperature": [-0.1, "hot", 1e300, {}, False],
        "top_p": [0, 1.01, -1, "all"],
        "top_k": [-1, 2.5, 2**40],
        "min_p": [2, -0.5],
        "typical_p": [0],
        "repetition_penalty": [0, -1],
        "no_repeat_ngram_size": [-1],
        "seed": [2**63, -(2**63) - 1, 0.5, "x"],
        "stars": [6, -1, 4.5, "five", [5]],
        "stop": [["x"] * 10_000, "", ["a", ""], 5, [["a"]], LONG],
        "logprobs": [-1, 21, True, 10**12],
        "watermark": [3, ["key"]],
        "echo": ["yes", 1],
        "stream": ["true", 1],
        "stream_options": [[]],
        "beam": [-1, 101],
        "require": [["good"]],
        "best_of": [3],
        "frequency_penalty": [0.5],
        "presence_penalty": [-2],
        "logit_bias": [{"50256": -100}, [[50256, -100]]],
        "suffix": ["end"],
        "tempratur": [1],
        "__proto__": [{}],
        "x" * 10_000: [1],
        "user": [3],
        "model": [3],
    },
    SUGGEST: {
        "prompt": [None, ["the"], LONG],
        "k": [0, 101, "5"],
        "stars": [9],
        "temperature": [1],
    },
    INTERVALS: {
        "prompt": [None],
        "smallest": [0],
        "other": [1],
        "begun": ["c3"],
    },
    TOKENIZE: {"prompt": [None, ["the"], LONG]},
    DETOKENIZE: {"tokens": ["the", [9, 10**6], [2**70]]},
    SCORE: {
        "texts": [[], None, [1], ["a"] * 257, LONG],
        "stars": [7],
        "attribution": ["yes"],
        "alternatives": [-1, 21],
        "text": ["a"],
    },
    EMBEDDINGS: {
        "input": [None, [], [1, 2], nested(500), LONG, ["a"] * 257],
        "encoding_format": ["hex", 1],
        "dimensions": [8],
        "user": [3],
        "model": [3],
    },
}
"""By address and parameter, values that are refused."""
NEEDED: dict[str, dict[str, object]] = {
    SUGGEST: {"prompt": "the"},
    INTERVALS: {"prompt": "the"},
    SCORE: {"texts": "a"},
    EMBEDDINGS: {"input": "a"},
}
TOGETHER: list[tuple[str, dict[str, object], str]] = [
    (COMPLETIONS, {"prompt": [1, 5], "stars": 5}, "stars"),
    (COMPLETIONS, {"prompt": [9], "beam": 2}, "prompt"),
    (COMPLETIONS, {"prompt": ["a"] * 129}, "n"),
    (COMPLETIONS, {"prompt": ["a"] * 65, "n": 2}, "n"),
    (COMPLETIONS, {"watermark": "key", "beam": 2}, "watermark"),
    (COMPLETIONS, {"stream_options": {"usage": True}}, "stream_options.usage"),
    (COMPLETIONS, {"stream_options": {"include_usage": True}}, "stream_options"),
    (COMPLETIONS, {"stream_options": {}, "stream": False}, "stream_options"),
    (COMPLETIONS, {"beam": 2, "n": 3}, "n"),
    (COMPLETIONS, {"beam": 2, "stream": True}, "stream"),
    (COMPLETIONS, {"beam": 2, "max_tokens": 0}, "max_tokens"),
    (
        COMPLETIONS,
        {
            "prompt": "the",
            "beam": 2,
            "require": ["zxqv"],
        },
        "require",
    ),
    (
        COMPLETIONS,
        {
            "prompt": "the",
            "beam": 2,
            "require": ["?!"],
        },
        "require",
    ),
    (COMPLETIONS, {f"p{i}": i for i in range(1_000)}, "p0"),
    (
        INTERVALS,
        {
            "prompt": "the",
            "other": True,
            "begun": "41",
        },
        "begun",
    ),
    (SCORE, {"texts": ["x" * 11_000] * 2, "alternatives": 1}, "texts"),
    *[
        (path, {}, name)
        for path, name in ((SUGGEST, "prompt"), (TOKENIZE, "prompt"), (SCORE, "texts"))
    ],
]
WRONG_VALUES = TOGETHER + [
    (path, {**NEEDED.get(path, {}), name: value}, name)
    for path, wrong in WRONG.items()
    for name, values in wrong.items()
    for value in values
]

WRONG_BODIES: list[tuple[bytes, int, str]] = [
    (b"", 400, "not valid JSON"),
    (b"{", 400, "not valid JSON"),
    (b'{"prompt": "the"', 400, "not valid JSON"),
    (b'{"prompt": "the",}', 400, "not valid JSON"),
    (b"{'prompt': 'the'}", 400, "not valid JSON"),
    (b'{"prompt": "the"} {"prompt": "soup"}', 400, "not valid JSON"),
    (b'{"prompt": NaN}', 400, "not valid JSON"),
    (b'{"prompt": "the", "temperature": Infinity}', 400, "not valid JSON"),
    (b'{"prompt": "the", "temperature": -Infinity}', 400, "not valid JSON"),
    (b'{"prompt": "\xff\xfe"}', 400, "not valid UTF-8"),
    (b'{"prompt": "\xed\xa0\x80"}', 400, "not valid UTF-8"),
    (b'{"prompt": "\\ud800"}', 400, "not valid JSON"),
    (b'\xef\xbb\xbf{"prompt": "the"}', 400, "not valid JSON"),
    ('{"prompt": "the"}'.encode("utf-16"), 400, "not valid"),
    (b"[" * 100_000, 400, "not valid JSON"),
    (b'{"a":' * 50_000, 400, "not valid JSON"),
    (b"[]", 400, "the body must be a JSON object"),
    (b'"the"', 400, "the body must be a JSON object"),
    (b"null", 400, "the body must be a JSON object"),
    (b"3", 400, "the body must be a JSON object"),
    (b'{"max_tokens": 1e400}', 400, "number is infinity"),
    (b'{"max_tokens": ' + b"9" * 5_000 + b"}", 400, ""),
    (b"\x00" * 1_000, 400, "not valid JSON"),
    (b'{"prompt": "the", "n": 1, "n": 2}', 400, '"n" stands twice'),
    (b'{"prompt": "the", "pr\\u006fmpt": "soup"}', 400, '"prompt" stands twice'),
    (b'{"stream": true, "stream_options": {"a": 1, "a": 1}}', 400, '"a" stands twice'),
    (b'{"' + b"x" * 9_000 + b'": 1, "' + b"x" * 9_000 + b'": 1}', 400, "stands twice"),
    (b'{"prompt": "' + b"x" * 10_000_000 + b'"}', 413, "more than 1,000,000 bytes"),
]

UNKNOWN_MODELS = [
    "gpt-4",
    "reviewlm/9",
    "reviewlm@",
    "../../passwd",
    "models:/x@y",
    "\x00",
    "é" * 900,
]
CONTENT_TYPES = [
    None,
    "text/plain",
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "é",
]
NO_ADDRESS, NO_METHOD = (
    (404, "there is no such address"),
    (405, "it takes "),
)
ADDRESSES: list[tuple[str, str, tuple[int, str]]] = [
    ("GET", COMPLETIONS, NO_METHOD),
    ("PUT", SUGGEST, NO_METHOD),
    ("DELETE", SCORE, NO_METHOD),
    ("GET", EMBEDDINGS, NO_METHOD),
    ("POST", "/metrics", NO_METHOD),
    ("POST", "/", NO_METHOD),
    ("OPTIONS", COMPLETIONS, NO_METHOD),
    ("GET", "/page/nothing.js", (404, "the page has no file 'nothing.js'")),
    ("GET", "/page/..%2f..%2froutes.py", NO_ADDRESS),
    ("POST", "/v1/chat/completions", NO_ADDRESS),
    ("POST", "/v1/chat/completions/", NO_ADDRESS),
    ("POST", "/v1/completions//", NO_ADDRESS),
    ("POST", "/v1/", NO_ADDRESS),
    ("GET", "/v1/models/gpt-4", (404, 'the model "gpt-4" does not exist')),
    ("GET", "/%00", NO_ADDRESS),
    ("GET", "/..%2f..%2fetc/passwd", NO_ADDRESS),
    ("GET", "/redoc", NO_ADDRESS),
    ("GET", "/x" * 2_000, NO_ADDRESS),
]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        answering(MadeSource(champion=1)) as (address, _),
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        yield client


def check_refused(
    answer: httpx.Response,
    status: int,
    said: str,
) -> None:
    assert answer.status_code == status, answer.text[:300]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert said in error["message"]
    assert len(error["message"]) < 700
    assert error["type"] == "invalid_request_error"
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(("path", "body", "name"), WRONG_VALUES, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_named(
    client: httpx.Client,
    path: str,
    body: dict[str, object],
    name: str,
) -> None:
    answer = client.post(path, json=body)
    check_refused(answer, 400, name[:40])
    assert (answer.json()["error"]["param"] or name)[:40] == name[:40]


@pytest.mark.parametrize(
    ("body", "status", "said"), WRONG_BODIES, ids=lambda value: str(value)[:30]
)
def test_a_body_that_is_no_json_object_is_refused(
    client: httpx.Client,
    body: bytes,
    status: int,
    said: str,
) -> None:
    check_refused(
        client.post(COMPLETIONS, content=body, headers={"content-type": "application/json"}),
        status,
        said,
    )


@pytest.mark.parametrize("name", UNKNOWN_MODELS)
@pytest.mark.parametrize("path", [COMPLETIONS, SUGGEST, SCORE, EMBEDDINGS])
def test_an_unknown_model_is_not_found(
    client: httpx.Client,
    path: str,
    name: str,
) -> None:
    body = {{SCORE: "texts", EMBEDDINGS: "input"}.get(path, "prompt"): "a"}
    check_refused(
        client.post(path, json={**body, "model": name}),
        404,
        "does not exist; there are reviewlm@champion",
    )


@pytest.mark.parametrize("kind", CONTENT_TYPES)
def test_another_content_type_is_refused(client: httpx.Client, kind: str | None) -> None:
    headers = [] if kind is None else [(b"content-type", kind.encode())]
    answer = client.send(
        httpx.Request("POST", client.base_url.join(COMPLETIONS), content=b"{}", headers=headers)
    )
    check_refused(answer, 415, "it must be application/json")


@pytest.mark.parametrize(("method", "path", "refusal"), ADDRESSES)
def test_other_addresses_are_refused(
    client: httpx.Client,
    method: str,
    path: str,
    refusal: tuple[int, str],
) -> None:
    answer = client.request(method, path)
    check_refused(answer, *refusal)
    codes = {NO_ADDRESS: "not_found", NO_METHOD: "method_not_allowed"}
    assert answer.json()["error"]["code"] == codes.get(refusal, answer.json()["error"]["code"])
    assert (refusal == NO_METHOD) == ("allow" in answer.headers)


def test_the_server_still_answers(client: httpx.Client) -> None:
    answer = client.post(COMPLETIONS, json={"prompt": "The", "max_tokens": 3})
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["text"]
    assert json.loads(client.get("/readyz").text)["status"] == "ready"


def test_the_server_has_not_failed_once(client: httpx.Client) -> None:
    assert 'status="5' not in client.get("/metrics").text
