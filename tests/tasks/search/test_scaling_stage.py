"""A scaling fit around its mathematics: which fits are small, a prediction that is stored first, a fair archive."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flows.search.scaling
import tasks.search.scaling
from core.config.presets import parse_config
from core.config.run_config import RunConfig
from core.errors import ConfigError, FitError
from evaluation.statistics.scaling import Law
from models.specs import identity
from tasks.fitting.fit import fit_version, plan_fit
from tasks.search.scaling import (
    ScalingPlan,
    SmallFit,
    archive,
    outcome_of,
    plan_scaling,
    predict,
    prediction_of,
    small_fits,
)
from tasks.stage import store_of

TOKENS = 1_000_000
LAW = Law(4.0, 30.0, 0.3, 0.0)
NPLM = {"kind": "nplm", "name": "nplm", "training": {"epochs": 2, "batch": 10, "window": 50, "seed": 4}}


class Tracker:
    """Keeps what would go to MLflow."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.files: list[str] = []

    def log_metrics(self, run_id: str, metrics: dict[str, float]) -> None:
        self.metrics |= metrics

    def log_text(self, run_id: str, text: str, file: str) -> None:
        self.files.append(file)

    def log_figure(self, run_id: str, figure: Any, file: str) -> None:
        self.files.append(file)


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Tracker:
    tracker = Tracker()
    monkeypatch.setattr(tasks.search.scaling, "tracker_of", lambda config: tracker)
    return tracker


@pytest.fixture
def plan(own_home: Path) -> ScalingPlan:
    return plan_scaling(config())


def config(**scaling: Any) -> RunConfig:
    return parse_config({"models": [NPLM], "baseline": "nplm", "scaling": scaling})


def prepared() -> Any:
    def artifact(name: str) -> Any:
        return SimpleNamespace(digest=name, facts={"tokens": TOKENS}, folder=Path(name))

    streams = {split: artifact(split) for split in ("train", "validation", "test")}
    return SimpleNamespace(tokens={"word": streams}, vocabularies={"word": artifact("words")}, clean=artifact("clean"))


def finished(plan: ScalingPlan, law: Law = LAW) -> list[SmallFit]:
    """The small fits as they would come out if they followed a law but for a shake of 0.005 nats."""
    found = []
    for number, small in enumerate(small_fits(plan, prepared())):
        size = int(small.share * 2 * TOKENS)
        found.append(SmallFit(small, f"digest {number}", size, law(size) + 0.005 * (-1) ** number))
    return found


def fit_whole(plan: ScalingPlan, nats: float) -> None:
    """Put the whole fit into the store, as `tasks.fitting.fit` would."""
    planned = plan_fit(plan.config, plan.base, prepared())
    facts = {"summary": {"validation_nats": nats}}
    store_of(plan.config).build("fit", fit_version(plan.base), identity(plan.base), planned.inputs, lambda work: facts)


def test_small_fits_are_shares_of_the_epochs_with_several_seeds_the_longest_first(plan: ScalingPlan) -> None:
    found = [(one.share, one.seed, one.spec.training.epochs) for one in small_fits(plan, prepared())]
    shares = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    assert found == [(share, seed, 2 * share) for share in shares for seed in (4, 5)]
    assert all(one.spec.training.seed == one.seed for one in small_fits(plan, prepared()))


def test_shares_of_too_few_updates_are_left_out_and_two_are_too_few(own_home: Path) -> None:
    """The whole fit has 2 · 1,000,000 / (10 · 50) = 4,000 updates."""
    some = plan_scaling(config(min_updates=250))
    assert {one.share for one in small_fits(some, prepared())} == {1 / 16, 1 / 8, 1 / 4}
    with pytest.raises(ConfigError, match="the whole fit has 4000"):
        small_fits(plan_scaling(config(min_updates=251)), prepared())


