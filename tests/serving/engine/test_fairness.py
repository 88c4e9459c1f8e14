"""Whatever the longest allowed request asks, a stream that is written meanwhile waits for one piece of it at most."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from threading import Thread
from typing import Any

import httpx
import pytest

from reviewlm.core.config.sections.execution import ServingConfig
from reviewlm.models.completion.suggestions import suggest
from reviewlm.serving.engine.requests import EngineLimits, Generation, StreamEnded, Ticket
from reviewlm.serving.engine.scheduler import Scheduler
from tests.core.waiting import until
from tests.serving.driven_engine import Endless
from tests.serving.engine.small_models import TEXTS, bundle_of
from tests.serving.made_versions import MadeSource
from tests.serving.served import answering

MOST = 3_000
PIECE = EngineLimits().prefill_tokens
COMPLETIONS, SUGGEST = "/v1/completions", "/suggest"


def prompt(number: int) -> str:
    """The longest prompt, another one for each number, so that none has a saved state."""
    return " ".join([*TEXTS[number % 6 : number % 6 + number // 6 + 1], *TEXTS * 20])[:MOST]


class Watched(Endless):
    """A model that never ends a text and notes how many tokens each call reads."""

    def __init__(self, model: Any, events: list[Any]) -> None:
        super().__init__(model)
        self.events = events

    def step(self, ids_B: Any, state: Any) -> Any:
        self.events.append(len(ids_B))
        return super().step(ids_B, state)

    def advance(self, ids_BT: Any, state: Any) -> Any:
        self.events.append(ids_BT.size)
        return self.model.advance(ids_BT, state)

    def score(self, ids_BT: Any, state: Any) -> Any:
        self.events.append(ids_BT.size)
        return self.model.score(ids_BT, state)


class Watch:
    """A server with one stream, and the tokens that its engine's thread reads."""

    def __init__(self, address: str, events: list[Any]) -> None:
        self.address, self.events = address, events

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
        stream.result()


@pytest.fixture(scope="module")
def watched() -> Iterator[Watch]:
    """Serve a watched model with a vocabulary of words while one stream is written."""
    with pytest.MonkeyPatch.context() as patch:
        events: list[Any] = []
        note_step = Scheduler._step

        def stepped(scheduler: Scheduler) -> None:
            if scheduler.bundle.model.events is not events:
                note_step(scheduler)
                return
            events.append("stream")
            begun = len(events)
            note_step(scheduler)
            del events[begun:]  # the stream's own step

        patch.setattr(Scheduler, "_step", stepped)
        source = MadeSource(champion=1)
        bundle = bundle_of("lstm", "word")
        source.make = lambda number: replace(bundle, model=Watched(bundle.model, events))
        patch.setattr(ServingConfig, "max_prompt_characters", MOST)
        with answering(source) as (address, versions):
            champion = versions.champion
            assert champion is not None
            stream = champion.engine.submit(Generation("The", 3, max_tokens=10**6))
            Thread(
                target=read_to_the_end,
                args=[stream],
                daemon=True,
            ).start()
            until(lambda: champion.engine.figures().tokens > 0)
            yield Watch(address, events)
            stream.cancel()


def test_the_scores_of_an_echoed_prompt_are_read_in_pieces(watched: Watch) -> None:
    text = prompt(0)
    body = {
        "prompt": text,
        "stars": 3,
        "echo": True,
        "logprobs": 2,
        "max_tokens": 0,
    }
    answer, between = watched.ask(COMPLETIONS, body)
    [choice] = answer["choices"]
    scored = bundle_of("lstm").score_text(text, 3).per_token[:-1]
    assert choice["text"] == text
    assert choice["logprobs"]["token_logprobs"] == pytest.approx(
        [-nats for _, nats in scored], abs=1e-4
    )
    assert max(between) <= PIECE
    assert sum(between) >= len(scored) > 50 * PIECE


def test_the_context_of_suggestions_is_read_in_pieces(watched: Watch) -> None:
    text = prompt(3)
    answer, between = watched.ask(SUGGEST, {"prompt": text, "stars": 3})
    bundle = bundle_of("lstm")
    endless = replace(bundle, model=Watched(bundle.model, []))
    assert answer | suggest(endless, text, stars=3, both=True).as_json() == answer
    assert max(between) <= PIECE + 1
    assert sum(between) > 50 * PIECE
