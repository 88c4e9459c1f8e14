"""Whatever the longest allowed request asks, a stream that is written meanwhile waits for one piece of it at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from threading import Thread, current_thread
from typing import Any

import httpx
import pytest

from models.completion.beam import beam_search
from models.completion.dasher import DasherInterval, intervals
from models.completion.reading import MOST_READ
from models.completion.spellings import EXACT, QUICK
from models.completion.suggestions import suggest
from models.completion.typed import DROW
from models.text.normal_form import NormalForm
from models.tokens.special import EOS
from models.tokens.vocabulary import Vocabulary
from serving.engine.jobs import LONG
from serving.engine.requests import EngineLimits, Generation, StreamEnded
from serving.engine.scheduler import Scheduler
from serving.engine.ticket import Ticket
from serving.scoring import SLICE
from tests.serving.engine.small_models import TEXTS, bundle_of
from tests.serving.made_versions import MadeSource
from tests.serving.served import answering

MOST = 3_000
PIECE = EngineLimits().prefill_tokens
BEAM = 2
COMPLETIONS, SUGGEST, INTERVALS = "/v1/completions", "/suggest", "/intervals"


def prompt(number: int) -> str:
    """The longest prompt, another one for each number, so that none has a saved state."""
    return " ".join([*TEXTS[number % 6 : number % 6 + number // 6 + 1], *TEXTS * 20])[:MOST]


class Watched:
    """A model that never ends a text and notes how many tokens each call reads."""

    def __init__(self, model: Any, events: list[Any]) -> None:
        self.model, self.events = model, events

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def step(self, ids_B: Any, state: Any) -> Any:
        self.events.append(len(ids_B))
        logp_BV, state = self.model.step(ids_B, state)
        logp_BV = logp_BV.clone()
        logp_BV[:, EOS] = float("-inf")
        return logp_BV, state

    def advance(self, ids_BT: Any, state: Any) -> Any:
        self.events.append(ids_BT.size)
        return self.model.advance(ids_BT, state)

    def score(self, ids_BT: Any, state: Any) -> Any:
        self.events.append(ids_BT.size)
        return self.model.score(ids_BT, state)


class Watch:
    """A server with one stream, and all that its engine's thread does: tokens read, characters made into tokens."""

    def __init__(self, address: str, events: list[Any], characters: list[int]) -> None:
        self.address, self.events, self.characters = address, events, characters

    def ask(self, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Return the answer, and how many tokens were read between each two steps of the stream meanwhile."""
        begun = len(self.events)
        answer = httpx.post(self.address + path, json=body, timeout=120)
        assert answer.status_code == 200, answer.text
        events = self.events[begun:]
        steps = [place for place, event in enumerate(events) if event == "stream"]
        return answer.json(), [sum(events[one + 1 : other]) for one, other in pairwise(steps)]


def read_to_the_end(stream: Ticket) -> None:
    with suppress(StreamEnded):
        for _ in stream:
            pass


@contextmanager
def watching(unit: str) -> Iterator[Watch]:
    """Serve a watched model with a vocabulary of this unit while one stream is written."""
    with pytest.MonkeyPatch.context() as patch:
        events: list[Any] = []
        characters: list[int] = []
        note_step, apply, encode = Scheduler._step, NormalForm.apply, Vocabulary.encode

        def stepped(scheduler: Scheduler, batch: Any) -> None:
            if scheduler.bundle.model.events is not events:
                note_step(scheduler, batch)
                return
            events.append("stream")
            begun = len(events)
            note_step(scheduler, batch)
            del events[begun:]  # the stream's own step

        def noted(make: Callable[..., Any]) -> Callable[..., Any]:
            def made(self: Any, text: str, *rest: Any) -> Any:
                if current_thread().name.startswith("engine"):
                    characters.append(len(text))
                return make(self, text, *rest)

            return made

        patch.setattr(Scheduler, "_step", stepped)
        patch.setattr(NormalForm, "apply", noted(apply))
        patch.setattr(Vocabulary, "encode", noted(encode))
        source = MadeSource(champion=1)
        bundle = bundle_of("lstm", unit)
        source.make = lambda number: replace(bundle, model=Watched(bundle.model, events))
        settings = {"max_prompt_characters": MOST, "request_seconds": 120}
        with answering(source, **settings) as (address, versions):
            champion = versions.champion
            assert champion is not None
            stream = champion.engine.submit(Generation("The", 3, max_tokens=10**6))
            next(iter(stream))
            Thread(target=read_to_the_end, args=[stream], daemon=True).start()
            watch = Watch(address, events, characters)
            characters.clear()
            yield watch
            stream.cancel()


@pytest.fixture(scope="module")
def watched() -> Iterator[Watch]:
    """A vocabulary of words."""
    with watching("word") as watch:
        yield watch


@pytest.fixture(scope="module")
def watched_bpe() -> Iterator[Watch]:
    """A vocabulary of parts of words."""
    with watching("bpe") as watch:
        yield watch


def test_the_scores_of_an_echoed_prompt_are_read_in_pieces(watched: Watch) -> None:
    text = prompt(0)
    body = {"prompt": text, "stars": 3, "echo": True, "logprobs": 2, "max_tokens": 0}
    answer, between = watched.ask(COMPLETIONS, body)
    [choice] = answer["choices"]
    scored = bundle_of("lstm").score_text(text, 3).per_token[:-1]
    assert choice["text"] == text
    assert choice["logprobs"]["token_logprobs"] == pytest.approx([-nats for _, nats in scored], abs=1e-4)
    assert max(between) <= PIECE
    assert sum(between) >= len(scored) > 50 * PIECE


def test_a_prompt_is_read_in_pieces(watched: Watch) -> None:
    text = prompt(1)
    answer, between = watched.ask(COMPLETIONS, {"prompt": text, "stars": 3, "max_tokens": 1})
    assert answer["usage"]["prompt_tokens"] > 50 * PIECE
    assert max(between) <= PIECE + 1


def test_the_prompt_of_a_beam_search_is_read_in_pieces(watched: Watch) -> None:
    text = prompt(2)
    body = {"prompt": text, "stars": 3, "beam": BEAM, "n": BEAM, "max_tokens": 4}
    answer, between = watched.ask(COMPLETIONS, body)
    bundle = bundle_of("lstm")
    endless = replace(bundle, model=Watched(bundle.model, []))
    found = beam_search(endless, BEAM, BEAM, 3, text, max_tokens=4)
    assert [choice["logp"] for choice in answer["choices"]] == [one.logp for one in found]
    assert [text + choice["text"] for choice in answer["choices"]] == [one.text for one in found]
    assert max(between) <= PIECE + 1
    assert sum(between) > 50 * PIECE


def test_the_context_of_suggestions_is_read_in_pieces(watched: Watch) -> None:
    text = prompt(3)
    answer, between = watched.ask(SUGGEST, {"prompt": text, "stars": 3})
    bundle = bundle_of("lstm")
    endless = replace(bundle, model=Watched(bundle.model, []))
    assert answer | suggest(endless, text, stars=3, both=True).as_json() == answer
    assert max(between) <= PIECE + 1
    assert sum(between) > 50 * PIECE


@pytest.mark.parametrize(("typed", "stars", "exact"), [("the s", 3, False), ("the", None, True), ("the ", 5, True)])
def test_a_search_for_words_reads_a_few_beginnings_at_a_time(
    typed: str, stars: int | None, exact: bool, watched_bpe: Watch
) -> None:
    cutoffs = EXACT if exact else QUICK
    answer, between = watched_bpe.ask(SUGGEST, {"prompt": typed, "stars": stars, "exact": exact})
    bundle = bundle_of("lstm", "bpe")
    endless = replace(bundle, model=Watched(bundle.model, []))
    expected = suggest(endless, typed, stars=stars, both=True, cutoffs=cutoffs)
    assert [(one["word"], one["probability"]) for one in answer["words"]] == [
        (word, pytest.approx(probability, rel=1e-6)) for word, probability in expected.words
    ]
    assert max(between) <= MOST_READ * len(bundle.ratings(stars))
    assert sum(map(bool, between)) > 2


@pytest.mark.slow
@pytest.mark.parametrize("smallest", [1, 0.05])
def test_the_context_of_intervals_is_read_in_pieces(watched: Watch, smallest: float) -> None:
    text = prompt(9 if smallest < 1 else 8)
    answer, between = watched.ask(INTERVALS, {"prompt": text, "stars": 3, "smallest": smallest})
    bundle = bundle_of("lstm")
    endless = replace(bundle, model=Watched(bundle.model, []))

    def values(found: list[DasherInterval]) -> list[Any]:
        return [(one.kind, one.symbol, pytest.approx(one.probability), values(one.children)) for one in found]

    def of_json(found: list[dict[str, Any]]) -> list[Any]:
        return [(one["kind"], one["symbol"], one["probability"], of_json(one["children"])) for one in found]

    assert of_json(answer["intervals"]) == values(intervals(endless, text, 3, smallest=smallest))
    assert max(between) <= 2 * PIECE
    assert sum(between) > 50 * PIECE


def test_texts_are_scored_in_slices(watched: Watch) -> None:
    text = prompt(5)
    answer, between = watched.ask("/score", {"texts": [text, text], "stars": 3})
    assert [one["tokens"] for one in answer["scores"]] == [bundle_of("lstm").score_text(text, 3).tokens] * 2
    assert max(between) <= SLICE


def test_a_prompt_without_a_rating_is_read_in_pieces_too(watched: Watch) -> None:
    text = prompt(6)
    ratings = len(bundle_of("lstm").ratings(None))
    _, between = watched.ask(SUGGEST, {"prompt": text})
    assert max(between) <= 2 * ratings * (PIECE + 1)
    assert sum(between) > 50 * PIECE * ratings


def test_no_long_text_was_made_into_tokens_where_the_stream_steps(watched: Watch) -> None:
    watched.ask(SUGGEST, {"prompt": "the soup was gre"})
    assert watched.characters  # a short one is
    assert max(watched.characters) <= LONG


@pytest.mark.parametrize("end", ["", "!", " ", "'", "’s", "_", "x́"])
def test_the_word_at_the_end_of_a_long_text_is_found_from_the_end(end: str) -> None:
    """Searching forwards tried every letter of a long word: 20,000 letters took 8 s."""
    found = DROW.match(("x" * 200_000 + end)[::-1])
    assert (found is None) == (end in ("!", " ", "_"))
    assert found is None or found[0][::-1] == "x" * 200_000 + {"’s": end, "'": end, "x́": end}.get(end, "")
