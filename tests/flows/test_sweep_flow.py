"""A real sweep, killed with SIGKILL in its first fit and taken up again: nothing is lost, doubled or done twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from reviewlm.core.environment import other_home
from reviewlm.core.errors import ConfigError
from reviewlm.tasks.execution.cluster import is_installed
from tests.small_cluster import MISSING, small_cluster

ONE = str(Path(__file__).with_name("one.toml"))
RATES = "0.02|1e-5|1e30"
"""The first learns, the second is hopeless, the third diverges; seed 3 asks for first, first, second, third."""
SETTINGS = ["sweep.seed=3", "sweep.random_trials=1", "sweep.prune_after=1", "execution.workers=1"]
OVERRIDES = [
    *SETTINGS,
    "sweep.trials=4",
    "sweep.seeds=2",
    f'sweep.space={{"training.learning_rate" = "{RATES}"}}',
]


@dataclass
class Swept:
    """The home of the sweep and what the second run, which came to its end, returned."""

    home: Path
    result: dict[str, Any]

    def trials(self, state: str) -> list[dict[str, Any]]:
        return [row for row in self.result["trials"] if row["state"] == state]


@pytest.fixture(scope="module")
def swept(
    prefect_server: None,
    tmp_path_factory: pytest.TempPathFactory,
    template_home: Path,
) -> Any:
    from reviewlm.flows.sweep import sweep

    home = Path(shutil.copytree(template_home, tmp_path_factory.mktemp("sweep") / "home"))
    with other_home(home):
        kill_in_first_fit(home)
        yield Swept(home, sweep(ONE, None, OVERRIDES))


def kill_in_first_fit(home: Path) -> None:
    """Start the sweep from the command line and kill all of its processes once the fit has been evaluated."""
    from prefect.settings import PREFECT_API_URL

    told = [f"--set={setting}" for setting in SETTINGS]
    space = f"--space=training.learning_rate={RATES}"
    options = ["--preset", ONE, "--trials=4", "--seeds=2", space, *told]
    command = [sys.executable, "-m", "reviewlm.cli", "models", "sweep", *options]
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    log = home / "killed.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        until = time.monotonic() + 240
        while not any(
            "validation" in file.read_text() for file in home.glob("store/.work/*/metrics.jsonl")
        ):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until
            time.sleep(0.02)
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert psutil.wait_procs(family, timeout=20)[1] == []


def runs_of(home: Path) -> dict[str, Any]:
    """All runs in MLflow by name; no two may have the same."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    found = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()]
    )
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name.partition(",")[0].removeprefix("failed "): run for run in found}


@pytest.mark.long
def test_failures_do_not_end_the_sweep(swept: Swept) -> None:
    trials = [(row["state"], row["training.learning_rate"]) for row in swept.result["trials"]]
    assert sorted(trials) == [
        ("complete", 0.02),
        ("complete", 0.02),
        ("failed", 1e30),
        ("pruned", 1e-5),
    ]


@pytest.mark.long
def test_a_failed_trial_has_its_reason(swept: Swept) -> None:
    [failed] = swept.trials("failed")
    assert "Diverged" in failed["reason"]


@pytest.mark.long
def test_a_pruned_trial_has_its_evaluation_as_reason(swept: Swept) -> None:
    [pruned] = swept.trials("pruned")
    assert "evaluation 1 of 3" in pruned["reason"]
    assert pruned["perplexity"] is None


@pytest.mark.long
def test_the_sweep_is_one_run_in_mlflow_with_one_child_for_each_fit(swept: Swept) -> None:
    runs = runs_of(swept.home)
    seeds = {f"trial {swept.result['winner']['trial']} seed {seed}" for seed in (2, 3)}
    assert [row["trial"] for row in swept.result["trials"]] == [0, 1, 2, 3]
    assert set(runs) == {"sweep", "trial 0", "trial 1", "trial 2", "trial 3", *seeds}
    parent = runs.pop("sweep")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    winner = swept.result["winner"]
    assert runs[f"trial {winner['trial']}"].info.run_id == winner["mlflow_run_id"]


@pytest.mark.long
def test_no_run_of_the_sweep_is_left_running(swept: Swept) -> None:
    runs = runs_of(swept.home)
    assert runs.pop("sweep").info.status == "FINISHED"
    states = {run.data.tags["sweep.state"]: run.info.status for run in runs.values()}
    assert states == {
        "complete": "FINISHED",
        "pruned": "FINISHED",
        "failed": "FAILED",
    }


