"""The whole way of a real model: fitted, logged, registered, promoted, then opened through both doors."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from reviewlm.models.sampling import generate, suggest
from reviewlm.tracking.logged_models.bundles import log_bundle
from reviewlm.tracking.registry.opening import open_champion
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import MODEL_URI_TAG
from tests.tracking.mlflow_servers import answers_of, model_server
from tests.tracking.tiny_model import fitted

TEXT = "The soup was good"


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory, template_home: Path) -> Tracker:
    """A store whose champion is a trigram model of eighteen reviews."""
    folder = tmp_path_factory.mktemp("real")
    shutil.copytree(template_home, folder / "home")
    tracker = Tracker(
        f"sqlite:///{folder / 'home' / 'mlflow.db'}", "reviewlm", folder / "home" / "mlartifacts"
    )
    run_id = tracker.start_run("kn3")
    registry = Registry(tracker, "reviewlm")
    log_bundle(tracker, run_id, fitted(folder, 3))
    version = registry.register(tracker.tag(run_id, MODEL_URI_TAG), run_id)
    registry.settle(
        version,
        None,
        True,
        "the first",
        {"gate/outcome": "promoted"},
    )
    return tracker


@pytest.fixture(scope="module")
def server(tracker: Tracker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with model_server(tracker, tmp_path_factory.mktemp("server")) as served:
        yield served.address


@pytest.mark.slow
def test_mlflow_serves_the_champion_over_http(server: str, tracker: Tracker):
    bundle, _ = open_champion(tracker)
    written = generate(
        bundle,
        n=2,
        prompt=TEXT,
        temperature=0.8,
        top_p=0.95,
        max_tokens=300,
        seed=7,
    )
    answers = answers_of(
        server,
        dataframe_records=[{"text": TEXT}],
        params={
            "task": "generate",
            "n": 2,
            "seed": 7,
        },
    )
    assert answers[0]["texts"] == written
    answers = answers_of(server, inputs={"text": [TEXT]}, params={"task": "suggest", "k": 3})
    assert [word["word"] for word in answers[0]["words"]] == [
        word for word, _ in suggest(bundle, TEXT, k=3).words
    ]
    split = {"columns": ["text"], "data": [[TEXT], ["The pizza was great"]]}
    answers = answers_of(server, dataframe_split=split, params={"task": "score"})
    nats = [bundle.score_text(text).nats for text in (TEXT, "The pizza was great")]
    assert [answer["nats"] for answer in answers] == pytest.approx(nats)
    assert all(math.isfinite(answer["bits_per_byte"]) for answer in answers)
    expected = bundle.score_text(TEXT).per_token
    assert [each["token"] for each in answers[0]["per_token"]] == [token for token, _ in expected]
    assert [each["nats"] for each in answers[0]["per_token"]] == pytest.approx(
        [nats for _, nats in expected]
    )
    assert answers[0]["bundle"] == bundle.digest[:12]
