"""The preset `characters` on tiny data: Karpathy's network learns, and has every figure that words have."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reviewlm.core.environment import other_home

pytestmark = pytest.mark.long
TINY = str(Path(__file__).parents[1] / "tiny_characters.toml")
NAMES = ["kn5", "lstm", "char-rnn", "char-lstm"]
SMALLER = (
    "models.1.hidden=16",
    "models.1.embedding=16",
    "models.1.training.epochs=0.5",
    "models.1.training.evaluations=1",
    "models.2.training.epochs=0.6",
    "models.2.training.evaluations=2",
    "models.3.hidden=32",
    "models.3.embedding=16",
    "models.3.training.evaluations=1",
)
"""The word models and the character LSTM only; Karpathy's network has the size, window and rate of the preset."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("characters")


@pytest.fixture(scope="module")
def models(prefect_server: None, own: Path) -> dict[str, dict[str, Any]]:
    """What the flow returned of each model, by name."""
    from reviewlm.flows.retrain import retrain

    with other_home(own):
        return {model["name"]: model for model in retrain(TINY, None, list(SMALLER))["models"]}


def logged(
    own: Path,
    model: dict[str, Any],
    metric: str,
) -> list[float]:
    """All values of a metric in MLflow, by step."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{own / 'mlflow.db'}")
    points = client.get_metric_history(model["mlflow_run_id"], metric)
    return [point.value for point in sorted(points, key=lambda point: point.step)]


def test_X1_the_smoothed_training_loss_falls_from_quarter_to_quarter(
    own: Path, models: dict[str, Any]
) -> None:
    nats = logged(own, models["char-rnn"], "train/nats")
    assert len(nats) >= 100, "a curve, not some points"
    first, second, third, last = (float(np.mean(part)) for part in np.array_split(nats, 4))
    assert first > second > third > last
    assert last < first - 0.3


def test_X2_every_model_has_its_figures_on_the_same_bytes(models: dict[str, Any]) -> None:
    assert list(models) == NAMES
    tests = {name: model["test"] for name, model in models.items()}
    assert len({figures["bytes"] for figures in tests.values()}) == 1
    assert {name: model["unit"] for name, model in models.items()} == {
        "kn5": "word",
        "lstm": "word",
        "char-rnn": "char",
        "char-lstm": "char",
    }
    for name, figures in tests.items():
        assert figures["bits_per_byte"] == pytest.approx(
            figures["nats"] / figures["bytes"] / math.log(2)
        ), name
        assert 0.2 < figures["open_bits_per_byte"] < 8, name
    for name in ("char-rnn", "char-lstm"):
        assert tests[name]["oov"] == 0, "characters spell every word"
        assert tests[name]["open_bits_per_byte"] == pytest.approx(tests[name]["bits_per_byte"])
        assert tests[name]["tokens"] > 3 * tests["kn5"]["tokens"]
