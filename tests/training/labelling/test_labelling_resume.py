"""A training of a labeller that was killed goes on as if nothing had happened; its journal has every point once."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from reviewlm.training.labelling.labeller_fit import LabellerStep
from reviewlm.training.neural import progress
from reviewlm.training.neural.training_metrics import MEASURED
from tests.marked_cases import slow_but
from tests.training.labelling.made_labels import (
    QUICK,
    QUICK_TAGS,
    TRAINING,
    fitted,
    next_word_tags,
    reviews,
)

SPEC = replace(
    QUICK,
    dropout=0.3,
    training=replace(
        TRAINING,
        epochs=2.4,
        batch=16,
        evaluations=5,
    ),
)


@pytest.fixture(autouse=True)
def _reports_at_evaluations_only(monkeypatch):
    monkeypatch.setattr(progress, "REPORT_SECONDS", math.inf)


class Killed(Exception):
    """Stands for the death of the process."""


def killed_after(updates, patch):
    """Let the process die at the beginning of an update."""
    update = LabellerStep.__call__

    def dying(self, rows, keep):
        if self.state.metrics.updates == updates:
            raise Killed
        update(self, rows, keep)

    patch.setattr(LabellerStep, "__call__", dying)


def points(work):
    """The journal without what measures the machine."""
    lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in ("time", *MEASURED)}
        for line in lines
    ]


def without_time(summary):
    return {name: value for name, value in summary.items() if "seconds" not in name}


@pytest.mark.parametrize("updates", slow_but([1, 9, 13, 23], {13}))
@pytest.mark.parametrize("task", ["classification", "tagging"])
def test_a_killed_training_goes_on_as_if_undisturbed(
    task,
    updates,
    tmp_path,
    monkeypatch,
):
    """24 updates, of which every fifth or so is followed by an evaluation and a checkpoint."""
    spec = replace(QUICK_TAGS if task == "tagging" else QUICK, dropout=0.3, training=SPEC.training)
    data = next_word_tags(150, 1) if task == "tagging" else reviews(150, 2, 1)
    whole, summary = fitted(spec, data, data, work=tmp_path / "whole")
    assert summary["updates"] == 24
    with monkeypatch.context() as patch:
        killed_after(updates, patch)
        with pytest.raises(Killed):
            fitted(spec, data, data, work=tmp_path / "killed")
    resumed, again = fitted(spec, data, data, work=tmp_path / "killed")
    assert np.array_equal(whole.scores(data.sequences), resumed.scores(data.sequences))
    assert without_time(again) == without_time(summary)
    assert points(tmp_path / "killed") == points(tmp_path / "whole")
    assert [line["step"] for line in points(tmp_path / "whole")] == sorted(
        line["step"] for line in points(tmp_path / "whole")
    )
