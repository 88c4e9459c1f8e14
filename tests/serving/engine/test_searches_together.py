"""Searches that wait together are read in few batches, and each finds to the bit what it finds alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reviewlm.models.completion.reading import Readers
from reviewlm.models.completion.spellings import QUICK
from reviewlm.models.completion.suggestions import Suggestions, suggest, suggestion_steps
from reviewlm.serving.engine.jobs import EngineJob, Jobs, Search
from reviewlm.serving.engine.requests import EngineLimits
from tests.serving.driven_engine import Around, Bench
from tests.serving.engine.small_models import bundle_of

ASKED = (
    ("The soup was gre", None),
    ("We went to the pi", 4),
    ("The soup was great, so we went back. The", None),
    ("The", 1),
    ("The soup was gre", 2),
    ("", None),
    ("We went to Phoenix! Great", None),
    ("The soup was co", None),
)

ONE_RATING = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
"""Shares of the ratings with which a text of any rating is read once."""


class Counted(Around):
    """A model that counts its steps, and fails in those of more streams than are allowed.

    Attributes:
        steps: Number of steps.
        widest: Largest number of streams of a step.
        most: Number of streams that are allowed.
    """

    steps = 0
    widest = 0
    most = 1_000

    def step(self, ids_B: Any, state: Any) -> Any:
        self.steps += 1
        self.widest = max(self.widest, len(ids_B))
        if len(ids_B) > self.most:
            raise RuntimeError("too many streams")
        return self.model.step(ids_B, state)


def found_together(bundle: Any) -> list[Suggestions]:
    """Return what the searches find when all of them wait at the same time."""
    limits = EngineLimits()
    jobs = Jobs(bundle, Bench(bundle).scheduler, limits, clock=lambda: 0.0)
    waiting = []
    for prompt, stars in ASKED:
        search = Search(
            lambda context, prompt=prompt, stars=stars: suggestion_steps(
                context.bundle,
                prompt,
                5,
                stars,
                True,
                context.readers,
                QUICK,
            )
        )
        waiting.append(EngineJob(search))
        jobs.add(waiting[-1])
    while jobs:
        jobs.run()
    return [job.future.result(0) for job in waiting]


def found_alone(bundle: Any) -> list[Suggestions]:
    """Return what each search finds with nothing read before."""
    return [
        suggest(
            bundle,
            prompt,
            5,
            stars,
            True,
            cutoffs=QUICK,
        )
        for prompt, stars in ASKED
    ]


@pytest.mark.parametrize(
    ("kind", "unit"), [("lstm", "bpe"), ("lstm", "word"), ("mixture", "bpe"), ("ngram", "word")]
)
def test_searches_that_wait_together_find_what_each_finds_alone(kind: str, unit: str) -> None:
    bundle = bundle_of(kind, unit)
    assert found_together(bundle) == found_alone(bundle)


@pytest.mark.parametrize(("unit", "share"), [("bpe", 0.6), ("word", 0.2)])
def test_searches_that_wait_together_take_few_of_the_steps(unit: str, share: float) -> None:
    bundle = replace(bundle_of("lstm", unit), stars_prior=ONE_RATING)
    together, alone = Counted(bundle.model), Counted(bundle.model)
    found_together(replace(bundle, model=together))
    found_alone(replace(bundle, model=alone))
    assert 0 < together.steps < share * alone.steps


def test_searches_that_cannot_be_read_together_are_read_alone(caplog: Any) -> None:
    bundle = replace(bundle_of("lstm", "bpe"), stars_prior=ONE_RATING)
    alone, narrow = Counted(bundle.model), Counted(bundle.model)
    expected = found_alone(replace(bundle, model=alone))
    narrow.most = alone.widest
    assert found_together(replace(bundle, model=narrow)) == expected
    assert "too many streams" in caplog.text


@pytest.mark.parametrize("prompt", ["The soup was great", "The soup was gre"])
def test_a_search_among_whole_words_says_at_once_all_that_it_reads(prompt: str) -> None:
    bundle = bundle_of("lstm")
    steps = suggestion_steps(bundle, prompt, readers=Readers(bundle))
    assert len(list(steps)) == 1
