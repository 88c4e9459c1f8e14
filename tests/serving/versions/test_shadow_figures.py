"""The shadow's figures can be read in MLflow, on the run of the challenger."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from core.config.presets import load_config
from models.bundles.bundle import save_bundle
from serving.versions.shadow import POINTS
from serving.versions.source import RegistrySource
from tests.serving.made_versions import bundle_of, food_of
from tests.serving.served import answering
from tracking.runs.runs import Tracker

TEXTS = [f"The {food_of(2)} was good.", f"The {food_of(2)} was cold and the staff was friendly."] * 5
STEPS = [step for step in range(1, len(TEXTS) + 1) if step in POINTS]


@pytest.fixture
def tracker(migrated_home: Path) -> Tracker:
    return Tracker(f"sqlite:///{migrated_home / 'mlflow.db'}", "reviewlm", migrated_home / "mlartifacts")


def registered(tracker: Tracker, home: Path, number: int, alias: str) -> str:
    """Register a version with a bundle in MLflow, and return its run."""
    files, bundle = home / "mlartifacts" / "models" / f"m-{number}" / "artifacts", bundle_of(number)
    save_bundle(files / "artifacts" / "bundle", bundle.spec, bundle.vocabulary, bundle.model, [("The soup.", 5)], {})
    run = tracker.start_run(alias)
    tracker.client.create_model_version("reviewlm", str(files), run)
    tracker.client.set_registered_model_alias("reviewlm", alias, str(number))
    return run


@pytest.mark.slow
def test_the_figures_are_metrics_of_the_challengers_run(tracker: Tracker, migrated_home: Path) -> None:
    tracker.client.create_registered_model("reviewlm")
    runs = [registered(tracker, migrated_home, *each) for each in ((1, "champion"), (2, "challenger"))]
    source = RegistrySource(load_config("small", ["execution.device=cpu"]))

    def points(name: str) -> dict[int, float]:
        return {one.step: one.value for one in tracker.client.get_metric_history(runs[1], name)}

    with answering(source, shadow_share=1.0) as (address, versions):  # type: ignore[arg-type]
        versions.look()
        for text in TEXTS:
            assert httpx.post(f"{address}/score", json={"texts": text, "stars": 5}, timeout=30).status_code == 200
        over = time.monotonic() + 20  # texts are scored after the answers
        while list(points("shadow/champion_open_bits_per_byte")) != STEPS and time.monotonic() < over:
            time.sleep(0.02)
    for number, name in ((2, "shadow/open_bits_per_byte"), (1, "shadow/champion_open_bits_per_byte")):
        found, scores = points(name), [bundle_of(number).score_text(text, 5) for text in TEXTS]
        assert list(found) == STEPS
        for step, value in found.items():
            bits = sum(score.open_bits_per_byte * score.bytes for score in scores[:step])
            assert value == pytest.approx(bits / sum(score.bytes for score in scores[:step]))
    assert tracker.client.get_run(runs[0]).data.metrics == {}
