"""A training of a labeller that was killed goes on as if nothing had happened; its journal has every point once."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.marked_cases import slow_but
from tests.models.neural.labelling.made_labels import QUICK, TRAINING, V, next_word_tags, reviews
from training.labelling import trainer
from training.labelling.fit import fit
from training.labelling.trainer import Trainer

SPEC = replace(QUICK, dropout=0.3, training=replace(TRAINING, epochs=2.4, batch=16, evaluations=5))


@pytest.fixture(autouse=True)
def _reports_at_evaluations_only(monkeypatch):
    monkeypatch.setattr(trainer, "REPORT_SECONDS", math.inf)


class Killed(Exception):
    """Stands for the death of the process."""


def killed_after(updates, patch):
    """Let the process die at the beginning of an update."""
    update = Trainer._update

    def dying(self, rows):
        if self.state.metrics.updates == updates:
            raise Killed
        update(self, rows)

    patch.setattr(Trainer, "_update", dying)


def points(work):
    """The journal without what measures the machine."""
    lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    measured = ("time", "tokens_per_second")
    return [{name: value for name, value in line.items() if name not in measured} for line in lines]


def without_time(summary):
    return {name: value for name, value in summary.items() if "seconds" not in name}


@pytest.mark.parametrize("updates", slow_but([1, 9, 13, 23], {13}))
@pytest.mark.parametrize("task", ["classification", "tagging"])
def test_a_killed_training_gives_the_same_bits_and_the_same_journal(task, updates, tmp_path, monkeypatch):
    """24 updates, of which every fifth or so is followed by an evaluation and a checkpoint."""
    spec = replace(SPEC, task=task, bidirectional=task == "tagging")
    data = next_word_tags(150, 1) if task == "tagging" else reviews(150, 2, 1)
    whole, summary = fit(spec, V, data, data, work=tmp_path / "whole")
    assert summary["updates"] == 24
    with monkeypatch.context() as patch:
        killed_after(updates, patch)
        with pytest.raises(Killed):
            fit(spec, V, data, data, work=tmp_path / "killed")
    resumed, again = fit(spec, V, data, data, work=tmp_path / "killed")
    assert np.array_equal(whole.scores(data.sequences), resumed.scores(data.sequences))
    assert without_time(again) == without_time(summary)
    assert points(tmp_path / "killed") == points(tmp_path / "whole")
    assert [line["step"] for line in points(tmp_path / "whole")] == sorted(
        line["step"] for line in points(tmp_path / "whole")
    )


def test_an_average_of_the_weights_survives_a_kill(tmp_path, monkeypatch):
    data, spec = reviews(150, 2, 1), replace(SPEC, training=replace(SPEC.training, ema=0.9))
    whole, _ = fit(spec, V, data, data)
    with monkeypatch.context() as patch:
        killed_after(13, patch)
        with pytest.raises(Killed):
            fit(spec, V, data, data, work=tmp_path)
    resumed, _ = fit(spec, V, data, data, work=tmp_path)
    assert np.array_equal(whole.scores(data.sequences), resumed.scores(data.sequences))


@pytest.mark.slow
@pytest.mark.parametrize("change", ["spec", "train", "validation", "targets"])
def test_checkpoints_of_another_training_are_not_used(change, tmp_path):
    data, other = reviews(150, 2, 1), reviews(150, 2, 2)
    fit(SPEC, V, data, data, work=tmp_path)
    spec = replace(SPEC, dropout=0.2) if change == "spec" else SPEC
    train = {"train": other, "targets": replace(data, targets=1 - data.targets)}.get(change, data)
    validation = other if change == "validation" else data
    seen = []
    fresh, _ = fit(spec, V, train, validation)
    again, _ = fit(spec, V, train, validation, work=tmp_path, report=seen.append)
    assert len(seen) == 5
    assert np.array_equal(fresh.scores(data.sequences), again.scores(data.sequences))


class MacroF1Chooses:
    """A spec that chooses by macro-F1; all else is that of a labeller."""

    choose_by = "macro_f1"

    def __init__(self, spec):
        self._spec = spec

    def __getattr__(self, name):
        return getattr(self._spec, name)


def test_the_best_state_may_be_that_of_the_highest_macro_f1(monkeypatch):
    """Five evaluations with made figures: the loss is lowest at the second, macro-F1 highest at the fourth."""
    data, spec = reviews(150, 2, 1), MacroF1Chooses(SPEC)
    made = iter([(0.9, 0.3), (0.1, 0.4), (0.5, 0.4), (0.6, 0.8), (0.7, 0.8)])

    def measure(self, examples):
        loss, f1 = next(made)
        return {"cross_entropy": loss, "macro_f1": f1}

    monkeypatch.setattr("models.neural.labelling.labeller.Labeller.measure", measure)
    assert fit(spec, V, data, data).summary["best_update"] == 20
    made = iter([(0.9, 0.3), (0.1, 0.4), (0.5, 0.4), (0.6, 0.8), (0.7, 0.8)])
    assert fit(SPEC, V, data, data).summary["best_update"] == 10
