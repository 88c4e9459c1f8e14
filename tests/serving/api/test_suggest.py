"""`/suggest` gives the words of the models, and of the word being typed its completions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import asdict

import httpx
import pytest

from models.completion.dasher import intervals
from models.completion.suggestions import suggest
from reviewlm.verbs import model as verbs
from serving.api.request_schemas import CompletionRequest, ScoreRequest, SuggestRequest
from tests.serving.made_versions import MadeSource, bundle_of
from tests.serving.served import answering


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with answering(MadeSource(champion=1)) as (address, _), httpx.Client(base_url=address) as client:
        yield client


@pytest.mark.parametrize("prompt", ["", "The", "The ", "The pi", "The pizza was go", "The zxqv", "The pizza was good."])
@pytest.mark.parametrize("both", [True, False])
def test_words_and_completions_are_those_of_the_models(client: httpx.Client, prompt: str, both: bool) -> None:
    told = client.post("/suggest", json={"prompt": prompt, "k": 3, "stars": 5, "both": both}).json()
    found = suggest(bundle_of(1), prompt, 3, 5, both).as_json()
    assert told == {"model": "reviewlm/1", **found, "ratings": [5], "warnings": []}


@pytest.mark.parametrize("options", [{}, {"smallest": 0.2}, {"other": True}, {"other": True, "begun": "c3"}])
def test_the_intervals_of_the_next_characters_are_those_of_the_models(
    client: httpx.Client, options: dict[str, object]
) -> None:
    told = client.post("/intervals", json={"prompt": "The pi", "stars": 5, **options}).json()
    wanted = [asdict(one) for one in intervals(bundle_of(1), "The pi", 5, **options)]
    assert told == {"model": "reviewlm/1", "intervals": wanted, "ratings": [5], "warnings": []}
    if wanted:
        assert math.isclose(sum(one["probability"] for one in told["intervals"]), 1)


@pytest.mark.parametrize(("verb", "schema"), [
    (verbs.generate, CompletionRequest), (verbs.suggest, SuggestRequest), (verbs.score, ScoreRequest),
])  # fmt: skip
def test_defaults_are_those_of_the_command_line(verb: object, schema: type) -> None:
    shared = set(schema.model_fields) & set(inspect.signature(verb).parameters) - {"model", "prompt"}
    assert shared >= {"stars"}
    options = inspect.signature(verb).parameters
    for name in shared:
        default = schema.model_fields[name].get_default(call_default_factory=True)
        assert (name, default) == (name, options[name].default if not isinstance(default, list) else default)
