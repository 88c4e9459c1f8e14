"""A sweep around its study: which study it is, who wins, what is warned of, and where its fits begin."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

import tasks.sweep
from core.config.presets import parse_config
from core.config.run_config import RunConfig
from core.config.search_space import Value
from core.config.sections.sweep import SweepConfig
from tasks.fitting.fit import FitPlan
from tasks.fitting.warm_start import Start
from tasks.sweep import (
    CHAMPION,
    Finalist,
    finalist,
    finalists_of,
    inert_pruning,
    number_of,
    plan_sweep,
    run_seed,
    run_trial,
    study_of,
    summarise_sweep,
)
from tasks.sweep_study import NUMBER, RUN
from tracking.registry.change import ChampionChanged

PREPARED: Any = SimpleNamespace(
    tokens={"word": {split: SimpleNamespace(digest=split) for split in ("train", "validation", "test")}}
)
SPACE = {"hidden": "8..64:log", "training.learning_rate": "1e-3..1e-2"}


def config(start: str = "fresh", hidden: int = 16, evaluations: int = 8, **sweep: Any) -> RunConfig:
    training = {"start": start, "evaluations": evaluations, "seed": 4}
    model = {"kind": "lstm", "name": "lstm", "hidden": hidden, "training": training}
    return parse_config({"models": [model], "baseline": "lstm", "sweep": {"space": SPACE, "seeds": 3, **sweep}})


def trial(number: int, nats: float | None, values: dict[str, Value] | None = None) -> FrozenTrial:
    """Return a complete trial; without a loss a pruned one."""
    values = values or {"hidden": 8 + number}
    return create_trial(
        state=TrialState.PRUNED if nats is None else TrialState.COMPLETE, value=nats, params=values,
        distributions={name: CategoricalDistribution([value]) for name, value in values.items()},
        user_attrs={NUMBER: number, RUN: f"run {number}"}, intermediate_values={1: 900.0 if nats is None else nats},
    )  # fmt: skip


class Notes:
    """A study without a database: its trials and its notes."""

    def __init__(self, trials: Sequence[FrozenTrial] = (), **notes: str) -> None:
        self.folder, self.ended, self.notes = Path("study"), list(trials), dict(notes)

    def trials(self) -> list[FrozenTrial]:
        return self.ended

    def importances(self) -> dict[str, float]:
        return {}

    def figures(self) -> list[Any]:
        return []

    def note(self, name: str) -> str:
        return self.notes.get(name, "")

    def remember(self, name: str, value: str) -> None:
        self.notes[name] = value


# Who wins


LUCKY, STEADY = (trial(0, 3.90), [4.2, 4.3, 4.4]), (trial(1, 4.00), [4.0, 4.1, 4.2])
STABLE = (trial(0, 4.05), [4.05, 4.06, 4.07])


@pytest.mark.parametrize(
    ("others", "winner"),
    [
        ([LUCKY, STEADY], 1),  # the lowest mean over fresh seeds, not the luckiest trial
        ([STABLE, (trial(1, 3.99), [None, None, 4.9])], 0),  # a failed seed loses, whatever the others reach
        ([STABLE, (trial(1, 3.99), [None, None, None])], 0),
        ([STABLE, (trial(1, 3.99), [3.9, 3.9, None])], 0),
        ([(trial(0, 4.0), [5.0, None, 5.2]), (trial(1, 3.9), [None, None, 4.0])], 0),  # the fewest failures
        ([(trial(0, 4.0), [5.0, None, 5.2]), (trial(2, 4.1), [None, 5.0, 5.1])], 2),  # then the mean
        ([(trial(0, 4.0), []), (trial(1, 3.9), [])], 1),  # without fresh seeds the search decides
    ],
)
def test_the_winner_is_the_finalist_with_the_fewest_failed_seeds_and_then_the_lowest_mean(
    others: list[tuple[FrozenTrial, list[float | None]]], winner: int
) -> None:
    finalists = [finalist(one, losses, 0.95) for one, losses in others]
    assert number_of(min(finalists, key=lambda one: one.rank).trial) == winner
    assert number_of(min(reversed(finalists), key=lambda one: one.rank).trial) == winner


def test_the_interval_is_that_of_the_fresh_seeds() -> None:
    assert finalist(*STEADY, 0.95).interval == pytest.approx((3.8515862, 4.3484138))  # Student's t of 2 is 4.302653


def test_finalists_are_the_best_trials_each_model_once() -> None:
    """With AdamW momentum has no part: the first two trials are one model, whatever the sampler drew."""
    space = {"training.optimizer": "adamw|momentum", "training.momentum": "0.5..0.9"}
    drawn = [("adamw", 0.6, 3.5), ("adamw", 0.7, 3.5), ("momentum", 0.8, 3.9), ("momentum", 0.9, 3.8)]
    study: Any = Notes([
        trial(number, nats, {"training.optimizer": rule, "training.momentum": momentum})
        for number, (rule, momentum, nats) in enumerate(drawn)
    ])  # fmt: skip
    assert [number_of(one) for one in finalists_of(plan_sweep(config(space=space, finalists=2)), study)] == [0, 3]


# What is said and logged


class Tracker:
    """Keeps what would go to MLflow."""

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, str]] = {}

    def start_run(self, name: str, tags: dict[str, str], parent: str) -> str:
        self.tags[name] = tags
        return name

    def set_tags(self, run_id: str, tags: dict[str, str]) -> None:
        self.tags.setdefault(run_id, {}).update(tags)

    def link(self, run_id: str) -> str:
        return run_id

    def __getattr__(self, name: str) -> Any:
        return lambda *about, **more: None


@pytest.fixture
def tracker(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    tracker = Tracker()
    monkeypatch.setattr(tasks.sweep, "tracker_of", lambda config: tracker)
    return tracker


def summarise(study: Any, *finalists: Finalist, **sweep: Any) -> dict[str, Any]:
    result: dict[str, Any] = summarise_sweep.fn(plan_sweep(config(**sweep)), study, finalists, "parent")
    return result


def test_failed_seeds_stand_in_the_table_with_the_winner_and_in_mlflow(tracker: Tracker) -> None:
    stable, shaky = trial(0, 4.05), trial(1, 3.99)
    ended = [finalist(shaky, [None, None, 4.9], 0.95), finalist(stable, [4.05, None, 4.07], 0.95)]
    result = summarise(Notes([stable, shaky]), *ended)
    assert [(row["seeds"], row["seeds_failed"]) for row in result["finalists"]] == [(1, 2), (2, 1)]
    assert result["finalists"][0].keys() == result["finalists"][1].keys()
    assert (result["winner"]["trial"], result["winner"]["seeds_failed"]) == (0, 1)
    assert "1 of its seeds failed" in tracker.tags["parent"]["mlflow.note.content"]


def test_of_a_longer_sweep_the_new_best_is_marked_and_no_other(tracker: Tracker) -> None:
    study = Notes([trial(0, 4.0)])
    summarise(study, finalist(study.ended[0], [], 0.95), seeds=0)
    study.ended.append(trial(1, 3.0))
    summarise(study, finalist(study.ended[1], [], 0.95), seeds=0)
    assert [tracker.tags[f"run {number}"]["sweep.best"] for number in (0, 1)] == ["false", "true"]


def test_a_trial_of_hopeless_loss_is_shown_not_stumbled_over(tracker: Tracker) -> None:
    """exp(800) is no floating-point number."""
    study = Notes([trial(0, 4.0), trial(1, 800.0), trial(2, None)])
    result = summarise(study, finalist(study.ended[0], [], 0.95))
    assert result["trials"][1]["perplexity"] > 1e300
    assert result["trials"][2]["reached"] > 1e300


def test_the_winners_options_are_written_as_the_configuration_takes_them(tracker: Tracker) -> None:
    """What the sampler drew for an option that has no part in the winner would be refused in a preset."""
    space = {"hidden": "8..64", "training.optimizer": "adamw|momentum", "training.momentum": "0.5..0.95"}
    study = Notes([trial(0, 4.0, {"hidden": 9, "training.optimizer": "adamw", "training.momentum": 0.6})])
    result = summarise(study, finalist(study.ended[0], [], 0.95), space=space)
    assert {"models.0.hidden=9", "models.0.training.momentum=0.9"} <= set(result["overrides"])
    assert tomllib.loads(result["toml"]) == {
        "hidden": 9, "models": {"training": {"optimizer": "adamw", "momentum": 0.9}}
    }  # fmt: skip


# What is warned of


@pytest.mark.parametrize(
    ("options", "evaluations", "inert"),
    [
        ({}, 3, False),
        ({}, 2, True),  # the last evaluation prunes nothing
        ({"prune_after": 1}, 2, False),
        ({"prune_after": 1}, 1, True),
        ({"trials": 6}, 8, True),  # the median waits for `random_trials`, by default 6
        ({"trials": 7}, 8, False),
    ],
)
def test_pruning_that_cannot_happen_is_warned_of(
    options: dict[str, Any], evaluations: int, inert: bool, own_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert bool(inert_pruning(SweepConfig(**options), evaluations)) == inert
    plan_sweep(config(evaluations=evaluations, **options))
    assert bool(caplog.messages) == inert


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
    monkeypatch.setattr("tasks.sweep.opened_study", lambda folder, options, dimensions: folder)
    return champion


def name_of(config: RunConfig) -> str:
    folder: Any = study_of(plan_sweep(config), PREPARED)
    return str(folder.name)


def test_trials_of_another_champion_are_another_study_if_fits_start_from_it(champion: Champion) -> None:
    first, fresh = name_of(config(start="champion")), name_of(config())
    champion.name = "second"
    assert name_of(config(start="champion")) != first
    assert name_of(config()) == fresh
    champion.name = "first"
    assert name_of(config(start="champion")) == first


@pytest.mark.parametrize("gone", [None, ""])
def test_without_a_champion_all_fits_start_fresh_and_the_study_is_one(champion: Champion, gone: Any) -> None:
    champion.name = gone
    assert name_of(config(start="champion"))


def test_a_study_is_told_by_space_and_fixed_options_not_by_what_the_searched_ones_were(champion: Champion) -> None:
    study = name_of(config())
    assert name_of(config(hidden=32)) == study  # the winner's options, put into the preset: the search goes on
    assert name_of(config(trials=99, seeds=0, finalists=3)) == study
    for other in (
        config(evaluations=9), config(seed=2), config(space={"hidden": "8..64:log"}),
        config(space=dict(reversed(SPACE.items()))),  # the sampler would draw other values
    ):  # fmt: skip
        assert name_of(other) != study


# Where its fits begin


@pytest.fixture
def fits(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> list[FitPlan]:
    """Fits that come to an end at once; which they were."""
    built: list[FitPlan] = []

    def build(config: RunConfig, plan: FitPlan, *others: Any) -> Any:
        built.append(plan)
        facts = {"summary": {"validation_nats": 4.0, "validation_perplexity": 54.6}}
        return SimpleNamespace(artifact=SimpleNamespace(folder=Path("none"), facts=facts, digest="d"), reused=False)

    def planned(config: RunConfig, spec: Any, prepared: Any) -> FitPlan:
        return FitPlan(spec, {}, {}, {}, Start(note="from the weights of champion v3"))

    monkeypatch.setattr(tasks.sweep, "build_fit", build)
    monkeypatch.setattr(tasks.sweep, "plan_fit", planned)
    monkeypatch.setattr(tasks.sweep, "champion_digest", lambda config, spec: "first")
    monkeypatch.setattr(tasks.sweep, "parameters_of", lambda config, spec, prepared: {})
    return built


def test_where_a_fit_of_a_sweep_began_is_a_tag_of_its_run(fits: list[FitPlan], tracker: Tracker) -> None:
    study: Any = Notes(**{CHAMPION: "first"})
    plan = plan_sweep(config(start="champion"))
    for _ in range(2):  # the second time its loss is known
        assert run_seed.fn(plan, PREPARED, study, 0, {"hidden": 9}, 5, "parent") == 4.0
    assert [fit.spec.training.seed for fit in fits] == [5]  # type: ignore[union-attr]
    assert tracker.tags["trial 0 seed 5"]["reviewlm.start"] == "from the weights of champion v3"


def test_a_champion_replaced_meanwhile_ends_the_sweep_before_its_trials_are_mixed(fits: list[FitPlan]) -> None:
    study: Any = Notes(**{CHAMPION: "the one before"})
    plan = plan_sweep(config(start="champion"))
    asked: Any = SimpleNamespace(params={"hidden": 9})
    with pytest.raises(ChampionChanged):
        run_trial.fn(plan, PREPARED, study, asked, 1, "parent")
    with pytest.raises(ChampionChanged):
        run_seed.fn(plan, PREPARED, study, 0, {"hidden": 9}, 5, "parent")
    assert fits == []
