"""Which figures of a comparison a classifier's MLflow run gets, and when they are logged again."""

from __future__ import annotations

from typing import Any

import pytest

from reviewlm.core.store import Artifact
from reviewlm.tasks.classification import compare
from reviewlm.tasks.classification.compare import Compared, _model
from reviewlm.tasks.fitting.job import Fitted, MeasuredModel
from tests.models.classification.made_reviews import small

GAIN = {
    "gain_accuracy": 0.25,
    "gain_accuracy_lo": 0.1,
    "gain_accuracy_hi": 0.4,
    "gain_macro_f1": 0.2,
    "gain_macro_f1_lo": 0.1,
    "gain_macro_f1_hi": 0.3,
}


class Runs:
    """Runs in memory: the last value of each metric, and tags."""

    def __init__(self) -> None:
        self.metrics: dict[str, dict[str, float]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.logged: list[str] = []

    def has_tag(
        self,
        run: str,
        name: str,
        value: str,
    ) -> bool:
        return self.tags.get(run, {}).get(name) == value

    def set_tags(self, run: str, tags: dict[str, str]) -> None:
        self.tags.setdefault(run, {}).update(tags)

    def log_metrics(self, run: str, numbers: dict[str, float]) -> None:
        self.logged.append(run)
        self.metrics.setdefault(run, {}).update(numbers)

    def log_table(
        self,
        run: str,
        frame: Any,
        file: str,
    ) -> None:
        pass


def comparison(digest: str, baseline: str) -> Compared:
    """Two classifiers with the same answers in every comparison; the other one is better than the baseline."""
    answers = Artifact("predict", "same", "")
    rows = [
        {
            "name": name,
            "accuracy": 0.5,
            "macro_f1": 0.4,
            "labels": ["1", "5"],
            "confusion": [[1, 0], [0, 1]],
            "per_label": [{"label": "1"}],
            **({} if name == baseline else GAIN),
        }
        for name in ("bag", "logistic")
    ]
    models = tuple(
        MeasuredModel(
            Fitted(small("gru", name=name), answers, f"run of {name}", True), answers, answers
        )
        for name in ("bag", "logistic")
    )
    return Compared(
        models,
        tuple(rows),
        {"bag": {}, "logistic": {}},
        Artifact("compare-classifiers", digest, ""),
    )


@pytest.fixture
def runs() -> Runs:
    return Runs()


def log(
    runs: Any,
    digest: str,
    baseline: str,
) -> None:
    compare._log(runs, comparison(digest, baseline), baseline, "flow")


def test_another_baseline_replaces_the_gains_of_runs_that_are_used_again(runs: Runs) -> None:
    log(runs, "first", "logistic")
    assert runs.metrics["run of bag"]["test/gain_macro_f1"] == 0.2
    log(runs, "second", "bag")
    assert runs.metrics["run of logistic"]["test/gain_macro_f1"] == 0.2
    of_baseline = runs.metrics["run of bag"]
    assert {of_baseline[f"test/{name}"] for name in GAIN} == {0.0}
    assert (
        runs.tags["run of bag"]["compare.baseline"]
        == runs.tags["flow"]["compare.baseline"]
        == "bag"
    )


def test_the_same_comparison_is_logged_once(runs: Runs) -> None:
    log(runs, "first", "logistic")
    before = list(runs.logged)
    log(runs, "first", "logistic")
    assert runs.logged == before


def test_the_seconds_of_a_resumed_fit_are_at_least_those_of_all_its_updates() -> None:
    summary = {"seconds": 50.0, "parameters": 9}
    fit = Artifact("fit-classifier", "0", "", {"seconds": 12.0, "facts": {"summary": summary}})
    fitted = Fitted(small("gru", name="bag"), fit, "run", False)
    model = MeasuredModel(fitted, fit, fit)
    compared = Compared((model,), ({"name": "bag"},), {"bag": {}}, fit)
    assert _model(compared, model)["seconds"] == 50
