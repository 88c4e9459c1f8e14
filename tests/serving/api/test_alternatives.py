"""`/score` tells what was expected at each token: the likeliest tokens of the same reading, rated or not."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from reviewlm.models.tokens.special import EOS
from reviewlm.serving.api import score as module
from tests.serving.made_versions import MadeSource, bundle_of
from tests.serving.served import answering

TEXTS = ["The pizza was good.", "Never the Zzyzx pizza.", ""]


def asked(unit: str = "word", **body: object) -> httpx.Response:
    source = MadeSource(champion=1)
    source.make = lambda number: bundle_of(number, unit, one_star=True)
    with answering(source) as (address, _), httpx.Client(base_url=address) as client:
        return client.post("/score", json={"texts": TEXTS, **body})


@pytest.mark.parametrize("stepped", [32, 2])
@pytest.mark.parametrize("stars", [1, None])
def test_the_likeliest_tokens_are_those_of_the_models_distributions(
    stars: int | None,
    stepped: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STEPPED", stepped)
    bundle = bundle_of(1, one_star=True)
    for text, score in zip(TEXTS, asked(stars=stars, alternatives=4).json()["scores"], strict=True):
        told = score["alternatives"]["likeliest"]
        assert len(told) == score["tokens"] == len(score["per_token"])
        ids = [*bundle.vocabulary.encode(bundle.vocabulary.normal_form.apply(text)).tolist(), EOS]
        model, prefix = bundle.reader(stars)
        state = model.start(1)
        for token in prefix:
            logp_1V, state = model.step(np.array([token]), state)
        for token, (name, nats), expected in zip(ids, score["per_token"], told, strict=True):
            values, places = (-logp_1V[0]).topk(4, largest=False)
            assert [nat for _, nat in expected] == pytest.approx(values.tolist(), abs=1e-5)
            assert {name for name, nat in expected if nat < float(values[-1]) - 1e-6} <= {
                bundle.vocabulary.token(place) for place in places.tolist()
            }
            assert dict(map(tuple, expected)).get(name, nats) == pytest.approx(nats, abs=1e-5), (
                "of the same reading"
            )
            logp_1V, state = model.step(np.array([token]), state)
