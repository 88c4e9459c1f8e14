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


WRONG_VALUES: list[tuple[str, dict[str, object], str]] = [
    (COMPLETIONS, {"prompt": 3}, "prompt is 3; it must be a text, a list of tokens"),
    (COMPLETIONS, {"prompt": True}, "prompt is True"),
    (COMPLETIONS, {"prompt": {}}, "prompt is {}"),
    (COMPLETIONS, {"prompt": []}, "list of one or more of them"),
    (COMPLETIONS, {"prompt": [1, 2, 3]}, "prompt has <eos> at place 1"),
    (COMPLETIONS, {"prompt": [9, 1]}, "prompt has <bos> at place 1"),
    (COMPLETIONS, {"prompt": [[9], [-1]]}, "prompt has the token -1 at place 0"),
    (COMPLETIONS, {"prompt": [10**9]}, "prompt has the token 1000000000 at place 0"),
    (COMPLETIONS, {"prompt": [2**70]}, "prompt is"),
    (COMPLETIONS, {"prompt": [9, True]}, "prompt is [9, True]"),
    (COMPLETIONS, {"prompt": [9, 1.5]}, "prompt is [9, 1.5]"),
    (COMPLETIONS, {"prompt": [1, 5], "stars": 5}, "stars is 5, and prompt has <stars_2>"),
    (COMPLETIONS, {"prompt": [9] * 20_001}, "prompt has 20,001 tokens; it must have at most 20,000"),
    (COMPLETIONS, {"prompt": [9], "beam": 2}, "prompt must be a text with beam"),
    (COMPLETIONS, {"prompt": ["a", None]}, "prompt is ['a', None]"),
    (COMPLETIONS, {"prompt": nested(500)}, "prompt is"),
    (COMPLETIONS, {"prompt": LONG}, "prompt has 20,001 characters; it must have at most 20,000"),
    (COMPLETIONS, {"prompt": ["a", LONG]}, "20,001 characters"),
    (COMPLETIONS, {"prompt": ["a"] * 129}, "n asks for 129 texts in all; this server allows at most 128"),
    (COMPLETIONS, {"prompt": ["a"] * 65, "n": 2}, "n asks for 130 texts in all"),
    (COMPLETIONS, {"n": 0}, "n is 0; it must be at least 1"),
    (COMPLETIONS, {"n": -1}, "n is -1"),
    (COMPLETIONS, {"n": 1.5}, "n is 1.5; it must be a whole number"),
    (COMPLETIONS, {"n": "2"}, "n is '2'; it must be a whole number"),
    (COMPLETIONS, {"n": True}, "n is True"),
    (COMPLETIONS, {"n": 10**9}, "n asks for 1,000,000,000 texts in all"),
    (COMPLETIONS, {"n": 10**18}, "n is 1000000000000000000; it must be at least 1 and at most 2,147,483,647"),
    (COMPLETIONS, {"max_tokens": -5}, "max_tokens is -5"),
    (COMPLETIONS, {"max_tokens": 4_097}, "max_tokens is 4,097; this server allows at most 4,096"),
    (COMPLETIONS, {"max_tokens": "many"}, "max_tokens is 'many'"),
    (COMPLETIONS, {"max_tokens": [5]}, "max_tokens is [5]"),
    (COMPLETIONS, {"temperature": -0.1}, "temperature is -0.1; it must be 0 or more"),
    (COMPLETIONS, {"temperature": "hot"}, "temperature is 'hot'; it must be a number"),
    (COMPLETIONS, {"temperature": 1e300}, "temperature is 1e+300"),
    (COMPLETIONS, {"temperature": {}}, "temperature is {}"),
    (COMPLETIONS, {"temperature": False}, "temperature is False"),
    (COMPLETIONS, {"top_p": 0}, "top_p is 0; it must be above 0"),
    (COMPLETIONS, {"top_p": 1.01}, "top_p is 1.01"),
    (COMPLETIONS, {"top_p": -1}, "top_p is -1"),
    (COMPLETIONS, {"top_p": "all"}, "top_p is 'all'"),
    (COMPLETIONS, {"top_k": -1}, "top_k is -1"),
    (COMPLETIONS, {"top_k": 2.5}, "top_k is 2.5"),
    (COMPLETIONS, {"top_k": 2**40}, "top_k is 1099511627776"),
    (COMPLETIONS, {"min_p": 2}, "min_p is 2"),
    (COMPLETIONS, {"min_p": -0.5}, "min_p is -0.5"),
    (COMPLETIONS, {"typical_p": 0}, "typical_p is 0"),
    (COMPLETIONS, {"repetition_penalty": 0}, "repetition_penalty is 0"),
    (COMPLETIONS, {"repetition_penalty": -1}, "repetition_penalty is -1"),
    (COMPLETIONS, {"no_repeat_ngram_size": -1}, "no_repeat_ngram_size is -1"),
    (COMPLETIONS, {"seed": 2**63}, "seed is 9223372036854775808; it must be"),
    (COMPLETIONS, {"seed": -(2**63) - 1}, "seed is"),
    (COMPLETIONS, {"seed": 0.5}, "seed is 0.5"),
    (COMPLETIONS, {"seed": "x"}, "seed is 'x'"),
    (COMPLETIONS, {"stars": 6}, "stars is 6; it must be between 0 and 5"),
    (COMPLETIONS, {"stars": -1}, "stars is -1"),
    (COMPLETIONS, {"stars": 4.5}, "stars is 4.5"),
    (COMPLETIONS, {"stars": "five"}, "stars is 'five'"),
    (COMPLETIONS, {"stars": [5]}, "stars is [5]"),
    (COMPLETIONS, {"stop": ["x"] * 10_000}, "stop has 10,000 strings; this server allows at most 16"),
    (COMPLETIONS, {"stop": ""}, "stop holds an empty string"),
    (COMPLETIONS, {"stop": ["a", ""]}, "stop holds an empty string"),
    (COMPLETIONS, {"stop": 5}, "stop is 5"),
    (COMPLETIONS, {"stop": [["a"]]}, "stop is"),
    (COMPLETIONS, {"stop": LONG}, "stop has 20,001 characters"),
    (COMPLETIONS, {"logprobs": -1}, "logprobs is -1"),
    (COMPLETIONS, {"logprobs": 21}, "logprobs is 21; this server allows at most 20"),
    (COMPLETIONS, {"logprobs": True}, "logprobs is True"),
    (COMPLETIONS, {"logprobs": 10**12}, "logprobs is 1000000000000"),
    (COMPLETIONS, {"watermark": 3}, "watermark is 3; it must be text"),
    (COMPLETIONS, {"watermark": ["key"]}, "watermark is ['key']; it must be text"),
    (COMPLETIONS, {"watermark": "key", "beam": 2}, "watermark has no effect with beam"),
    (COMPLETIONS, {"echo": "yes"}, "echo is 'yes'; it must be true or false"),
    (COMPLETIONS, {"echo": 1}, "echo is 1"),
    (COMPLETIONS, {"stream": "true"}, "stream is 'true'"),
    (COMPLETIONS, {"stream": 1, "prompt": "x"}, "stream is 1"),
    (COMPLETIONS, {"stream": True, "n": 0}, "n is 0"),
    (COMPLETIONS, {"stream_options": []}, "stream_options is []"),
    (COMPLETIONS, {"stream_options": {"usage": True}}, "unknown parameter 'stream_options.usage'"),
    (COMPLETIONS, {"beam": -1}, "beam is -1"),
    (COMPLETIONS, {"beam": 101}, "beam is 101"),
    (COMPLETIONS, {"beam": 2, "n": 3}, "n is 3; with beam 2 it must be at most 2"),
    (COMPLETIONS, {"beam": 2, "stream": True}, "stream has no effect with beam"),
    (COMPLETIONS, {"require": ["good"]}, "require only takes effect with beam"),
    (COMPLETIONS, {"beam": 2, "require": "zxqv"}, "the model does not know the required word 'zxqv'"),
    (COMPLETIONS, {"beam": 2, "max_tokens": 0}, "max_tokens is 0"),
    (COMPLETIONS, {"best_of": 3}, "best_of is 3; it must equal n (1)"),
    (COMPLETIONS, {"frequency_penalty": 0.5}, "frequency_penalty is 0.5; it must be 0; use repetition_penalty"),
    (COMPLETIONS, {"presence_penalty": -2}, "presence_penalty is -2"),
    (COMPLETIONS, {"logit_bias": {"50256": -100}}, "logit_bias is {'50256': -100}; it must be empty"),
    (COMPLETIONS, {"logit_bias": [[50256, -100]]}, "use require with beam for words that a text must have"),
    (COMPLETIONS, {"suffix": "end"}, "unknown parameter 'suffix'"),
    (COMPLETIONS, {"tempratur": 1}, "unknown parameter 'tempratur'; this request takes model, prompt, max_tokens"),
    (COMPLETIONS, {"__proto__": {}}, "unknown parameter '__proto__'"),
    (COMPLETIONS, {"x" * 10_000: 1}, "unknown parameter 'xxx"),
    (COMPLETIONS, {f"p{i}": i for i in range(1_000)}, "unknown parameter 'p0'"),
    (COMPLETIONS, {"user": 3}, "user is 3"),
    (COMPLETIONS, {"model": 3}, "model is 3; it must be text"),
    (SUGGEST, {}, "prompt is missing"),
    (SUGGEST, {"prompt": None}, "prompt is None"),
    (SUGGEST, {"prompt": ["the"]}, "prompt is ['the']"),
    (SUGGEST, {"prompt": LONG}, "20,001 characters"),
    (SUGGEST, {"prompt": "the", "k": 0}, "k is 0; it must be between 1 and 100"),
    (SUGGEST, {"prompt": "the", "k": 101}, "k is 101"),
    (SUGGEST, {"prompt": "the", "k": "5"}, "k is '5'"),
    (SUGGEST, {"prompt": "the", "stars": 9}, "stars is 9"),
    (SUGGEST, {"prompt": "the", "temperature": 1}, "unknown parameter 'temperature'"),
    (INTERVALS, {}, "prompt is missing"),
    (INTERVALS, {"prompt": "the", "smallest": 0}, "smallest is 0; it must be at least 0.001"),
    (INTERVALS, {"prompt": "the", "other": 1}, "other is 1"),
    (INTERVALS, {"prompt": "the", "other": True, "begun": "41"}, "begun is '41'; it must be the first bytes"),
    (INTERVALS, {"prompt": "the", "begun": "c3"}, "begun only takes effect with other"),
    (TOKENIZE, {}, "prompt is missing"),
    (TOKENIZE, {"prompt": ["the"]}, "prompt is ['the']"),
    (TOKENIZE, {"prompt": LONG}, "20,001 characters"),
    (DETOKENIZE, {"tokens": "the"}, "tokens is 'the'"),
    (DETOKENIZE, {"tokens": [9, 10**6]}, "tokens has the token 1000000 at place 1"),
    (DETOKENIZE, {"tokens": [2**70]}, "tokens"),
    (SCORE, {}, "texts is missing"),
    (SCORE, {"texts": []}, "texts is []"),
    (SCORE, {"texts": None}, "texts is None"),
    (SCORE, {"texts": [1]}, "texts is [1]"),
    (SCORE, {"texts": ["a"] * 257}, "texts has 257 texts; it must have at most 256"),
    (SCORE, {"texts": LONG}, "20,001 characters"),
    (SCORE, {"texts": "a", "stars": 7}, "stars is 7"),
    (SCORE, {"texts": "a", "attribution": "yes"}, "attribution is 'yes'"),
    (SCORE, {"texts": "a", "alternatives": -1}, "alternatives is -1"),
    (SCORE, {"texts": "a", "alternatives": 21}, "alternatives is 21"),
    (SCORE, {"texts": ["x" * 11_000] * 2, "alternatives": 1}, "texts has 22,000 characters in all"),
    (SCORE, {"text": "a"}, "unknown parameter 'text'"),
    (EMBEDDINGS, {}, "input is missing"),
    (EMBEDDINGS, {"input": None}, "input is None"),
    (EMBEDDINGS, {"input": []}, "list of one or more texts"),
    (EMBEDDINGS, {"input": [1, 2]}, "list of one or more texts, not tokens"),
    (EMBEDDINGS, {"input": nested(500)}, "input is"),
    (EMBEDDINGS, {"input": LONG}, "input has 20,001 characters; it must have at most 20,000"),
    (EMBEDDINGS, {"input": ["a"] * 257}, "input has 257 texts; it must have at most 256"),
    (EMBEDDINGS, {"input": "a", "encoding_format": "hex"}, "encoding_format is 'hex'; it must be one of float, base64"),
    (EMBEDDINGS, {"input": "a", "encoding_format": 1}, "encoding_format is 1"),
    (EMBEDDINGS, {"input": "a", "dimensions": 8}, "unknown parameter 'dimensions'"),
    (EMBEDDINGS, {"input": "a", "user": 3}, "user is 3"),
    (EMBEDDINGS, {"input": "a", "model": 3}, "model is 3; it must be text"),
    (EMBEDDINGS, {"input": "a"}, "reviewlm/1 is of kind 'ngram' and has no network, so texts have no vectors"),
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
    (b'{"prompt": "' + b"x" * 10_000_000 + b'"}', 413, "more than 1,000,000 bytes"),
]

