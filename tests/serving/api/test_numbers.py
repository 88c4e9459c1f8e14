"""The number format of a server: its setting, a request's own wish, and what the answers say about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from models.sampling import generate
from serving.engine import number_format
from tests.serving.engine.small_models import bundle_of
from tests.serving.made_versions import MadeSource
from tests.serving.served import answering

ASKED = {"prompt": "The soup", "stars": 3, "max_tokens": 25, "seed": 4, "n": 8}


@pytest.fixture(scope="module")
def source() -> MadeSource:
    source = MadeSource(champion=1)
    source.make = lambda number: replace(bundle_of("lstm"), digest=f"{number:064d}")
    return source


@pytest.fixture(scope="module")
def in_int8(source: MadeSource) -> Iterator[httpx.Client]:
    with answering(source, numbers="int8") as (address, _), httpx.Client(base_url=address, timeout=30) as client:
        yield client


def asked(client: httpx.Client, **options: object) -> tuple[str, list[str]]:
    answer: dict[str, Any] = client.post("/v1/completions", json={**ASKED, **options}).json()
    return answer["system_fingerprint"], ["The soup" + choice["text"] for choice in answer["choices"]]


@pytest.mark.slow
def test_a_server_in_int8_uses_it_unless_a_request_wants_the_exact_text(in_int8: httpx.Client) -> None:
    exact = generate(bundle_of("lstm"), 8, 3, "The soup", 0.8, 0, 0.95, 25, 4)
    fingerprint, texts = asked(in_int8)
    assert fingerprint == "lm_000000000000_int8"
    assert texts != exact
    assert asked(in_int8) == asked(in_int8, exact=False) == (fingerprint, texts)
    assert asked(in_int8, exact=True) == ("lm_000000000000_float32", exact)
    assert asked(in_int8, n=3)[1] == texts[:3]


@pytest.mark.parametrize(("quicker", "used"), [(True, "int8"), (False, "float32")])
def test_auto_takes_what_is_quicker_and_says_so_in_every_answer(
    source: MadeSource, monkeypatch: pytest.MonkeyPatch, quicker: bool, used: str
) -> None:
    monkeypatch.setattr(number_format, "step_seconds", lambda *asked: [0.001, 0.002] if quicker else [0.002, 0.001])
    with answering(source, numbers="auto") as (address, _), httpx.Client(base_url=address, timeout=30) as client:
        fingerprint, texts = asked(client)
        assert fingerprint == f"lm_000000000000_{used}"
        assert asked(client, exact=True) == ("lm_000000000000_float32", exact_texts())
        assert (texts == exact_texts()) is not quicker
        said = "it is quicker here: a step takes" if quicker else "int8 is not quicker here: a step takes"
        assert client.get("/models/card").json()["numbers"]["why"].startswith(said)


def exact_texts() -> list[str]:
    return generate(bundle_of("lstm"), 8, 3, "The soup", 0.8, 0, 0.95, 25, 4)
