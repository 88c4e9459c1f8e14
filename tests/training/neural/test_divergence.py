"""A training that goes wrong: back to the last good state with half the rate, a few times, then an error."""

from dataclasses import replace

import pytest
import torch

from reviewlm.models.base import ModelError
from reviewlm.training.neural.learning_rates import learning_rate
from tests.models.neural.made_trainings import TRAINING, Planted, curve, journal, run


@pytest.mark.parametrize("spoil", ["loss", "gradient"])
def test_a_divergence_goes_back_to_the_last_good_state_with_half_the_rate(tmp_path, spoil):
    network, summary = run(tmp_path, Planted(spoil, (30, 45)))
    assert summary["divergences"] == 2
    assert all(torch.isfinite(p).all() for p in network.parameters())
    assert max(curve(tmp_path, "divergences")) == 2
    assert summary["validation_perplexity"] < 15
    steps = [line["step"] for line in journal(tmp_path) if "train/nats" in line]
    assert steps == sorted(set(steps))
    assert len(steps) == summary["updates"]
    rates = curve(tmp_path, "learning_rate")
    expected = [learning_rate(TRAINING, u, len(rates)) for u in range(len(rates))]
    assert rates[0] == pytest.approx(expected[0])
    assert rates[-1] == pytest.approx(expected[-1] / 4)


def test_a_training_that_keeps_diverging_says_what_to_change(tmp_path):
    with pytest.raises(
        ModelError, match=r"diverged after .* 4 times.*training\.learning_rate .now 0\.02"
    ) as failure:
        run(tmp_path, Planted("loss", range(10_000)))
    assert failure.value.kind == "diverged"


def test_a_training_that_never_predicts_better_than_guessing_is_no_success(tmp_path):
    """All its losses are finite, but a guess costs log 30 = 3.4 nats."""
    training = replace(TRAINING, learning_rate=300.0, clip=None)
    with pytest.raises(ModelError, match=r"4 times.*peak learning rate was 37\.5") as failure:
        run(tmp_path, training=training)
    assert failure.value.kind == "diverged"
    assert "nats per token, worse than guessing (3.401)" in str(failure.value)
