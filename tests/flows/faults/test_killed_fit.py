"""Kill -9 of a fit's process under the real flow: the next run goes on, and ends as if nothing had happened."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from reviewlm.core.environment import other_home
from reviewlm.core.errors import RankFailed
from reviewlm.models.bundles.bundle import load_bundle
from reviewlm.models.sampling import generate
from reviewlm.tracking.tags import own_metric_name
from reviewlm.training.neural.training_metrics import MEASURED

pytestmark = pytest.mark.long
KILLED = str(Path(__file__).parents[1] / "killed.toml")
CLOCK = {"fit/seconds", "fit/cpu_seconds", *MEASURED, *(f"fit/{name}" for name in MEASURED)}


def run_in(home: Path) -> None:
    """Run the flow up to the fitted models."""
    from reviewlm.flows.retrain import retrain

    with other_home(home):
        retrain(KILLED, until="train")


def fit_processes() -> list[psutil.Process]:
    """Return the running fits of the network in this process."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it may have ended
            if child.name() == "fit lstm":
                found.append(child)
    return found


class Killer(threading.Thread):
    """Ends the fit's process once its journal has some more lines than it had."""

    def __init__(self, home: Path, lines: int) -> None:
        super().__init__(daemon=True)
        self.home, self.lines, self.killed = home, lines, False

    def run(self) -> None:
        """Wait for the lines, then kill."""
        wanted = self._written() + self.lines
        until = time.monotonic() + 240
        while time.monotonic() < until and not self.killed:
            if self._written() >= wanted:
                for process in fit_processes():
                    process.kill()
                    self.killed = True
            time.sleep(0.002)

    def _written(self) -> int:
        return sum(
            len(path.read_bytes().splitlines())
            for path in self.home.glob("store/.work/*/metrics.jsonl")
        )


def left_by(home: Path) -> dict[str, Any]:
    """Return what a fit leaves: the bundle's digest, samples, MLflow's history of every metric."""
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    [lstm] = client.search_runs(
        ["1"], "attributes.run_name LIKE 'lstm,%' and attributes.status = 'FINISHED'"
    )
    measured = {*lstm.data.metrics}
    names = {name for name in measured if own_metric_name(name) not in CLOCK}
    history = {name: client.get_metric_history(lstm.info.run_id, name) for name in names}
    bundles = [load_bundle(file.parent) for file in home.glob("store/fit/*/bundle/spec.json")]
    bundle = next(bundle for bundle in bundles if bundle.spec.name == "lstm")
    return {
        "bundle": bundle.digest,
        "history": {
            name: [(point.step, point.value) for point in points]
            for name, points in history.items()
        },
        "samples": generate(bundle, 5, max_tokens=20, seed=2),
    }


@pytest.mark.drill(
    "killed at any moment",
    "kill -9 of a fit's process under the flow",
    "next run: same model, same texts, each point once",
)
def test_a_fit_killed_under_the_flow_goes_on_with_the_next_run(
    prefect_server: None, tmp_path: Path
) -> None:
    run_in(tmp_path / "undisturbed")
    undisturbed = left_by(tmp_path / "undisturbed")
    steps = [step for step, _ in undisturbed["history"]["train/nats"]]
    assert len(steps) == len(set(steps)) > 80

    killed = tmp_path / "killed"
    shutil.copytree(
        tmp_path / "undisturbed",
        killed,
        ignore=shutil.ignore_patterns("fit", "mlflow.db", "mlartifacts"),
    )
    killer = Killer(killed, 30)
    killer.start()
    with pytest.raises(RankFailed, match="lstm"):
        run_in(killed)
    killer.join(10)
    assert killer.killed
    assert list(killed.glob("store/.work/*/checkpoints/*.safetensors"))
    run_in(killed)
    assert left_by(killed) == undisturbed
