"""`/v1/embeddings` gives the vectors of `lm.encode` to OpenAI's client, also while reviews are being written."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from reviewlm.models.neural.encoder import Encoder
from tests.serving.engine.small_models import TEXTS, bundle_of
from tests.serving.made_versions import MadeSource
from tests.serving.made_versions import bundle_of as counted
from tests.serving.served import answering

LONG = " ".join(TEXTS) * 20


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    source = MadeSource(champion=1, challenger=2)
    source.make = lambda number: bundle_of("lstm") if number == 1 else counted(number)
    with answering(source) as (address, _):
        yield address


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=30) as client:
        yield client


@pytest.mark.parametrize("form", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_openais_client_gets_the_vectors_of_the_model(address: str, form: dict[str, str]) -> None:
    import openai  # takes a second

    with openai.OpenAI(
        base_url=f"{address}/v1",
        api_key="none",
        max_retries=0,
    ) as client:
        made = client.embeddings.create(model="champion", input=[*TEXTS[:3], LONG, ""], **form)  # type: ignore[call-overload]
    assert (made.object, made.model, made.bundle) == (
        "list",
        "reviewlm/1",
        bundle_of("lstm").digest,
    )  # type: ignore[attr-defined]
    assert [one.index for one in made.data] == [0, 1, 2, 3, 4]
    found = [one.embedding for one in made.data]
    vectors = [
        np.frombuffer(base64.b64decode(one), "<f4") if isinstance(one, str) else one
        for one in found
    ]
    np.testing.assert_allclose(
        vectors, Encoder(bundle_of("lstm")).encode([*TEXTS[:3], LONG, ""]), atol=1e-5
    )
    vocabulary = bundle_of("lstm").vocabulary
    tokens = sum(
        len(vocabulary.encode(vocabulary.normal_form.apply(text))) for text in [*TEXTS[:3], LONG]
    )
    assert made.usage.prompt_tokens == made.usage.total_tokens == tokens


def test_a_model_of_counts_says_what_to_do(client: httpx.Client) -> None:
    refused = client.post("/v1/embeddings", json={"input": "a", "model": "challenger"})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "no_network", "model")
    assert "name a neural model" in error["message"]


def test_the_server_goes_on_after_a_model_without_vectors_was_asked(client: httpx.Client) -> None:
    client.post("/v1/embeddings", json={"input": "a", "model": "challenger"})
    assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 200