@pytest.mark.long
def test_the_run_of_the_killed_trial_has_parameters(swept: Swept) -> None:
    run = runs_of(swept.home)["trial 0"]
    assert run.data.params["sweep.training.learning_rate"] == "0.02"
    assert run.data.params["architecture.hidden"] == "16"


@pytest.mark.long
def test_the_run_of_the_killed_trial_has_one_point_for_each_step(swept: Swept) -> None:
    from mlflow import MlflowClient

    run = runs_of(swept.home)["trial 0"]
    client = MlflowClient(tracking_uri=f"sqlite:///{swept.home / 'mlflow.db'}")
    history = client.get_metric_history(run.info.run_id, "validation/nats")
    steps = [point.step for point in history]
    assert len(steps) == len(set(steps)) == 3


@pytest.mark.long
def test_equal_trials_are_fitted_once(swept: Swept) -> None:
    fits = list((swept.home / "store" / "fit").iterdir())
    assert len(fits) == 1 + 2  # the rate that learns, and its two fresh seeds


@pytest.mark.long
def test_nothing_of_pruned_or_failed_trials_is_kept(swept: Swept) -> None:
    assert not [path for path in swept.home.glob("store/.work/*/**/*") if path.is_file()]


@pytest.mark.long
def test_the_winner_has_an_interval_from_seeds_that_the_search_has_not_seen(swept: Swept) -> None:
    winner = swept.result["winner"]
    assert winner["values"] == {"training.learning_rate": 0.02}
    assert winner["seeds"] == 2
    assert winner["low"] < winner["perplexity"] < winner["high"]
    assert swept.result["toml"] == "training.learning_rate = 0.02"


@pytest.mark.long
def test_a_rerun_of_a_sweep_fits_nothing(swept: Swept) -> None:
    from reviewlm.flows.sweep import sweep

    before = runs_of(swept.home)
    again = sweep(ONE, None, OVERRIDES)
    after = runs_of(swept.home)
    assert {name: run.info.end_time for name, run in before.items() if name != "sweep"} == {
        name: run.info.end_time for name, run in after.items() if name != "sweep"
    }
    names = ("trials", "winner", "mlflow_run_id", "overrides")
    assert {name: again[name] for name in names} == {name: swept.result[name] for name in names}
    assert len(list((swept.home / "store" / "fit").iterdir())) == 3


@pytest.mark.slow
def test_a_sweep_on_a_cluster_is_that_of_this_machine(
    swept: Swept,
    template_home: Path,
    tmp_path: Path,
) -> None:
    from reviewlm.flows.sweep import sweep

    if not is_installed():
        pytest.skip(MISSING)
    with (
        small_cluster(nodes=2) as cluster,
        other_home(Path(shutil.copytree(template_home, tmp_path / "home"))),
    ):
        there = sweep(ONE, None, [*OVERRIDES, f"execution.cluster={cluster.address}"])
    for one, other in zip(there["trials"], swept.result["trials"], strict=True):
        assert [one["state"], one["training.learning_rate"]] == [
            other["state"],
            other["training.learning_rate"],
        ]
    for name in (
        "trial",
        "values",
        "perplexity",
        "low",
        "high",
    ):  # a node has one thread: equal up to rounding
        assert there["winner"][name] == pytest.approx(swept.result["winner"][name], rel=1e-5)


@pytest.mark.long
def test_the_overrides_of_the_winner_take_the_fit_from_the_store(swept: Swept) -> None:
    from reviewlm.core.config.presets import load_config
    from reviewlm.flows.retrain import retrain
    from reviewlm.tasks.records.track import tracker_of

    trained = retrain(ONE, None, swept.result["overrides"], until="train")
    assert [model["reused"] for model in trained["models"]] == [True]
    run = runs_of(swept.home)["lstm"]
    model = tracker_of(load_config(ONE).workspace).tag(run.info.run_id, "reviewlm.model_uri")
    assert model, "it is logged"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["sweep.space.hiden=1..2"], "did you mean 'hidden'"),
        (["sweep.model=lsdm", "sweep.space.hidden=8..9"], "did you mean 'lstm'"),
        ([], "no space to search"),
    ],
)
def test_a_wrong_sweep_is_refused_before_any_work(
    prefect_server: None,
    own_home: Path,
    overrides: list[str],
    said: str,
) -> None:
    from reviewlm.flows.sweep import sweep

    with pytest.raises(ConfigError, match=said):
        sweep(ONE, None, overrides)
    assert not own_home.exists()
