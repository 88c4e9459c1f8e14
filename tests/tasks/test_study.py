"""A sweep's study: seeded, taken up after a kill, pruned and explained by Optuna. No model is fitted here."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from core.config.presets import parse_config
from core.config.search_space import Choice, Range
from core.config.sections.sweep import SweepConfig
from core.errors import ArtifactError, FitError
from tasks.sweep import finalists_of, nats_of, number_of, plan_sweep
from tasks.sweep_study import REASON, Study, opened_study

ROOT = Path(__file__).resolve().parents[2]
SPACE = {
    "hidden": Range(8, 64, whole=True, log=True), "dropout": Range(0, 0.5, whole=False), "tied": Choice((True, False)),
}  # fmt: skip


def options(**changes: Any) -> SweepConfig:
    return SweepConfig(**({"trials": 7, "random_trials": 3} | changes))


def complete(study: Study, trial: optuna.Trial | None, nats: float | None = None) -> None:
    """Dropout matters most, tied not at all."""
    assert trial is not None
    loss = 3 + 4 * abs(trial.params["dropout"] - 0.2) + 0.01 * trial.params["hidden"] if nats is None else nats
    study.tell(trial, TrialState.COMPLETE, "", {"validation_nats": loss})


def work(folder: Path, until: int = 99, **changes: Any) -> list[tuple[int, dict[str, Any], float]]:
    """Ask for trials until there are enough, or *until* have ended here; return number, values and loss of all."""
    with opened_study(folder, options(**changes), SPACE) as study:
        while until and (trial := study.ask()) is not None:
            complete(study, trial)
            until -= 1
        return [(number_of(trial), trial.params, nats_of(trial)) for trial in study.trials()]


@pytest.mark.slow
def test_values_come_from_the_space_and_equal_seeds_ask_the_same(tmp_path: Path) -> None:
    one, two, three = (work(tmp_path / name, seed=seed) for name, seed in (("one", 1), ("two", 1), ("three", 2)))
    assert one == two != three
    for _, values, _ in one:
        assert isinstance(values["hidden"], int)
        assert 8 <= values["hidden"] <= 64
        assert 0 <= values["dropout"] <= 0.5
        assert values["tied"] in (True, False)


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_stopped_and_may_be_made_longer_or_shorter(tmp_path: Path) -> None:
    work(tmp_path / "pieces", until=4)
    work(tmp_path / "longer", trials=3)
    whole = work(tmp_path / "whole")
    assert work(tmp_path / "pieces") == work(tmp_path / "longer") == whole == work(tmp_path / "whole", trials=2)
    assert [number for number, _, _ in whole] == list(range(7))


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.tasks.test_study import SPACE, complete, options
from tasks.sweep_study import opened_study
with opened_study(Path({folder!r}), options(), SPACE) as study:
    for _ in range(4):
        complete(study, study.ask())
    study.ask()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.long
def test_after_a_kill_all_is_as_if_nothing_had_happened(tmp_path: Path) -> None:
    code = KILLED.format(root=str(ROOT), folder=str(tmp_path / "killed"))
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert work(tmp_path / "killed") == work(tmp_path / "whole")


def test_interrupted_trials_are_asked_for_again_under_their_numbers_also_in_a_sweep_made_longer(tmp_path: Path) -> None:
    with opened_study(tmp_path, options(trials=3), SPACE) as study:
        first, second, third = study.ask(), study.ask(), study.ask()
        assert first is not None
        assert second is not None
        complete(study, third)
    with opened_study(tmp_path, options(trials=1), SPACE) as shorter:
        assert shorter.ask() is None
    with opened_study(tmp_path, options(trials=4), SPACE) as study:
        again = [trial for _ in range(4) if (trial := study.ask()) is not None]
        assert [trial.params for trial in again[:2]] == [first.params, second.params]
        for trial in again:
            complete(study, trial)
        assert [number_of(trial) for trial in study.trials()] == [0, 1, 2, 3]


def test_a_study_is_worked_on_by_one_run_at_a_time(tmp_path: Path) -> None:
    ended: list[int] = []

    def other() -> None:
        ended.extend(number for number, _, _ in work(tmp_path, trials=1))

    with opened_study(tmp_path, options(trials=1), SPACE) as study:
        waiting = threading.Thread(target=other)
        waiting.start()
        complete(study, study.ask(), 2.0)
        assert ended == []
    waiting.join(60)
    assert ended == [0]


@pytest.mark.parametrize("content", [b"no database at all " * 100, b""])
def test_a_study_that_is_no_database_is_refused_and_an_empty_file_is_a_new_study(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "study.db").write_bytes(content)
    if not content:  # as a kill leaves it that came before the first write
        assert work(tmp_path, until=0) == []
        return
    with pytest.raises(ArtifactError):
        work(tmp_path)


def reach(study: Study, curve: Callable[[int], float]) -> int | None:
    """Report a curve and return the evaluation at which its trial is pruned, None if it never is."""
    trial = study.ask()
    assert trial is not None
    for evaluation in range(1, 5):
        trial.report(curve(evaluation), evaluation)
        if trial.should_prune():
            study.tell(trial, TrialState.PRUNED, "hopeless", {})
            return evaluation
    complete(study, trial, curve(4))
    return None


@pytest.mark.slow
def test_the_median_prunes_what_is_worse_from_the_evaluation_on_that_was_set(tmp_path: Path) -> None:
    with opened_study(tmp_path, options(random_trials=2, prune_after=2), SPACE) as study:
        assert reach(study, lambda n: 9 - n) is None  # nothing to compare with yet
        assert reach(study, lambda n: 8 - n) is None
        assert reach(study, lambda n: 9.5 - n) == 2
        assert reach(study, lambda n: 7 - n) is None
        pruned = study.trials()[2]
    assert (pruned.state, pruned.user_attrs[REASON], nats_of(pruned)) == (TrialState.PRUNED, "hopeless", float("inf"))
    assert pruned.intermediate_values == {1: 8.5, 2: 7.5}


@pytest.mark.slow
def test_importance_follows_what_the_loss_depends_on_and_is_drawn(tmp_path: Path) -> None:
    work(tmp_path, trials=3)
    with opened_study(tmp_path, options(trials=12), SPACE) as study:
        assert study.importances() == {}  # three trials say nothing
        assert [name for name, _ in study.figures()] == ["sweep_history", "sweep_slices"]
        while (trial := study.ask()) is not None:
            complete(study, trial)
        shares = study.importances()
        assert [name for name, _ in study.figures()] == ["sweep_history", "sweep_slices", "sweep_importance"]
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda name: shares[name]) == "dropout"


def test_a_sweep_of_which_no_trial_ends_well_says_why(tmp_path: Path) -> None:
    model = {"kind": "lstm", "name": "lstm"}
    config = parse_config({"models": [model], "baseline": "lstm", "sweep": {"space": {"hidden": "8..64"}}})
    with opened_study(tmp_path, options(trials=3), SPACE) as study:
        for state, reason in (
            (TrialState.PRUNED, "at evaluation 1 of 3"), (TrialState.FAIL, "Diverged: loss nan"),
            (TrialState.FAIL, "Diverged: loss inf"),
        ):  # fmt: skip
            trial = study.ask()
            assert trial is not None
            study.tell(trial, state, reason, {})
        with pytest.raises(FitError) as error:
            finalists_of(plan_sweep(config), study)
    assert "Diverged: loss nan" in str(error.value)
