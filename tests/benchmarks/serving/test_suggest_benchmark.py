"""The benchmark of suggestions: each letter is one call of the engine, with its waiting and its processor time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from urllib.parse import urlsplit

import numpy as np
import pytest

from benchmarks.serving.suggest import KeyPress, beginnings, figures, http_key_presses, key_presses
from models.bundles.bundle import Bundle
from models.ngram.counting.counts import count_ngrams
from models.ngram.lm import NGramLM
from models.specs import NGramSpec, VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import CONTEXT_IDS, Vocabulary
from serving.engine.engine import Engine
from tests.serving.engine.small_models import bundle_of
from tests.serving.made_versions import MadeSource
from tests.serving.served import answering

TEXTS = ["the soup was great", "the salad was good", "we liked the soup"] * 3


@pytest.mark.parametrize(("stars", "pause_ms"), [(5, 0.0), (None, 0.0), (5, 1.0)])
def test_every_letter_is_a_key_press_and_costs_processor_time(
    stars: int | None, pause_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = list[str]()

    def noted(_: Bundle, prompt: str, *rest: object) -> Iterator[None]:
        ahead.append(prompt)
        yield

    monkeypatch.setattr("benchmarks.serving.suggest.ahead_steps", noted)
    vocabulary = Vocabulary.train(TEXTS, VocabularySpec(unit="bpe", size=300, min_count=1), NormalForm())
    counts = count_ngrams(vocabulary.encode_documents(TEXTS, [5, 4, 3] * 3), 3, vocabulary.size, CONTEXT_IDS)
    engine = Engine(Bundle(NGramSpec(order=3), vocabulary, NGramLM.from_counts(counts)))
    try:
        presses = key_presses(engine, "the soup", stars, pause_ms)
    finally:
        engine.close()
    assert len(presses) == len("the soup")
    assert bool(ahead) == bool(pause_ms), "without a pause nothing is read ahead"
    assert all(press.cpu_ms and press.wall_ms > 0 for press in presses)
    assert [press.first for press in presses] == [True] + 7 * [False]


def test_figures_are_percentiles_of_both_times() -> None:
    presses = [KeyPress(float(number), number / 2) for number in np.random.default_rng(1).permutation(101)]
    assert figures(presses) == {
        "p50 ms": 50.0, "p95 ms": 95.0, "p50 cpu_ms": 25.0, "p95 cpu_ms": 47.5, "key presses": 101,
    }  # fmt: skip


def test_first_key_presses_are_shown_by_themselves_and_unknown_processor_times_are_left_out() -> None:
    presses = [KeyPress(9.0, None, True), KeyPress(1.0, None), KeyPress(1.0, None), KeyPress(1.0, None)]
    found = figures(presses)
    assert (found["p50 ms"], found["p50 ms, first"], found["p95 ms, first"]) == (1.0, 9.0, 9.0)
    assert not any("cpu" in name for name in found)


@pytest.mark.slow
def test_the_same_keys_are_pressed_at_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    source = MadeSource(champion=1)
    source.make = lambda number: replace(bundle_of("ngram", "bpe"), digest=f"{number:064d}")
    sent: list[bytes] = []

    def noted(self: HTTPConnection, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
        sent.append(body)
        request(self, method, path, body, headers)

    request = HTTPConnection.request
    monkeypatch.setattr(HTTPConnection, "request", noted)
    with answering(source) as (address, _), closing(HTTPConnection(urlsplit(address).netloc)) as server:
        presses = http_key_presses(server, "the", 5, before="We went back. ")
        with pytest.raises(RuntimeError, match="status 400"):
            http_key_presses(server, "t", 9)
    assert [b'"We went back. t"' in sent[0], b'"We went back. the"' in sent[2]] == [True, True]
    assert [(press.cpu_ms, press.first) for press in presses] == [(None, True), (None, False), (None, False)]


def test_the_texts_before_differ_and_end_with_a_word() -> None:
    found = beginnings(None, 200, 3)
    assert len(set(found)) == 3
    assert all(150 < len(text) <= 200 and text.endswith(" ") for text in found)
    assert beginnings(None, 0, 2) == ["", ""]
    with pytest.raises(SystemExit, match="more than the"):
        beginnings(None, 10**6, 100)
