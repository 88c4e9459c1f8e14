"""Word vectors from the command's flow: stored once, registered, and judged against the champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from core.config.presets import load_config
from core.config.run_config import RunConfig
from core.errors import ArtifactError, ConfigError
from flows.other_models.embed import embed
from models.vectors.bundle import load_vectors
from models.vectors.word_vectors import HEADER, WordVectors
from tasks.embedding.embed import newest_vectors
from tasks.tracking.track import registry_of, tracker_of
from tests.flows.first_run import TINY
from tests.flows.planted_outage import away_after_a_decision
from tracking.logged_models.opening import find_vectors

pytestmark = pytest.mark.slow
SETTINGS = ["embedding.dimensions=8", "embedding.epochs=10", "embedding.min_count=3", "embedding.learning_rate=0.1"]


def test_vectors_are_stored_once_and_depend_on_their_options(prefect_server: None, migrated_home: Path) -> None:
    with pytest.raises(ArtifactError, match="no word vectors in the store"):
        newest_vectors(load_config(TINY))
    first = embed(TINY, None, SETTINGS)
    vectors = WordVectors.load(Path(first["vectors"]))
    assert (len(vectors), vectors.dimensions) == (first["words"], 8)
    spec = load_vectors(Path(first["vectors"])).spec
    assert (spec["vocabulary"], spec["unit"], spec["lowercase"]) == ("word", "word", True), "the gate compares them"
    assert vectors.counts == sorted(vectors.counts, reverse=True)
    assert vectors.counts[-1] >= 3
    assert first["mean_cosine"] == pytest.approx(vectors.mean_cosine, abs=1e-6)
    assert first["validation"]["ranked"] > 0.6, "a held-out word is told from a noise word"
    before = (Path(first["vectors"]) / HEADER).stat().st_mtime_ns
    assert embed(TINY, None, [*SETTINGS, "embedding.threads=2"])["digest"] == first["digest"]
    assert (Path(first["vectors"]) / HEADER).stat().st_mtime_ns == before, "it was not built again"
    other = embed(TINY, None, [*SETTINGS, "embedding.kind=cbow"])
    assert other["digest"] != first["digest"]
    assert str(newest_vectors(load_config(TINY))) == other["vectors"]
    again = embed(TINY, None, [*SETTINGS, "execution.rebuild=['embed']"])
    assert np.array_equal(WordVectors.load(Path(again["vectors"])).matrix_ND, vectors.matrix_ND)


@pytest.mark.long
def test_vectors_are_registered_judged_and_not_registered_twice(
    prefect_server: None, migrated_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(TINY).asking("reviewlm-demo-vectors")
    few = embed(TINY, None, [*SETTINGS, "embedding.epochs=1", "embedding.learning_rate=0.01"])
    assert (few["promoted"], few["version"], few["registered_model"]) == (False, 1, "reviewlm-demo-vectors")
    assert "the more frequent word" in few["reason"]
    with monkeypatch.context() as patched:
        told = away_after_a_decision(patched)
        first = embed(TINY, None, SETTINGS)
    assert told == ["settled", "away", "settled"], "MLflow was away right after the decision, which was made once"
    assert (first["promoted"], first["version"], first["champion_version"]) == (True, 2, 2), first["reason"]
    again = embed(TINY, None, SETTINGS)
    assert (again["promoted"], again["version"], again["champion_version"], again["reused"]) == (False, None, 2, True)
    assert "identical to the champion" in again["reason"]
    registry = registry_of(config)
    assert {version.version: version.tags["gate/outcome"] for version in registry.versions()}[2] == "promoted"

    run = tracker_of(config).ask(lambda client: client.get_run(first["mlflow_run_id"]))
    assert run.data.metrics["test/ranked"] == pytest.approx(first["ranked"])
    _shows_its_training(config, first)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker_of(config).uri)
    _answers_as_the_vectors_do(Path(first["vectors"]))
    assert find_vectors(load_config(TINY), "champion").version.version == 2


def _shows_its_training(config: RunConfig, result: dict[str, Any]) -> None:
    """Look at the MLflow run of the training: options, figures, words and speed."""
    [version] = [one for one in registry_of(config).versions() if one.version == result["version"]]
    fit = tracker_of(config).ask(lambda client: client.get_run(version.run_id))
    assert fit.data.metrics["x_fit/words"] == result["words"]
    assert fit.data.metrics["x_fit/ranked"] == pytest.approx(result["validation"]["ranked"])
    assert fit.data.metrics["x_fit/tokens_per_second"] > 0
    assert fit.data.metrics["test/ranked"] == pytest.approx(result["ranked"])
    assert fit.data.params["architecture.dimensions"] == "8"


def _answers_as_the_vectors_do(folder: Path) -> None:
    import mlflow
    import pandas as pd

    vectors = WordVectors.load(folder)
    model = mlflow.pyfunc.load_model("models:/reviewlm-demo-vectors@champion")
    word, other = vectors.words[3], vectors.words[7]
    asked = pd.DataFrame({"text": [word, f"{word} {other}", "no-such-word"]})
    one, both, none = model.predict(asked, params={"k": 4})
    assert [(near["word"], near["cosine"]) for near in one["nearest"]] == [
        (near.word, pytest.approx(near.cosine)) for near in vectors.neighbours(word, 4)
    ]
    middle = (vectors.unit_ND[3] + vectors.unit_ND[7]) / 2
    assert [near["word"] for near in both["nearest"]] == [near.word for near in vectors.nearest(middle, 4, (3, 7))]
    assert (none["known"], none["unknown"], none["nearest"]) == ([], ["no-such-word"], [])
    vector = model.predict(asked, params={"task": "vector"})[0]["vector"]
    np.testing.assert_allclose(vector, vectors.vector(word), rtol=1e-6)
    with pytest.raises(MlflowException, match="it must be 'nearest' or 'vector'"):
        model.predict(asked, params={"task": "analogy"})


def test_the_name_of_the_language_model_is_refused_before_anything_is_trained(
    prefect_server: None, migrated_home: Path
) -> None:
    with pytest.raises(ConfigError, match="have the same registered model"):
        embed(TINY, None, ["promotion.model_name=mine", "embedding.model_name=mine"])
    assert not list(migrated_home.glob("store/*/*"))


def test_an_unknown_vocabulary_is_refused(prefect_server: None, own_home: Path) -> None:
    with pytest.raises(ConfigError, match="no such vocabulary"):
        embed(TINY, None, ["embedding.vocabulary=phrases"])
