"""A sweep's study: which one it is, seeded, taken up after a kill, pruned by Optuna; and what is told of its winner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from reviewlm.core.config.presets import parse_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import ArtifactError, FitError
from reviewlm.tasks.fitting import sweep
from reviewlm.tasks.fitting.fit import EnoughSeen
from reviewlm.tasks.fitting.sweep import (
    fresh_figures,
    plan_sweep,
    study_in,
    trial_row,
    trials_to_fit,
)
from tests.programs import command

ROOT = Path(__file__).resolve().parents[3]
PREPARED: Any = SimpleNamespace(
    tokens={
        "word": {split: SimpleNamespace(digest=split) for split in ("train", "validation", "test")}
    }
)
SPACE = {
    "hidden": "8..64:log",
    "dropout": "0..0.5",
    "tied": "true|false",
}


def config(
    start: str = "fresh",
    hidden: int = 16,
    evaluations: int = 8,
    **chosen: Any,
) -> RunConfig:
    training = {
        "start": start,
        "evaluations": evaluations,
        "seed": 4,
    }
    model = {
        "kind": "lstm",
        "name": "lstm",
        "hidden": hidden,
        "training": training,
    }
    settings = {
        "space": SPACE,
        "trials": 7,
        "random_trials": 3,
        "seeds": 3,
        **chosen,
    }
    return parse_config(
        {
            "models": [model],
            "baseline": "lstm",
            "sweep": settings,
        }
    )


@contextmanager
def opened(folder: Path, **chosen: Any) -> Iterator[tuple[optuna.Study, Iterator[optuna.Trial]]]:
    plan = plan_sweep(config(**chosen))
    with study_in(folder, plan) as study:
        yield study, trials_to_fit(plan, study)


def complete(study: optuna.Study, trial: optuna.Trial) -> None:
    """Dropout matters most, tied not at all."""
    study.tell(trial, 3 + 4 * abs(trial.params["dropout"] - 0.2) + 0.01 * trial.params["hidden"])


def work(
    folder: Path, until: int = 99, **chosen: Any
) -> list[tuple[int, dict[str, Any], float | None]]:
    """Ask for trials until there are enough, or *until* have ended here; return number, values and loss of all."""
    with opened(folder, **chosen) as (study, trials):
        for _ in range(until):
            if (trial := next(trials, None)) is None:
                break
            complete(study, trial)
        return [(trial.number, trial.params, trial.value) for trial in study.trials]


# Its trials


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Make a sweep with a seed, to be compared with other sweeps."""
    return work(tmp_path_factory.mktemp("one"), seed=1)


@pytest.mark.slow
def test_equal_seeds_ask_for_the_same_values(seeded: list[Any], tmp_path: Path) -> None:
    assert work(tmp_path, seed=1) == seeded


@pytest.mark.slow
def test_other_seeds_ask_for_other_values(seeded: list[Any], tmp_path: Path) -> None:
    assert work(tmp_path, seed=2) != seeded


@pytest.mark.slow
def test_values_come_from_the_space(seeded: list[Any]) -> None:
    for _, values, _ in seeded:
        assert isinstance(values["hidden"], int)
        assert 8 <= values["hidden"] <= 64
        assert 0 <= values["dropout"] <= 0.5
        assert values["tied"] in (True, False)


@pytest.mark.slow
def test_a_sweep_that_was_stopped_comes_out_as_one_that_was_not(tmp_path: Path) -> None:
    work(tmp_path / "pieces", until=4)
    work(tmp_path / "longer", trials=3)
    whole = work(tmp_path / "whole")
    assert (
        work(tmp_path / "pieces")
        == work(tmp_path / "longer")
        == whole
        == work(tmp_path / "whole", trials=2)
    )
    assert [number for number, _, _ in whole] == list(range(7))


