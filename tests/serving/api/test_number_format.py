"""The number format of a server: the text of the command line in either, and the answers say which it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from reviewlm.models.bundles.bundle import INT8_LOSS
from reviewlm.models.neural.inference import int8
from reviewlm.models.sampling import generate
from tests.serving.engine.small_models import bundle_of
from tests.serving.made_versions import MadeSource
from tests.serving.served import answering

ASKED = {
    "prompt": "The soup",
    "stars": 3,
    "max_tokens": 25,
    "seed": 4,
    "n": 8,
}


@pytest.mark.parametrize(("quick", "numbers"), [(True, "int8"), (False, "float32")])
def test_a_served_text_is_that_of_the_command_line_in_the_format_of_the_processor(
    monkeypatch: pytest.MonkeyPatch,
    quick: bool,
    numbers: str,
) -> None:
    monkeypatch.setattr(int8.products, "AVAILABLE", quick)
    source = MadeSource(champion=1)
    bundle = replace(bundle_of("lstm"), facts={INT8_LOSS: 0.0})
    source.make = lambda number: replace(bundle, digest=f"{number:064d}")
    with answering(source) as (address, _), httpx.Client(base_url=address, timeout=30) as client:
        answer: dict[str, Any] = client.post("/v1/completions", json=ASKED).json()
        assert answer["system_fingerprint"] == f"lm_000000000000_{numbers}"
        texts = ["The soup" + choice["text"] for choice in answer["choices"]]
        assert texts == generate(
            bundle,
            8,
            3,
            "The soup",
            25,
            4,
            temperature=0.8,
            top_k=0,
            top_p=0.95,
        )
        assert client.get("/models/card").json()["numbers"]["used"] == numbers
