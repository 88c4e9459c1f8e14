"""Kill -9 of an MLflow server in the first fit of `reviewlm run`: started again before the end, or only afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.environment import TRACKING_VARIABLE
from reviewlm.core.errors import TrackingUnavailable
from reviewlm.tracking.client import open_client
from reviewlm.tracking.runs.record import waiting_runs
from tests.flows.first_run import ROOT, TINY, answer, user_environment
from tests.tracking.mlflow_servers import Served, store_server
from tests.tracking.run_names import model_of

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
MODELS = {"kn2", "lstm", "gru-char", "mix"}
COMPARED = ("train/", "validation/", "test/")
"""Groups of metrics that do not depend on the clock."""


@dataclass(frozen=True)
class Place:
    """A home with its MLflow server, which keeps the artifacts."""

    home: Path
    served: Served
    kept: Path

    def run(self, *options: str) -> subprocess.Popen[str]:
        """Start `reviewlm run`."""
        command = [
            sys.executable,
            "-m",
            "reviewlm.cli",
            "run",
            "--preset",
            TINY,
            *options,
            "--json",
        ]
        with self.home.with_name("said").open("a") as said:
            return subprocess.Popen(
                command,
                env=user_environment(self.home) | self.variables,
                cwd=ROOT,
                text=True,
                stdout=subprocess.PIPE,
                stderr=said,
            )

    @property
    def variables(self) -> dict[str, str]:
        return {TRACKING_VARIABLE: self.served.address}

    def waiting(self) -> int:
        return sum(row["waiting"] for row in waiting_runs(self.home))

    def fits(self) -> dict[str, int]:
        """Return when each finished fit was made."""
        files = self.home.glob("store/fit/*/bundle/spec.json")  # a manifest is touched at each use
        return {path.parents[1].name: path.stat().st_mtime_ns for path in files}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with served_place(tmp_path) as place:
        yield place


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What MLflow holds after a run that nobody disturbed."""
    with served_place(tmp_path_factory.mktemp("undisturbed")) as place:
        assert answer(
            place.home,
            "run",
            "--preset",
            TINY,
            **place.variables,
        )["promoted"]
        return held(place)


@contextmanager
def served_place(folder: Path) -> Iterator[Place]:
    (at_server := folder / "server").mkdir()
    with store_server(at_server, at_server) as server:
        yield Place(folder / "home", server, at_server / "kept")


def held(place: Place) -> dict[str, Any]:
    """Return what MLflow holds of each model: it must be there once."""
    client = open_client(place.served.address)
    experiment = client.get_experiment_by_name("reviewlm-demo").experiment_id
    runs = [
        run for run in client.search_runs([experiment]) if "mlflow.parentRunId" in run.data.tags
    ]
    assert Counter(model_of(run.info.run_name) for run in runs) == dict.fromkeys(MODELS, 1)
    found: dict[str, Any] = {}
    for run in runs:
        points = {
            name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics
        }
        for name, history in points.items():
            assert len(history) == len({point.step for point in history}), (
                f"{name} of {model_of(run.info.run_name)}"
            )
        [model] = run.outputs.model_outputs
        folders = (
            place.kept / experiment / run.info.run_id,
            place.kept / experiment / "models" / model.model_id,
        )
        found[model_of(run.info.run_name)] = {
            "status": run.info.status,
            "params": len(run.data.params),
            "metrics": set(points),
            "points": {
                name: [(point.step, point.value) for point in history]
                for name, history in points.items()
                if name.startswith(COMPARED)
            },
            "inputs": sorted(entry.dataset.name for entry in run.inputs.dataset_inputs),
            "files": [
                sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
                for folder in folders
            ],
        }
    models = client.search_logged_models([experiment])
    found["logged models"] = Counter(str(model.status) for model in models)
    found["versions"] = len(client.search_model_versions("name = 'reviewlm-demo'"))
    found["champion"] = int(client.get_model_version_by_alias("reviewlm-demo", "champion").version)
    return found


def until(
    happens: Callable[[], object],
    run: subprocess.Popen[str],
    seconds: float = 300,
) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert run.poll() is None, "the run ended before"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_in_the_first_fit(place: Place, run: subprocess.Popen[str]) -> None:
    until(lambda: any(place.home.glob("store/.work/*/metrics.jsonl")), run)
    place.served.kill()


def ended(run: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Return exit code and last line of a command."""
    said, _ = run.communicate(timeout=1200)
    return run.returncode, json.loads(said.splitlines()[-1])


@pytest.mark.drill(
    "MLflow server away",
    "kill -9 of the server in the first fit of `reviewlm run`, started again before the end",
    "the run ends well; everything is there, once",
)
def test_a_server_that_is_back_before_the_gate_gets_everything_once(
    place: Place, undisturbed: dict[str, Any]
) -> None:
    run = place.run()
    kill_in_the_first_fit(place, run)
    until(lambda: place.waiting() > 1, run)  # the run and a model's
    place.served.start()
    code, result = ended(run)
    assert (code, result["promoted"], result["champion_version"]) == (0, True, 1)
    require_sent(place)
    assert held(place) == undisturbed


@pytest.mark.drill(
    "MLflow server away",
    "kill -9 of the server in the first fit of `reviewlm run`, started again after its end",
    "exit code 8 at the gate; the next run fits nothing again; everything is there, once",
)
def test_a_server_that_is_back_after_the_end_gets_everything_with_the_next_run(
    place: Place, undisturbed: dict[str, Any]
) -> None:
    run = place.run("--set", "execution.tracking_patience=5")
    kill_in_the_first_fit(place, run)
    code, result = ended(run)
    assert (code, result["error"]["kind"]) == (
        TrackingUnavailable.exit_code,
        TrackingUnavailable.__name__,
    )
    fits = place.fits()
    assert len(fits) == len(MODELS)
    assert place.waiting() >= 1

    place.served.start()
    code, result = ended(place.run())
    assert (code, result["promoted"], result["champion_version"]) == (0, True, 1)
    assert place.fits() == fits
    require_sent(place)
    assert held(place) == undisturbed


def require_sent(place: Place) -> None:
    assert waiting_runs(place.home) == []
