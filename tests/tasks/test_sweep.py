"""A sweep around its study: which study it is, who wins, what is warned of, and where its fits begin."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tasks.sweep
import tasks.sweep_trial
from core.config.presets import parse_config
from core.config.run_config import RunConfig
from core.config.search_space import Value
from core.config.sections.sweep import SweepConfig
from evaluation.statistics.seeds import mean_interval
from tasks.fitting.fit import FitPlan
from tasks.fitting.warm_start import Start
from tasks.sweep import Finalist, finalist, finalists_of, inert_pruning, open_study, plan_sweep, summarise_sweep
from tasks.sweep_study import Trial
from tasks.sweep_trial import CHAMPION_NOTE, TrialRun, run_seed, run_trial
from tracking.registry.change import ChampionChanged

PREPARED: Any = SimpleNamespace(
    tokens={"word": {split: SimpleNamespace(digest=split) for split in ("train", "validation", "test")}}
)
SPACE = {"hidden": "8..64:log", "training.learning_rate": "1e-3..1e-2"}


def config(start: str = "fresh", hidden: int = 16, evaluations: int = 8, **sweep: Any) -> RunConfig:
    training = {"start": start, "evaluations": evaluations, "seed": 4}
    model = {"kind": "lstm", "name": "lstm", "hidden": hidden, "training": training}
    return parse_config({"models": [model], "baseline": "lstm", "sweep": {"space": SPACE, "seeds": 3, **sweep}})


def trial(number: int, nats: float) -> Trial:
    return Trial(number, "complete", {"hidden": 8 + number}, nats, {1: nats}, run_id=f"run {number}")


def best(*finalists: Finalist) -> int:
    return min(finalists, key=lambda found: found.rank).trial.number


# Who wins


def test_the_lowest_mean_over_fresh_seeds_wins_not_the_luckiest_trial() -> None:
    lucky = finalist(trial(0, 3.90), [4.2, 4.3, 4.4], 0.95)
    steady = finalist(trial(1, 4.00), [4.0, 4.1, 4.2], 0.95)
    assert best(lucky, steady) == 1
    assert steady.interval == mean_interval([4.0, 4.1, 4.2], 0.95)


@pytest.mark.parametrize("losses", [[None, None, 4.9], [None, None, None], [3.9, 3.9, None]])
def test_a_finalist_with_a_failed_seed_does_not_win_over_one_without(losses: list[float | None]) -> None:
    stable = finalist(trial(0, 4.05), [4.05, 4.06, 4.07], 0.95)
    shaky = finalist(trial(1, 3.99), losses, 0.95)
    assert best(stable, shaky) == best(shaky, stable) == 0
    assert shaky.failed == losses.count(None)


def test_where_all_finalists_have_failed_seeds_the_fewest_failures_decide_then_the_mean() -> None:
    one = finalist(trial(0, 4.0), [5.0, None, 5.2], 0.95)
    two = finalist(trial(1, 3.9), [None, None, 4.0], 0.95)
    better = finalist(trial(2, 4.1), [None, 5.0, 5.1], 0.95)
    assert best(one, two) == 0
    assert best(one, two, better) == 2


def test_without_fresh_seeds_the_search_decides() -> None:
    assert best(finalist(trial(0, 4.0), [], 0.95), finalist(trial(1, 3.9), [], 0.95)) == 1


def test_finalists_are_the_best_trials_each_model_once() -> None:
    """With AdamW momentum has no part: the first two trials are one model, whatever the sampler drew."""
    space = {"training.optimizer": "adamw|momentum", "training.momentum": "0.5..0.9"}
    plan = plan_sweep(config(space=space, finalists=2))
    drawn = [("adamw", 0.6), ("adamw", 0.7), ("momentum", 0.8), ("momentum", 0.9)]
    study: Any = Notes(trials=[
        Trial(number, "complete", {"training.optimizer": rule, "training.momentum": momentum}, nats)
        for number, ((rule, momentum), nats) in enumerate(zip(drawn, [3.5, 3.5, 3.9, 3.8], strict=True))
    ])  # fmt: skip
    assert [found.number for found in finalists_of(plan, study)] == [0, 3]


class Notes:
    """A study without a database: its trials and its notes."""

    def __init__(self, folder: Path = Path("study"), trials: Sequence[Trial] = ()) -> None:
        self.folder, self.found, self.notes, self.given_back = folder, list(trials), dict[str, str](), list[Any]()

    def trials(self) -> list[Trial]:
        return self.found

    def importances(self) -> dict[str, float]:
        return {}

    def note(self, name: str) -> str:
        return self.notes.get(name, "")

    def remember(self, name: str, value: str) -> None:
        self.notes[name] = value

    def give_back(self, asked: Any) -> None:
        self.given_back.append(asked)


class Tracker:
    """Keeps what would go to MLflow."""

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, str]] = {}
        self.metrics: dict[str, float] = {}

    def log_metrics(self, run_id: str, metrics: dict[str, float]) -> None:
        self.metrics |= metrics

    def set_tags(self, run_id: str, tags: dict[str, str]) -> None:
        self.tags.setdefault(run_id, {}).update(tags)

    def end_run(self, run_id: str, status: str) -> None:
        self.tags.setdefault(run_id, {})["status"] = status

    def link(self, run_id: str) -> str:
        return run_id

    def log_curves(self, *about: Any) -> None: ...
    def log_figure(self, *about: Any) -> None: ...
    def log_table(self, *about: Any) -> None: ...
    def log_text(self, *about: Any) -> None: ...


@pytest.fixture
def tracker(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    tracker = Tracker()
    for module in (tasks.sweep, tasks.sweep_trial):
        monkeypatch.setattr(module, "tracker_of", lambda config: tracker)
    return tracker


def test_failed_seeds_stand_in_the_table_with_the_winner_and_in_mlflow(
    tracker: Tracker, caplog: pytest.LogCaptureFixture
) -> None:
    stable, shaky = trial(0, 4.05), trial(1, 3.99)
    study: Any = Notes(trials=[stable, shaky])
    ended = [finalist(shaky, [None, None, 4.9], 0.95), finalist(stable, [4.05, None, 4.07], 0.95)]
    result = summarise_sweep.fn(plan_sweep(config()), study, ended, "parent")
    assert [row["seeds_failed"] for row in result["finalists"]] == [2, 1]
    assert [row["seeds"] for row in result["finalists"]] == [1, 2]
    assert result["finalists"][0].keys() == result["finalists"][1].keys()
    assert (result["winner"]["trial"], result["winner"]["seeds_failed"]) == (0, 1)
    assert "1 of its seeds failed" in caplog.text
    assert "1 of its seeds failed" in tracker.tags["parent"]["mlflow.note.content"]


def test_of_a_longer_sweep_the_new_best_is_marked_and_no_other(tracker: Tracker) -> None:
    study: Any = Notes(trials=[trial(0, 4.0)])
    plan = plan_sweep(config(seeds=0))
    summarise_sweep.fn(plan, study, [finalist(study.found[0], [], 0.95)], "parent")
    study.found.append(trial(1, 3.0))
    summarise_sweep.fn(plan, study, [finalist(study.found[1], [], 0.95)], "parent")
    assert [tracker.tags[f"run {number}"]["sweep.best"] for number in (0, 1)] == ["false", "true"]


def test_a_trial_of_hopeless_loss_is_shown_not_stumbled_over(tracker: Tracker) -> None:
    """exp(800) is no floating-point number."""
    study: Any = Notes(trials=[trial(0, 4.0), trial(1, 800.0), Trial(2, "pruned", {"hidden": 9}, None, {1: 900.0})])
    result = summarise_sweep.fn(plan_sweep(config()), study, [finalist(study.found[0], [], 0.95)], "parent")
    assert result["trials"][1]["perplexity"] > 1e300
    assert result["trials"][2]["reached"] > 1e300


def test_the_winners_options_are_written_as_the_configuration_takes_them(tracker: Tracker) -> None:
    """What the sampler drew for an option that has no part in the winner would be refused in a preset."""
    space = {"hidden": "8..64", "training.optimizer": "adamw|momentum", "training.momentum": "0.5..0.95"}
    values: dict[str, Value] = {"hidden": 9, "training.optimizer": "adamw", "training.momentum": 0.6}
    study: Any = Notes(trials=[Trial(0, "complete", values, 4.0, run_id="run 0")])
    plan = plan_sweep(config(space=space))
    result = summarise_sweep.fn(plan, study, [finalist(study.found[0], [], 0.95)], "parent")
    assert "models.0.hidden=9" in result["overrides"]
    assert "models.0.training.momentum=0.9" in result["overrides"]
    assert tomllib.loads(result["toml"]) == {
        "hidden": 9, "models": {"training": {"optimizer": "adamw", "momentum": 0.9}}
    }  # fmt: skip


# What is warned of


@pytest.mark.parametrize(
    ("options", "evaluations", "said"),
    [
        ({}, 3, ""),
        ({}, 2, "a fit has 2 evaluations"),
        ({"pruner": "halving"}, 2, "a fit has 2 evaluations"),
        ({"pruner": "none"}, 2, ""),
        ({"prune_after": 1}, 2, ""),
        ({"prune_after": 1}, 1, "a fit has 1 evaluations"),
        ({"trials": 6}, 8, "needs 6 finished trials"),
        ({"trials": 7}, 8, ""),
        ({"trials": 6, "pruner": "halving"}, 8, ""),
    ],
)
def test_pruning_that_cannot_happen_is_known_beforehand(options: dict[str, Any], evaluations: int, said: str) -> None:
    """At the last evaluation nothing is pruned; the median waits for `random_trials`, by default 6."""
    reason = inert_pruning(SweepConfig(**options), evaluations)
    assert (said in reason) if said else (reason == "")


def test_a_sweep_without_pruning_is_warned_of(own_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan_sweep(config(evaluations=4))
    assert caplog.messages == []
    plan_sweep(config(evaluations=2))
    assert caplog.messages[0].startswith("no trial of 'lstm' will be pruned: a fit has 2 evaluations")


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
def champion(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Champion:
    champion = Champion(tmp_path / "bundles")
    champion.folder.mkdir()
    monkeypatch.setattr("tasks.fitting.warm_start.registry_of", lambda config: champion)
    monkeypatch.setattr("tasks.sweep.Study", lambda folder, options, dimensions: Notes(folder))
    return champion


def name_of(config: RunConfig) -> str:
    return open_study(plan_sweep(config), PREPARED).folder.name


def test_trials_of_another_champion_are_another_study(champion: Champion) -> None:
    first = name_of(config(start="champion"))
    champion.name = "second"
    second = name_of(config(start="champion"))
    champion.name = "first"
    assert first == name_of(config(start="champion")) != second
    assert open_study(plan_sweep(config(start="champion")), PREPARED).note(CHAMPION_NOTE) != ""


def test_fits_that_start_fresh_are_compared_whoever_is_champion(champion: Champion) -> None:
    before = name_of(config())
    champion.name = "second"
    assert name_of(config()) == before


@pytest.mark.parametrize("gone", [None, ""])
def test_without_a_champion_all_fits_start_fresh_and_the_study_is_one(champion: Champion, gone: Any) -> None:
    champion.name = gone
    assert open_study(plan_sweep(config(start="champion")), PREPARED).note(CHAMPION_NOTE) == ""


def test_a_study_is_told_by_space_and_fixed_options_not_by_what_the_searched_ones_were(champion: Champion) -> None:
    study = name_of(config())
    assert name_of(config(hidden=32)) == study  # the winner's options, put into the preset: the search goes on
    assert name_of(config(trials=99, seeds=0, finalists=3)) == study
    assert name_of(config(evaluations=9)) != study
    assert name_of(config(seed=2)) != study
    assert name_of(config(space={"hidden": "8..64:log"})) != study
    assert name_of(config(space=dict(reversed(SPACE.items())))) != study  # the sampler would draw other values


# Where its fits begin


@pytest.fixture
def fits(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> list[FitPlan]:
    """Fits that come to an end at once; which they were."""
    built: list[FitPlan] = []

    @contextmanager
    def shown(*about: Any) -> Iterator[TrialRun]:
        yield TrialRun(tracker, "run")  # type: ignore[arg-type]

    def build(config: RunConfig, plan: FitPlan, *others: Any) -> Any:
        built.append(plan)
        facts = {"summary": {"validation_nats": 4.0, "validation_perplexity": 54.6}}
        return SimpleNamespace(artifact=SimpleNamespace(folder=Path("none"), facts=facts, digest="d"), reused=False)

    def planned(config: RunConfig, spec: Any, prepared: Any) -> FitPlan:
        return FitPlan(spec, {}, {}, Start(note="from the weights of champion v3"))

    monkeypatch.setattr(tasks.sweep_trial, "trial_run", shown)
    monkeypatch.setattr(tasks.sweep_trial, "build_fit", build)
    monkeypatch.setattr(tasks.sweep_trial, "plan_fit", planned)
    monkeypatch.setattr(tasks.sweep_trial, "champion_digest", lambda config, spec: "first")
    return built


def test_where_a_fit_of_a_sweep_began_is_a_tag_of_its_run(fits: list[FitPlan], tracker: Tracker) -> None:
    study: Any = Notes()
    study.remember(CHAMPION_NOTE, "first")
    plan = plan_sweep(config(start="champion"))
    loss = run_seed.fn(plan.config, plan.base, PREPARED, study, 0, {"hidden": 9}, 5, "parent")
    assert loss == 4.0
    assert fits[0].spec.training.seed == 5  # type: ignore[union-attr]
    assert tracker.tags["run"]["reviewlm.start"] == "from the weights of champion v3"


def test_a_champion_replaced_meanwhile_ends_the_sweep_before_its_trials_are_mixed(fits: list[FitPlan]) -> None:
    study: Any = Notes()
    study.remember(CHAMPION_NOTE, "the one before")
    plan = plan_sweep(config(start="champion"))
    asked: Any = SimpleNamespace(number=1, values={"hidden": 9}, run_id="", describe=lambda run_id: None)
    with pytest.raises(ChampionChanged, match="replaced while the sweep was running"):
        run_trial.fn(plan.config, plan.base, PREPARED, study, asked, "parent")
    with pytest.raises(ChampionChanged):
        run_seed.fn(plan.config, plan.base, PREPARED, study, 0, {"hidden": 9}, 5, "parent")
    assert fits == []
    assert study.given_back == [asked]


def test_a_trial_that_cannot_be_given_back_does_not_hide_what_ended_the_sweep(fits: list[FitPlan]) -> None:
    class Full(Notes):
        def give_back(self, asked: Any) -> None:
            raise OSError("no space left")

    plan = plan_sweep(config(start="champion"))
    asked: Any = SimpleNamespace(number=1, values={"hidden": 9}, run_id="", describe=lambda run_id: None)
    with pytest.raises(ChampionChanged):
        run_trial.fn(plan.config, plan.base, PREPARED, Full(), asked, "parent")  # type: ignore[arg-type]
