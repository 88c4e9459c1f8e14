"""An evaluation harness scores the server by tokens: the requests of lm-evaluation-harness's `local-completions`.

Checked with lm_eval 0.4.13: the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.sampling.batch import rating_of
from tests.serving.engine.small_models import bundle_of
from tests.serving.made_versions import MadeSource
from tests.serving.served import answering

SEED = 1234
UNITS = {
    1: "word",
    2: "bpe",
    3: "char",
}


def of(number: int) -> Bundle:
    return bundle_of("ngram", UNITS[number])


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    source = MadeSource(champion=1)
    source.count, source.make = 3, of
    with answering(source) as (address, _), httpx.Client(base_url=address, timeout=30) as client:
        yield client


class Harness:
    """What the harness sends, and what it makes of the answers."""

    def __init__(self, client: httpx.Client, model: str) -> None:
        self.client, self.model = client, model
        info = client.get("/tokenizer_info", params={"model": model}).json()
        self.beginning, self.end = (
            self.encode(info[name])[0] for name in ("bos_token", "eos_token")
        )

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.client.post(path, json={"model": self.model, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def encode(self, text: str) -> list[int]:
        return self.post("/tokenize", prompt=text, add_special_tokens=False)["tokens"]

    def loglikelihood(self, *pairs: tuple[str, str]) -> list[tuple[float, bool]]:
        prompts, lengths = [], []
        for context, continuation in pairs:
            whole = self.encode(context + continuation)
            before = self.encode(context) if context else [self.beginning]
            prompts.append(whole if context else [*before, *whole])
            lengths.append(len(before))
        return self.scored(prompts, lengths)

    def scored(self, prompts: list[list[int]], lengths: list[int]) -> list[tuple[float, bool]]:
        asked = {
            "prompt": prompts,
            "temperature": 0,
            "max_tokens": 1,
            "logprobs": 1,
            "seed": SEED,
            "echo": True,
        }
        found = []
        for choice, length in zip(
            self.post("/v1/completions", **asked)["choices"], lengths, strict=True
        ):
            told = choice["logprobs"]
            pairs_of = zip(
                told["token_logprobs"][length:-1], told["top_logprobs"][length:-1], strict=True
            )
            greedy = all(logprob == max(top.values()) for logprob, top in pairs_of)
            found.append((sum(told["token_logprobs"][length:-1]), greedy))
        return found


@pytest.mark.parametrize("number", UNITS)
def test_a_continuation_has_the_models_log_probability(client: httpx.Client, number: int) -> None:
    """Beside `/score`, which computes it without tokens of the client."""
    harness, bundle = Harness(client, str(number)), of(number)
    assert (harness.beginning, harness.end) == (1, 2)
    stars = rating_of(bundle, None, SEED, 0)
    pairs = [
        ("The soup was", " great"),
        ("", "The zqxv soup"),
        ("We went", " to Zürich"),
        ("I love", " this place."),
    ]
    for (context, continuation), (found, greedy) in zip(
        pairs, harness.loglikelihood(*pairs), strict=True
    ):
        scores = [
            bundle.score_text(text, stars).per_token[:-1]
            for text in (context + continuation, context)
        ]
        whole, before = (sum(nats for _, nats in score) for score in scores)
        assert found == pytest.approx(before - whole, abs=1e-4)
        assert not (greedy and "zqxv" in continuation)
