"""The learning rate of each update: warm-up, and how it goes down afterwards."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from reviewlm.models.specs import TrainingSpec
from reviewlm.training.neural import trainer
from reviewlm.training.neural.learning_rates import learning_rate
from tests.models.neural.made_trainings import TRAINING, curve, run


@pytest.fixture
def rates():
    """The rates of 101 updates, the first tenth of which is warm-up."""
    training = TrainingSpec(
        learning_rate=0.5,
        warmup=0.1,
        final_rate=0.02,
    )
    return [learning_rate(training, update, 101) for update in range(101)]


def test_the_rate_rises_linearly_to_its_peak(rates):
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) * 0.05)
    assert rates[10] == rates[9] == max(rates)


def test_the_rate_falls_by_half_a_cosine_to_its_end(rates):
    assert rates[55] == pytest.approx(0.5 * (0.02 + 0.98 / 2))
    assert rates[100] == pytest.approx(0.01)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_a_plateau_quarters_the_rate_after_every_evaluation_that_is_not_the_best(
    tmp_path, monkeypatch
):
    measured = iter([3.0, 2.5, 2.7, 2.5, 2.4, 2.6, 2.0])
    monkeypatch.setattr(
        trainer, "validation_nats", lambda *arguments, **options: (next(measured), 1)
    )
    training = replace(
        TRAINING,
        schedule="plateau",
        warmup=0.0,
        evaluations=6,
    )
    _, summary = run(tmp_path, training=training)
    rates = np.array(curve(tmp_path, "learning_rate")) / TRAINING.learning_rate
    ends = np.ceil(summary["updates"] * np.arange(1, 7) / 6).astype(int)
    between = [rates[begin:end] for begin, end in pairwise([0, *ends])]
    assert [set(part.round(9)) for part in between] == [{1}, {1}, {1}, {1 / 4}, {1 / 16}, {1 / 16}]
