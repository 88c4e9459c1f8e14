"""The same seed gives the same texts from the command line, the flow, Python and the server, whatever a token is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import reviewlm
from reviewlm.core.config.presets import load_config
from reviewlm.flows.generate import generate
from reviewlm.models.bundles.bundle import save_bundle
from reviewlm.serving.versions.open_version import RegistrySource
from tests.command_line import call
from tests.serving.engine.small_models import bundle_of
from tests.serving.served import answering
from tests.tracking.registry.made_registry import register

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]
ASKED: dict[str, dict[str, Any]] = {
    "defaults": {},
    "options": {
        "n": 4,
        "stars": 2,
        "prompt": "The soup",
        "max_tokens": 30,
        "seed": 7,
        "temperature": 1.3,
        "top_k": 50,
        "top_p": 0.9,
        "min_p": 0.001,
        "repetition_penalty": 1.1,
        "no_repeat_ngram_size": 3,
    },
    "drawn ratings, stop, begun word": {
        "n": 6,
        "prompt": "We went to the p",
        "seed": 3,
        "typical_p": 0.9,
        "max_tokens": 40,
        "stop": ["."],
    },
}


@pytest.fixture(params=["word", "bpe"])
def unit(request: pytest.FixtureRequest) -> str:
    """What a token is. In pieces of words, a prompt may end where no token does."""
    return str(request.param)


@pytest.fixture
def address(own_home: Path, unit: str) -> Iterator[str]:
    """A server of a registry whose champion is a small LSTM."""
    own_home.mkdir()
    config = load_config("small", ["execution.device=cpu"])
    bundle = bundle_of("lstm", unit)
    folder = register(own_home, config, 1, ("champion",)) / "artifacts" / "bundle"
    facts = {"stars_prior": bundle.stars_prior}
    save_bundle(
        folder,
        bundle.spec,
        bundle.vocabulary,
        bundle.model,
        [("The soup was cold.", 2)],
        facts,
    )
    with answering(RegistrySource(config.workspace, config.promotion.model_name)) as (address, _):  # type: ignore[arg-type]
        yield address


@pytest.mark.parametrize("asked", ASKED.values(), ids=list(ASKED))
def test_the_four_doors_write_the_same_texts(
    address: str,
    asked: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = [
        word
        for name, values in asked.items()
        for value in (values if isinstance(values, list) else [values])
        for word in (f"--{name.replace('_', '-')}", value)
    ]
    command = call(
        monkeypatch,
        capfd,
        "generate",
        *options,
        "--json",
    ).facts
    python = reviewlm.load("champion").generate(**asked)
    # A run from the pages writes three texts if nothing is said.
    flow = generate(**{"n": 1, **asked})
    answer = httpx.post(
        f"{address}/v1/completions", json={**asked, "echo": True}, timeout=60
    ).json()
    assert len(set(python)) == asked.get("n", 1)
    assert command["texts"] == python
    assert flow["texts"] == python
    assert [choice["text"] for choice in answer["choices"]] == python
    assert command["stars"] == flow["stars"] == [choice["stars"] for choice in answer["choices"]]
    assert (command["version"], flow["version"], answer["model"]) == (1, 1, "reviewlm/1")
