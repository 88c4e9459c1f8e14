"""`/suggest` gives the words of the models, and of the word being typed its completions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import httpx
import pytest

from models.completion.dasher import intervals
from models.completion.spellings import EXACT, QUICK
from models.completion.suggestions import suggest
from reviewlm.verbs import model as verbs
from serving.api.request_schemas import CompletionRequest, ScoreRequest, SuggestRequest
from tests.serving.api.test_back_pressure import until
from tests.serving.made_versions import MadeSource, bundle_of, food_of
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


def test_improbable_ways_to_cut_words_into_tokens_are_read_only_on_request() -> None:
    bundle, source = bundle_of(1, "bpe"), MadeSource(champion=1)
    source.make = lambda number: bundle
    quick, exact = (suggest(bundle, "The pi", 3, 5, True, cutoffs=each).as_json() for each in (QUICK, EXACT))
    assert quick != exact
    with answering(source) as (address, _), httpx.Client(base_url=address) as client:
        for found, options in ((quick, {}), (exact, {"exact": True})):
            told = client.post("/suggest", json={"prompt": "The pi", "k": 3, "stars": 5, **options}).json()
            assert {name: told[name] for name in found} == found


def counted_source(rows: list[int]) -> MadeSource:
    """A registry whose model tells how many rows it reads."""
    bundle, source = bundle_of(1, "bpe"), MadeSource(champion=1)

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(bundle.model, name)

        def step(self, ids: Any, state: Any) -> Any:
            rows.append(len(ids))
            return bundle.model.step(ids, state)

    source.make = lambda number: replace(bundle, model=Counted())
    return source


def test_a_letter_that_is_asked_for_again_is_not_read_again() -> None:
    rows = list[int]()
    source = counted_source(rows)
    with answering(source, read_ahead=0) as (address, _), httpx.Client(base_url=address) as client:
        for path, body in (("/suggest", {"prompt": "The pi", "stars": 5}), ("/intervals", {"prompt": "The piz"})):
            first, read = client.post(path, json=body).json(), len(rows)
            assert read > 0
            assert client.post(path, json=body).json() == first
            assert len(rows) == read
            rows.clear()


@pytest.mark.parametrize("exact", [False, True])
def test_while_the_typist_pauses_the_next_letter_is_read_ahead(exact: bool) -> None:
    rows = list[int]()
    with answering(counted_source(rows)) as (address, versions), httpx.Client(base_url=address) as client:
        engine = versions.champion and versions.champion.engine
        assert engine
        client.post("/suggest", json={"prompt": "The p", "stars": 5, "exact": exact})
        until(lambda: not engine._jobs.idle)
        read = len(rows)
        told = client.post("/suggest", json={"prompt": "The pi", "stars": 5, "k": 3, "exact": exact}).json()
        assert (len(rows) == read) is not exact, "exact searches are not read ahead"
    cutoffs = EXACT if exact else QUICK
    assert told["words"] == suggest(bundle_of(1, "bpe"), "The pi", 3, 5, True, cutoffs=cutoffs).as_json()["words"]


def test_suggestions_over_all_ratings_and_texts_of_one_do_not_mix_up_what_was_read() -> None:
    source = MadeSource(champion=1)
    source.make = lambda number: replace(bundle_of(number), stars_prior=(0, 0.2, 0.2, 0.2, 0.2, 0.2))
    bodies = {"/suggest": {"prompt": "T"}, "/v1/completions": {"prompt": "T", "max_tokens": 5}}
    for order in (["/suggest", "/v1/completions"], ["/v1/completions", "/suggest"]):  # both read <bos> first
        with answering(source) as (address, _), httpx.Client(base_url=address) as client:
            assert [client.post(path, json=bodies[path]).status_code for path in 2 * order] == [200] * 4


def test_the_word_being_typed_is_completed(client: httpx.Client) -> None:
    told = client.post("/suggest", json={"prompt": f"The {food_of(1)[:3]}"}).json()
    assert (told["typed"], told["words"][0]["word"]) == (food_of(1)[:3], food_of(1))


@pytest.mark.parametrize("options", [{}, {"smallest": 0.2}, {"other": True}, {"other": True, "begun": "c3"}])
def test_the_intervals_of_the_next_characters_are_those_of_the_models(
    client: httpx.Client, options: dict[str, object]
) -> None:
    told = client.post("/intervals", json={"prompt": "The pi", "stars": 5, **options}).json()
    wanted = [asdict(one) for one in intervals(bundle_of(1), "The pi", 5, **options)]
    assert told == {"model": "reviewlm/1", "intervals": wanted, "ratings": [5], "warnings": []}
    if wanted:
        assert math.isclose(sum(one["probability"] for one in told["intervals"]), 1)


def test_a_rating_and_a_script_that_were_never_seen_are_told(client: httpx.Client) -> None:
    told = client.post("/suggest", json={"prompt": "пицца", "stars": 1}).json()
    assert [warning.split()[1] for warning in told["warnings"]] == ["model", "text"]


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


@pytest.mark.parametrize("unit", ["word", "bpe"])
def test_one_default_is_not_the_command_lines_the_exact_search_of_models_without_words(unit: str) -> None:
    assert inspect.signature(suggest).parameters["cutoffs"].default is EXACT  # which the command line leaves as it is
    assert not SuggestRequest(prompt="").exact
    bundle, source = bundle_of(1, unit), MadeSource(champion=1)
    source.make = lambda number: bundle
    with answering(source) as (address, _), httpx.Client(base_url=address) as client:
        equal = []
        for prompt in ("", "The", "The pi", "The pizza was go"):
            told = client.post("/suggest", json={"prompt": prompt, "k": 3, "stars": 5}).json()
            exact = suggest(bundle, prompt, 3, 5, True).as_json()
            equal.append({name: told[name] for name in exact} == exact)
    assert all(equal) if unit == "word" else not all(equal)
