"""A sweep's study: seeded, shared, and none the worse for processes that die. No model is fitted here."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config.presets import parse_config
from core.config.search_space import Choice, Range
from core.config.sections.sweep import SweepConfig
from core.errors import ArtifactError, FitError
from tasks.sweep import finalists_of, plan_sweep
from tasks.sweep_study import RunningTrial, Study

ROOT = Path(__file__).resolve().parents[2]
SPACE = {
    "hidden": Range(8, 64, whole=True, log=True), "dropout": Range(0, 0.5, whole=False), "tied": Choice((True, False)),
}  # fmt: skip


def options(**changes: Any) -> SweepConfig:
    return SweepConfig(**({"trials": 7, "random_trials": 3, "pruner": "none"} | changes))


def loss(asked: RunningTrial) -> float:
    """Dropout matters most, tied not at all."""
    return 3 + 4 * abs(float(asked.values["dropout"] or 0) - 0.2) + 0.01 * float(asked.values["hidden"] or 0)


def work(study: Study, until: int | None = None) -> None:
    with study.joined():
        done = 0
        while done != until and (asked := study.ask()) is not None:
            study.complete(asked, loss(asked), {"tokens": 10.0})
            done += 1


@pytest.mark.slow
def test_values_come_from_the_space_and_equal_seeds_ask_the_same(tmp_path: Path) -> None:
    asked = []
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        study = Study(tmp_path / name, options(seed=seed, trials=5), SPACE)
        work(study)
        asked.append([trial.values for trial in study.trials()])
    assert asked[0] == asked[1] != asked[2]
    for values in asked[0]:
        assert isinstance(values["hidden"], int)
        assert 8 <= values["hidden"] <= 64
        assert 0 <= values["dropout"] <= 0.5
        assert values["tied"] in (True, False)


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_stopped_and_may_be_made_longer(tmp_path: Path) -> None:
    work(Study(tmp_path / "pieces", options(), SPACE), until=4)
    work(Study(tmp_path / "pieces", options(), SPACE))
    work(Study(tmp_path / "longer", options(trials=3), SPACE))
    work(Study(tmp_path / "longer", options(), SPACE))
    work(Study(tmp_path / "whole", options(), SPACE))
    names = "pieces", "longer", "whole"
    pieces, longer, whole = (Study(tmp_path / name, options(), SPACE).trials() for name in names)
    assert pieces == longer == whole
    assert len(whole) == 7


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.tasks.test_study import SPACE, loss, options
from tasks.sweep_study import Study
study = Study(Path({folder!r}), options(), SPACE)
with study.joined():
    for _ in range(4):
        asked = study.ask()
        study.complete(asked, loss(asked), {{"tokens": 10.0}})
    study.ask().describe("the run in MLflow")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.long
def test_a_trial_of_a_killed_process_is_asked_for_again_and_then_all_is_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    code = KILLED.format(root=str(ROOT), folder=str(tmp_path / "killed"))
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    study = Study(tmp_path / "killed", options(), SPACE)
    assert [trial.state for trial in study.trials()][-1] == "running"
    with study.joined():
        again = study.ask()
        assert again is not None
        assert again.run_id == "the run in MLflow"
        study.complete(again, loss(again), {"tokens": 10.0})
    work(study)
    work(undisturbed := Study(tmp_path / "whole", options(), SPACE))
    told = [[(trial.state, trial.values, trial.nats) for trial in one.trials()] for one in (study, undisturbed)]
    assert told[0] == told[1]


def test_a_trial_of_a_process_that_is_gone_is_asked_for_again(tmp_path: Path) -> None:
    gone, study = (Study(tmp_path, options(trials=1), SPACE) for _ in range(2))
    first = gone.ask()
    assert first is not None
    first.describe("the run in MLflow")  # and it dies: nobody holds the lock of its owner's file
    with study.joined():
        again = study.ask()
        assert again is not None
        assert (again.values, again.run_id) == (first.values, "the run in MLflow")
        assert study.ask() is None


def test_a_trial_of_a_living_process_is_left_to_it(tmp_path: Path) -> None:
    mine, other = (Study(tmp_path, options(trials=2), SPACE) for _ in range(2))
    with other.joined():
        theirs = other.ask()
        with mine.joined():
            assert theirs is not None
            assert mine.busy()
            own = mine.ask()
            assert own is not None
            assert own.values != theirs.values
            assert mine.ask() is None
            mine.complete(own, 3.0, {})
            other.complete(theirs, 2.0, {})
            assert not mine.busy()
    assert [(trial.state, trial.nats) for trial in mine.trials()] == [("complete", 2.0), ("complete", 3.0)]


def test_what_was_interrupted_is_given_back_once(tmp_path: Path) -> None:
    study = Study(tmp_path, options(trials=1), SPACE)
    with study.joined():
        first = study.ask()
        assert first is not None
        study.give_back(first)
        study.give_back(first)
        second = study.ask()
        assert second is not None
        assert second.values == first.values
        study.fail(second, "diverged")
        assert study.ask() is None
    assert [(trial.state, trial.reason, trial.nats) for trial in study.trials()] == [("failed", "diverged", None)]


def test_a_sweep_made_shorter_asks_for_no_more_than_is_wanted_and_made_longer_again_for_what_was_interrupted(
    tmp_path: Path,
) -> None:
    study = Study(tmp_path, options(trials=3), SPACE)
    with study.joined():
        done, stopped = study.ask(), study.ask()
        assert done is not None
        assert stopped is not None
        study.complete(done, 3.0, {})
        study.give_back(stopped)
    shorter, longer = (Study(tmp_path, options(trials=wanted), SPACE) for wanted in (1, 2))
    assert shorter.ask() is None
    again = longer.ask()
    assert again is not None
    assert again.values == stopped.values


@pytest.mark.parametrize("content", [b"no database at all " * 100, b""])
def test_a_study_that_is_no_database_is_an_error_that_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "study.db").write_bytes(content)
    if not content:  # as a kill leaves it that came before the first write: nothing is lost, it begins
        assert Study(tmp_path, options(), SPACE).trials() == []
        return
    with pytest.raises(ArtifactError, match="cannot be opened") as error:
        Study(tmp_path, options(), SPACE)
    assert "move the folder away" in str(error.value)


def reach(study: Study, curve: Callable[[int], float]) -> tuple[RunningTrial, int | None]:
    """Report a curve and return the trial with the evaluation at which it is hopeless, None if it never is."""
    asked = study.ask()
    assert asked is not None
    for evaluation in range(1, 5):
        asked.report(evaluation, curve(evaluation))
        if asked.hopeless():
            study.prune(asked, "hopeless")
            return asked, evaluation
    study.complete(asked, curve(4), {})
    return asked, None


@pytest.mark.slow
def test_the_median_prunes_what_is_worse_from_the_evaluation_on_that_was_set(tmp_path: Path) -> None:
    study = Study(tmp_path, options(pruner="median", random_trials=2, prune_after=2), SPACE)
    with study.joined():
        assert reach(study, lambda n: 9 - n)[1] is None  # nothing to compare with yet
        assert reach(study, lambda n: 8 - n)[1] is None
        assert reach(study, lambda n: 9.5 - n)[1] == 2
        assert reach(study, lambda n: 7 - n)[1] is None
    pruned = study.trials()[2]
    assert (pruned.state, pruned.reason, pruned.nats, pruned.reached) == ("pruned", "hopeless", None, {1: 8.5, 2: 7.5})


def test_halving_keeps_the_best_third(tmp_path: Path) -> None:
    study = Study(tmp_path, options(pruner="halving", prune_after=1), SPACE)
    with study.joined():
        ended = [reach(study, lambda n, worse=worse: 5 + worse - n / 10)[1] for worse in (0, 1, 2, 3)]
    assert ended[0] is None
    assert ended[1:] == [1, 1, 1]


@pytest.mark.slow
def test_an_interrupted_attempt_is_no_rival_when_halving(tmp_path: Path) -> None:
    """Of five trials the best third is one; of six it would be two, and the second best would go on."""
    study = Study(tmp_path, options(pruner="halving", prune_after=1), SPACE)
    with study.joined():
        assert reach(study, lambda n: 1.0)[1] is None
        stopped = study.ask()
        assert stopped is not None
        stopped.report(1, 5.0)
        assert stopped.hopeless()
        study.give_back(stopped)
        assert [reach(study, lambda n, nats=nats: nats)[1] for nats in (5.0, 4.0, 3.0, 2.0)] == [1, 1, 1, 1]


@pytest.mark.slow
def test_importance_follows_what_the_loss_depends_on(tmp_path: Path) -> None:
    study = Study(tmp_path, options(trials=3), SPACE)
    work(study)
    assert study.importances() == {}  # three trials say nothing
    study = Study(tmp_path, options(trials=12), SPACE)
    work(study)
    shares = study.importances()
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda name: shares[name]) == "dropout"


def test_a_sweep_of_which_no_trial_ends_well_says_why(tmp_path: Path) -> None:
    model = {"kind": "lstm", "name": "lstm"}
    config = parse_config({"models": [model], "baseline": "lstm", "sweep": {"space": {"hidden": "8..64"}}})
    study = Study(tmp_path, options(trials=3), SPACE)
    with study.joined():
        pruned = study.ask()
        assert pruned is not None
        study.prune(pruned, "at evaluation 1 of 3")  # no reason why none came to an end
        for reason in ("Diverged: loss nan", "Diverged: loss inf"):
            asked = study.ask()
            assert asked is not None
            study.fail(asked, reason)
    with pytest.raises(FitError, match="sweep finished: 2 failed, 1 pruned") as error:
        finalists_of(plan_sweep(config), study)
    assert "Diverged: loss nan" in str(error.value)