UNKNOWN_MODELS = ["gpt-4", "reviewlm/9", "reviewlm@", "../../passwd", "models:/x@y", "\x00", "é" * 900]
CONTENT_TYPES = [
    None, "text/plain", "application/json; charset=utf-16", "application/x-www-form-urlencoded", "multipart/form-data",
    "é",
]  # fmt: skip
NO_ADDRESS, NO_METHOD = (404, "there is no such address"), (405, "this address does not take that method")
ADDRESSES: list[tuple[str, str, tuple[int, str]]] = [
    ("GET", COMPLETIONS, NO_METHOD), ("PUT", SUGGEST, NO_METHOD), ("DELETE", SCORE, NO_METHOD),
    ("GET", EMBEDDINGS, NO_METHOD), ("POST", "/metrics", NO_METHOD), ("POST", "/", NO_METHOD),
    ("OPTIONS", COMPLETIONS, NO_METHOD),
    ("GET", "/page/nothing.js", (404, "the page has no file 'nothing.js'")),
    ("GET", "/page/..%2f..%2froutes.py", NO_ADDRESS), ("POST", "/v1/chat/completions", NO_ADDRESS),
    ("GET", "/v1/models/gpt-4", (404, "the model 'gpt-4' does not exist")), ("GET", "/%00", NO_ADDRESS),
    ("GET", "/..%2f..%2fetc/passwd", NO_ADDRESS), ("GET", "/docs", NO_ADDRESS), ("GET", "/x" * 2_000, NO_ADDRESS),
]  # fmt: skip


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


def test_the_server_has_not_failed_once_and_still_answers(client: httpx.Client) -> None:
    answer = client.post(COMPLETIONS, json={"prompt": "The", "max_tokens": 3})
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["text"]
    figures = client.get("/metrics").text
    assert 'status="5' not in figures
    assert json.loads(client.get("/readyz").text)["status"] == "ready"
