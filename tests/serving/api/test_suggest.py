"""`/suggest` gives the words of the models, and of the word being typed its completions."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from reviewlm.models.completion.suggestions import suggest
from tests.serving.made_versions import MadeSource, bundle_of
from tests.serving.served import answering


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        answering(MadeSource(champion=1)) as (address, _),
        httpx.Client(base_url=address) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "prompt", ["", "The", "The ", "The pi", "The pizza was go", "The zxqv", "The pizza was good."]
)
@pytest.mark.parametrize("both", [True, False])
def test_suggestions_are_those_of_the_models(
    client: httpx.Client,
    prompt: str,
    both: bool,
) -> None:
    told = client.post(
        "/suggest",
        json={
            "prompt": prompt,
            "k": 3,
            "stars": 5,
            "both": both,
        },
    ).json()
    found = suggest(
        bundle_of(1),
        prompt,
        3,
        5,
        both,
    ).as_json()
    assert told == {
        "model": "reviewlm/1",
        **found,
        "ratings": [5],
        "warnings": [],
    }
