"""The official Python client of OpenAI works unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from reviewlm.core.credentials import AccessTokens, add_token
from reviewlm.models.sampling import generate
from reviewlm.models.tokens.special import EOS
from tests.serving.made_versions import MadeSource, bundle_of
from tests.serving.served import answering

if TYPE_CHECKING:
    import openai

OURS = {
    "stars": 5,
    "top_k": 3,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}


@pytest.fixture(scope="module")
def source() -> MadeSource:
    made = MadeSource(champion=1, challenger=2)
    made.make = lambda number: bundle_of(number, one_star=number == 2)
    return made


@pytest.fixture(scope="module")
def client(source: MadeSource, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    import openai  # takes a second, as in the tests below

    file = tmp_path_factory.mktemp("tokens") / "tokens.json"
    token = add_token(file, "test")
    with (
        answering(source, AccessTokens(file)) as (address, _),
        openai.OpenAI(
            base_url=f"{address}/v1",
            api_key=token,
            max_retries=0,
        ) as client,
    ):
        yield client


def test_a_completion_is_the_text_that_the_models_write(client: openai.OpenAI) -> None:
    made = client.completions.create(
        model="reviewlm@champion",
        prompt="The",
        max_tokens=20,
        temperature=0.9,
        top_p=0.9,
        seed=7,
        extra_body=OURS,
    )
    assert made.object == "text_completion"
    assert made.model == "reviewlm/1"
    expected = generate(
        bundle_of(1),
        1,
        5,
        "The",
        20,
        7,
        temperature=0.9,
        top_k=3,
        top_p=0.9,
    )[0]
    assert "The" + made.choices[0].text == expected
    assert made.choices[0].finish_reason in ("stop", "length")
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert made.usage.completion_tokens > 0


def test_a_stream_gives_in_pieces_what_an_answer_gives_whole(client: openai.OpenAI) -> None:
    asked = {
        "model": "reviewlm",
        "prompt": "The",
        "max_tokens": 30,
        "seed": 5,
        "n": 2,
    }
    whole = client.completions.create(**asked)
    texts, reasons, usage = {0: "", 1: ""}, {}, None
    for event in client.completions.create(
        **asked,
        stream=True,
        stream_options={"include_usage": True},
    ):
        assert event.model == "reviewlm/1"
        for choice in event.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason or reasons.get(choice.index)
        usage = event.usage or usage
    assert list(texts.values()) == [choice.text for choice in whole.choices]
    assert list(reasons.values()) == [choice.finish_reason for choice in whole.choices]
    assert usage == whole.usage


@pytest.fixture
def echoed(client: openai.OpenAI) -> Any:
    """An answer that repeats its prompt, with log-probabilities of all tokens."""
    made = client.completions.create(
        model="champion",
        prompt="The pizza",
        max_tokens=6,
        logprobs=2,
        echo=True,
        seed=1,
    )
    return made.choices[0]


def test_log_probabilities_have_openais_form(echoed: Any) -> None:
    told = echoed.logprobs
    assert told is not None
    columns = (told.token_logprobs, told.top_logprobs, told.text_offset)
    assert {len(column) for column in columns} == {len(told.tokens)}
    assert all(logprob is None or logprob <= 0 for logprob in told.token_logprobs)


def test_the_likeliest_tokens_have_their_log_probabilities(echoed: Any) -> None:
    told = echoed.logprobs
    assert all(len(top) in (2, 3) for top in told.top_logprobs)
    for token, logprob, top in zip(
        told.tokens, told.token_logprobs, told.top_logprobs, strict=True
    ):
        assert top[token] == logprob


def test_the_tokens_of_an_echo_spell_its_text(echoed: Any) -> None:
    told, text = echoed.logprobs, echoed.text
    ids = told.to_dict()["token_ids"]
    written = [token for token, number in zip(told.tokens, ids, strict=True) if number != EOS]
    assert "".join(written) == text
    for at, token in zip(told.text_offset, told.tokens, strict=True):
        assert text[at:].startswith(token) or token == "<eos>"


def test_mistakes_raise_the_clients_own_errors(client: openai.OpenAI) -> None:
    import openai

    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.completions.create(model="gpt-4", prompt="The")
    with pytest.raises(openai.BadRequestError, match="temperature is -1") as caught:
        client.completions.create(
            model="champion",
            prompt="The",
            temperature=-1,
        )
    assert (caught.value.param, caught.value.code) == ("temperature", "invalid_value")
    with pytest.raises(openai.BadRequestError, match='unknown parameter "tempratur"'):
        client.completions.create(
            model="champion",
            prompt="The",
            extra_body={"tempratur": 1},
        )
    with pytest.raises(openai.AuthenticationError, match="not known"):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")