@pytest.mark.long
def test_after_a_kill_all_is_as_if_nothing_had_happened(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run(
        command("sweep_until_killed", tmp_path / "killed"),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert work(tmp_path / "killed") == work(tmp_path / "whole")


def test_interrupted_trials_are_fitted_again_under_their_numbers_also_in_a_sweep_made_longer(
    tmp_path: Path,
) -> None:
    with opened(tmp_path, trials=3) as (study, trials):
        first, second, third = trials
        complete(study, third)
    with opened(tmp_path, trials=4) as (study, trials):
        again = list(trials)
        assert [trial.params for trial in again[:2]] == [first.params, second.params]
        for trial in again:
            complete(study, trial)
        assert [(trial.number, trial.state) for trial in study.trials] == [
            (n, TrialState.COMPLETE) for n in range(4)
        ]


def test_a_study_is_worked_on_by_one_run_at_a_time(tmp_path: Path) -> None:
    ended: list[int] = []
    with opened(tmp_path, trials=1) as (study, trials):
        waiting = threading.Thread(
            target=lambda: ended.extend(one[0] for one in work(tmp_path, trials=1))
        )
        waiting.start()
        complete(study, next(trials))
        assert ended == []
    waiting.join(60)
    assert ended == [0]


def test_a_study_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database at all " * 100)

    with pytest.raises(ArtifactError):
        work(tmp_path)


def test_an_empty_file_is_a_new_study(tmp_path: Path) -> None:
    """A kill that came before the first write leaves one."""
    (tmp_path / "study.db").write_bytes(b"")

    assert work(tmp_path, until=0) == []


@pytest.mark.slow
@pytest.mark.parametrize("looks", [(1, 2, 3, 4), (4,)], ids=["as it goes", "once it has ended"])
def test_the_median_prunes_what_is_worse_from_the_evaluation_on_that_was_set(
    tmp_path: Path, looks: tuple[int, ...]
) -> None:
    def reach(curve: Callable[[int], float]) -> int | None:
        """Show a fit's journal and return the evaluation at which its trial is pruned, None if it never is."""
        trial, journal = next(trials), tmp_path / "journal.jsonl"
        watch = sweep._Watch(trial, 4)
        for evaluations in looks:
            rows = [
                {"step": step, "validation/nats": curve(step)} for step in range(1, evaluations + 1)
            ]
            journal.write_text("\n".join(map(json.dumps, rows)))
            try:
                watch(journal)
            except EnoughSeen:
                study.tell(trial, state=TrialState.PRUNED)
                return watch.seen
        study.tell(trial, curve(4))
        return None

    with opened(tmp_path, random_trials=2, prune_after=2) as (study, trials):
        assert reach(lambda n: 9 - n) is None  # nothing to compare with yet
        assert reach(lambda n: 8 - n) is None
        assert reach(lambda n: 9.5 - n) == 2
        assert reach(lambda n: 7 - n) is None
        pruned = study.trials[2]
    assert pruned.state == TrialState.PRUNED
    assert trial_row(pruned)["perplexity"] is None
    assert pruned.intermediate_values == {1: 8.5, 2: 7.5}


@pytest.mark.slow
def test_importance_follows_what_the_loss_depends_on(tmp_path: Path) -> None:
    plan = plan_sweep(config())
    work(tmp_path, trials=3)
    with opened(tmp_path) as (study, _):
        assert sweep.importances(plan, study) == {}  # three trials say nothing
    work(tmp_path, trials=12)
    with opened(tmp_path) as (study, _):
        shares = sweep.importances(plan, study)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda name: shares[name]) == "dropout"


# The winner


def test_the_interval_is_that_of_the_fresh_seeds_that_finished() -> None:
    figures = fresh_figures([4.0, 4.1, None, 4.2], 0.95)
    assert (figures["seeds"], figures["seeds_failed"]) == (3, 1)
    # Student's t of 2 degrees of freedom is 4.302653, so the interval is 4.1 ± 0.2484138 nats.
    assert [figures[name] for name in ("low", "perplexity", "high")] == pytest.approx(
        [47.0679, 60.3403, 77.3555], 1e-5
    )
    assert "perplexity" not in fresh_figures([None], 0.95)


def test_a_trial_of_hopeless_loss_is_a_row_like_others(tmp_path: Path) -> None:
    """exp(800) is no floating-point number."""
    with opened(tmp_path) as (study, trials):
        study.tell(next(trials), 800.0)
        assert trial_row(study.trials[0])["perplexity"] > 1e300


def test_a_sweep_of_which_no_trial_ends_well_says_why(tmp_path: Path) -> None:
    with opened(tmp_path, trials=2) as (study, trials):
        for trial in trials:
            trial.set_user_attr(sweep.REASON, "Diverged: loss nan")
            study.tell(trial, state=TrialState.FAIL)
        with pytest.raises(FitError, match="Diverged: loss nan"):
            sweep.best_trial(study)


# Which study it is


class Champion:
    """A registry whose champion has a bundle of its own for each name; None for no champion, "" for a lost one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, "first"

    def alias(self, name: str) -> Any:
        return None if self.name is None else SimpleNamespace(version=3)

    def bundle_folder(self, version: Any) -> Path:
        bundle = self.folder / self.name
        bundle.mkdir(exist_ok=True)
        if self.name:
            (bundle / "spec.json").write_text(self.name)
        return bundle


@pytest.fixture
def champion(
    tmp_path: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Champion:
    champion = Champion(tmp_path / "bundles")
    champion.folder.mkdir()
    monkeypatch.setattr("reviewlm.tasks.fitting.warm_start.registry_of", lambda *asked: champion)
    return champion


def name_of(config: RunConfig) -> str:
    return sweep.study_folder(plan_sweep(config), PREPARED).name


def test_trials_of_another_champion_are_another_study_if_fits_start_from_it(
    champion: Champion,
) -> None:
    first, fresh = name_of(config(start="champion")), name_of(config())
    champion.name = "second"
    assert name_of(config(start="champion")) != first
    assert name_of(config()) == fresh
    champion.name = "first"
    assert name_of(config(start="champion")) == first


@pytest.mark.parametrize("gone", [None, ""])
def test_without_a_champion_a_sweep_is_one_study(champion: Champion, gone: Any) -> None:
    champion.name = gone
    assert name_of(config(start="champion"))