def test_a_prediction_is_stored_with_its_interval_and_the_fit_it_speaks_of(
    plan: ScalingPlan, tracker: Tracker
) -> None:
    artifact = predict.fn(plan, prepared(), finished(plan), "run")
    found = prediction_of(artifact)
    assert found.size == 2 * TOKENS
    assert found.low < LAW(2 * TOKENS) < found.high
    assert artifact.facts["fit"] == plan_fit(plan.config, plan.base, prepared()).digest
    stored = json.loads((artifact.folder / "prediction.json").read_text())
    assert (stored["low"], stored["high"], stored["coverage"]) == (found.low, found.high, 0.8)
    assert len(stored["small"]) == 8
    assert tracker.metrics["prediction/low"] == found.low
    assert tracker.files == ["prediction.json", "plots/scaling_prediction.png"]
    assert outcome_of(plan.config, artifact) is None


@pytest.mark.parametrize(("off", "inside"), [(0.0, True), (0.5, False)])
def test_a_prediction_is_checked_against_the_fit_that_came(
    plan: ScalingPlan, tracker: Tracker, off: float, inside: bool
) -> None:
    artifact = predict.fn(plan, prepared(), finished(plan), "run")
    assert archive(plan.config) == {"predictions": 1, "checked": 0, "inside": 0}
    fit_whole(plan, LAW(2 * TOKENS) + off)
    outcome = tasks.search.scaling.check_prediction.fn(plan, artifact, finished(plan), "run")
    assert outcome is not None
    assert outcome["inside"] is inside
    assert tracker.metrics["outcome/inside"] == float(inside)
    assert archive(plan.config) == {"predictions": 1, "checked": 1, "inside": int(inside)}


def test_a_prediction_made_after_its_fit_does_not_count(plan: ScalingPlan, tracker: Tracker) -> None:
    fit_whole(plan, LAW(2 * TOKENS))
    artifact = predict.fn(plan, prepared(), finished(plan), "run")
    assert outcome_of(plan.config, artifact) is not None
    assert archive(plan.config) == {"predictions": 0, "checked": 0, "inside": 0}


def test_small_fits_that_follow_no_law_are_a_fit_error_and_nothing_is_stored(
    plan: ScalingPlan, tracker: Tracker
) -> None:
    rising = [SmallFit(fit.small, fit.digest, fit.tokens, 1 + fit.tokens / 1e6) for fit in finished(plan)]
    with pytest.raises(FitError, match="cannot be predicted"):
        predict.fn(plan, prepared(), rising, "run")
    assert archive(plan.config)["predictions"] == 0


@pytest.mark.parametrize(("whole", "order"), [(True, ["small", "predict", "fit", "check"]),
                                              (False, ["small", "predict", "check"])])
def test_the_prediction_comes_before_the_whole_fit_begins(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, tracker: Tracker, whole: bool, order: list[str]
) -> None:
    done: list[str] = []

    def stand_in(name: str, result: Any) -> Any:
        def task(*arguments: Any) -> Any:
            done.append(name)
            return result

        return task

    @contextmanager
    def parent_run(config: RunConfig, name: str) -> Any:
        yield "run"

    monkeypatch.delenv("PREFECT_API_URL", raising=False)  # else the limits of that server are asked for
    plan = plan_scaling(config(whole=whole))
    artifact = predict.fn(plan, prepared(), finished(plan), "run")
    monkeypatch.setattr(flows.search.scaling, "resolve", lambda *about: plan.config)
    monkeypatch.setattr(flows.search.scaling, "ingest", lambda config: None)
    monkeypatch.setattr(flows.search.scaling, "prepare", lambda config, dataset: prepared())
    monkeypatch.setattr(flows.search.scaling, "parent_run", parent_run)
    fits = SimpleNamespace(with_options=lambda **about: lambda *these: (done.append("small"), finished(plan))[1])
    monkeypatch.setattr(flows.search.scaling, "fit_small_ones", fits)
    monkeypatch.setattr(flows.search.scaling, "predict", stand_in("predict", artifact))
    monkeypatch.setattr(flows.search.scaling, "fit", stand_in("fit", None))
    monkeypatch.setattr(flows.search.scaling, "check_prediction", stand_in("check", None))
    result = flows.search.scaling.scaling.fn("small")
    assert done == order
    assert result["prediction"]["low"] < result["prediction"]["nats"] < result["prediction"]["high"]
