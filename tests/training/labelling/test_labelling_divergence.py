"""A training of a labeller that diverges goes back to its last good state with half the rate, at most three times."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from reviewlm.models.base import ModelError
from reviewlm.training.labelling import labeller_fit as step
from reviewlm.training.labelling.examples import measure
from reviewlm.training.labelling.labeller_fit import add_gradients
from reviewlm.training.neural.tbptt import Sums
from tests.training.labelling.made_labels import QUICK, SMALL, TRAINING, fitted, reviews

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


@pytest.fixture
def data():
    return reviews(150, 2, 1)


def not_finite_after(
    updates,
    times,
    patch,
):
    """Let the loss of the update after some others be no number, the first few times that it is made."""
    made, left = [0], [times]

    def gradients(network, *batch):
        found = add_gradients(network, *batch)
        made[0] += 1
        if made[0] > updates and left[0]:
            made[0], left[0] = (
                updates - 3,
                left[0] - 1,
            )  # three updates after the state to which it goes back
            return Sums(math.nan, found.tokens)
        return found

    patch.setattr(step, "add_gradients", gradients)


def lines_of(work):
    return [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]


def rates_of(work):
    return [line["learning_rate"] for line in lines_of(work) if "learning_rate" in line]


def test_it_goes_back_to_the_last_evaluation_with_half_the_rate(
    data,
    tmp_path,
    monkeypatch,
):
    """24 updates, evaluations after 5, 10, 15, 20 and 24; update 14 has no finite loss."""
    fitted(SPEC, data, data, work=tmp_path / "whole")
    not_finite_after(13, 1, monkeypatch)
    _, summary = fitted(SPEC, data, data, work=tmp_path / "once")
    assert (summary["updates"], summary["divergences"]) == (24, 1)
    usual, found = rates_of(tmp_path / "whole"), rates_of(tmp_path / "once")
    assert found == [*usual[:10], *(rate / 2 for rate in usual[10:])]
    assert lines_of(tmp_path / "once")[-1]["settled"] is True
    assert [line["step"] for line in lines_of(tmp_path / "once")] == [
        line["step"] for line in lines_of(tmp_path / "whole")
    ]


def test_a_validation_loss_that_is_not_finite_is_a_divergence(
    data,
    tmp_path,
    monkeypatch,
):
    times = [0]

    def third(model, examples):
        times[0] += 1
        return measure(model, examples) | ({"cross_entropy": math.nan} if times[0] == 3 else {})

    with monkeypatch.context() as patch:
        patch.setattr(step, "measure", third)
        assert fitted(SPEC, data, data, work=tmp_path).summary["divergences"] == 1
    monkeypatch.setattr(
        step, "measure", lambda model, examples: {"cross_entropy": math.nan, "macro_f1": 0.0}
    )
    with pytest.raises(ModelError, match="validation loss nan") as caught:
        fitted(SMALL, data, data)
    assert caught.value.kind == "diverged"
