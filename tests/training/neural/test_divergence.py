"""A training that goes wrong: back to the last good state with half the rate, a few times, then an error."""

import math
from dataclasses import replace

import pytest
import torch

from models.base import ModelError
from tests.models.neural.made_trainings import TRAIN, TRAINING, Planted, V, curve, journal, run
from tracking.runs.publish import read_journal
from training.neural import trainer
from training.neural.optimization.clipping import Clipped
from training.neural.optimization.optimizers import learning_rate
from training.neural.training_metrics import TrainingMetrics

SPIKE = replace(TRAINING, loss_spike_threshold=3.0)


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


@pytest.mark.slow
def test_what_was_settled_before_a_divergence_is_still_in_the_journal_at_the_end(tmp_path):
    """At each news the settled part is read, as tracking reads it; none of it may be taken back."""
    seen: dict[tuple[str, int], float] = {}

    def look(progress):
        for point in read_journal(tmp_path / "metrics.jsonl", settled=True):
            assert seen.setdefault((point.name, point.step), point.value) == point.value

    _, summary = run(tmp_path, Planted("loss", (30, 45)), report=look)
    assert summary["divergences"] == 2
    final = {(point.name, point.step): point.value for point in read_journal(tmp_path / "metrics.jsonl")}
    assert seen == final


def test_a_divergence_at_the_first_step_starts_again_from_the_first_weights(tmp_path):
    _, summary = run(tmp_path, Planted("loss", (0,)))
    assert summary["divergences"] == 1
    assert summary["tokens"] == pytest.approx(2 * TRAIN.tokens)


def test_a_training_that_diverges_again_and_again_says_what_to_change(tmp_path):
    with pytest.raises(ModelError, match=r"diverged after .* 4 times.*training\.learning_rate .now 0\.02") as failure:
        run(tmp_path, Planted("loss", range(10_000)))
    assert failure.value.kind == "diverged"


def test_a_training_that_never_predicts_better_than_guessing_is_no_success(tmp_path):
    """All its losses are finite, and nothing has it called a spike; a guess costs log 30 = 3.4 nats."""
    training = replace(TRAINING, learning_rate=300.0, clip=None)
    with pytest.raises(ModelError, match=r"4 times.*peak learning rate was 37\.5") as failure:
        run(tmp_path, training=training)
    assert failure.value.kind == "diverged"
    assert "nats per token, worse than guessing (3.401)" in str(failure.value)


@pytest.mark.slow
def test_a_rate_that_is_hopeless_is_halved_until_something_is_learnt(tmp_path):
    training = replace(TRAINING, learning_rate=3.0, clip=None)
    _, summary = run(tmp_path, training=training)
    assert 1 <= summary["divergences"] <= 3
    assert summary["best_validation_nats"] < math.log(V)


def test_a_text_that_is_learnt_by_heart_is_no_divergence(tmp_path, monkeypatch):
    """Worse than guessing on validation from the first evaluation on, but not in training."""
    monkeypatch.setattr(trainer, "validation_nats", lambda *arguments, **options: (math.log(V) + 5.0, 100))
    _, summary = run(tmp_path)
    assert summary["divergences"] == 0
    assert summary["train_nats"] < math.log(V)


def test_a_bad_evaluation_after_a_good_one_is_no_divergence(tmp_path, monkeypatch):
    """So it is with over-fitting; the best weights are kept, and that checkpoint is not gone back to."""
    given = iter([2.5, 5.0, 5.0, 5.0, 2.5])
    monkeypatch.setattr(trainer, "validation_nats", lambda *arguments, **options: (next(given), 100))
    _, summary = run(tmp_path)
    assert summary["divergences"] == 0
    assert summary["best_validation_nats"] == 2.5
    assert curve(tmp_path, "settled") == [True, False, False, False]


def test_a_spike_of_the_loss_goes_back_to_the_last_good_state_with_half_the_rate(tmp_path):
    _, summary = run(tmp_path, Planted("spike", (30,)), SPIKE)
    assert summary["divergences"] == 1
    assert max(curve(tmp_path, "train/nats")) < 6
    steps = [line["step"] for line in journal(tmp_path) if "train/nats" in line]
    assert steps == sorted(set(steps))
    assert curve(tmp_path, "learning_rate")[-1] == pytest.approx(learning_rate(TRAINING, 51, 52) / 2)


@pytest.mark.slow
def test_a_spike_is_let_pass_where_no_limit_is_set_or_it_is_below(tmp_path):
    for name, training in (("none", TRAINING), ("high", replace(TRAINING, loss_spike_threshold=1e4))):
        _, summary = run(tmp_path / name, Planted("spike", (30,)), training)
        assert summary["divergences"] == 0
        assert max(curve(tmp_path / name, "train/nats")) > 7


def test_a_training_that_spikes_again_and_again_gives_up(tmp_path):
    told = r"diverged after .*the loss rose at once: .*its running mean was .* 4 times"
    with pytest.raises(ModelError, match=told) as failure:
        run(tmp_path, Planted("spike", range(20, 10_000)), SPIKE)
    assert failure.value.kind == "diverged"


@pytest.mark.long
def test_without_a_planted_spike_the_limit_changes_nothing(tmp_path):
    plain, _ = run(tmp_path / "plain")
    watched, summary = run(tmp_path / "watched", training=SPIKE)
    assert summary["divergences"] == 0
    for one, two in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_running_mean_is_that_of_the_first_updates_then_looks_back_over_the_last():
    course, losses = TrainingMetrics(), [5.0, 4.0, 6.0, 3.0]
    for loss in losses:
        course.count(10 * loss, 10, Clipped(1.0, False, False))
        course.updates += 1
    assert course.running_nats == pytest.approx(sum(losses) / 4)
    course.updates = 10_000
    course.count(2 * 14.5, 2, Clipped(1.0, False, False))
    assert course.running_nats == pytest.approx(4.5 + (14.5 - 4.5) / 100)


def test_the_rise_counts_what_is_not_scored_as_average_and_nothing_rises_at_the_start():
    course = TrainingMetrics()
    assert not course.rise(1e9, 10, 10) > 1
    course.count(40.0, 10, Clipped(1.0, False, False))
    assert course.rise(70.0, 10, 10) == pytest.approx(3.0)
    assert course.rise(14.0, 2, 10) == pytest.approx(0.6)  # two tokens of seven nats each among ten positions
