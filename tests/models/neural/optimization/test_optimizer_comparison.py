"""Rules side by side: what is the same in all trials, what "gd" and "nt_asgd" have of their own, what a result says."""

import json
import math
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from models.base import FitContext, ModelError
from models.batches import make_batches
from models.neural.optimization import comparison as optimizer_comparison
from models.neural.optimization.comparison import (
    ALL,
    GRID,
    OptimizerComparison,
    OptimizerTrial,
    compare,
    first_reviews,
    trial_spec,
)
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec, spec_from_dict
from tests.models.neural.made_streams import walks

V = 30
TRAINING = TrainingSpec(batch=8, bptt_len=10, precision="float32", seed=5, weight_decay=0.1, l2=1e-5)
SPEC = RecurrentSpec(kind="gru", hidden=12, embedding=8, objective=ObjectiveSpec(head=10), training=TRAINING)
TRAIN, VALIDATION = walks(60, V, 1), walks(20, V, 2)
VOCABULARY = SimpleNamespace(size=V, digest="made", boundary_policy="made")


def compared(folder, rates, epochs=2.0, tell=lambda found: None):
    return compare(SPEC, VOCABULARY, TRAIN, VALIDATION, FitContext(folder), epochs, rates, tell)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    told = []
    rates = {"adam": [0.02], "adamw": [0.002, 0.02], "gd": [4.0], "sgd": [2.0, 1e38], "nt_asgd": [2.0]}
    result = compared(folder, rates, epochs=4.0, tell=told.append)
    assert [so_far.trials for so_far in told] == [result.trials[: count + 1] for count in range(len(result.trials))]
    assert not list(folder.iterdir())
    return result


@pytest.mark.long
def test_every_rule_has_rates_to_try_and_some_trial_is_the_best_of_each(found):
    assert set(GRID) == set(ALL)
    assert [trial.final for trial in found.best] == sorted(trial.final for trial in found.best)
    assert {trial.optimizer for trial in found.best} == {"adam", "adamw", "gd", "sgd", "nt_asgd"}
    best = next(trial for trial in found.best if trial.optimizer == "adamw")
    assert best.rate == 0.02
    assert best.final < math.log(V - 9)


@pytest.mark.long
def test_without_decay_adam_and_adamw_are_the_same_so_all_else_is_the_same_too(found):
    adam, adamw = (next(t for t in found.trials if (t.optimizer, t.rate) == (name, 0.02)) for name in ("adam", "adamw"))
    assert adam.tokens == adamw.tokens
    np.testing.assert_allclose(adam.nats, adamw.nats, rtol=1e-4)


@pytest.mark.slow
def test_gradient_descent_takes_one_step_per_epoch_and_sees_as_many_tokens(found):
    gd, sgd = (next(t for t in found.trials if t.optimizer == name) for name in ("gd", "sgd"))
    assert gd.updates == 4
    assert sgd.updates > 20
    assert gd.tokens[-1] == sgd.tokens[-1] == 4 * TRAIN.tokens
    assert len(gd.nats) == 4
    assert gd.nats[-1] < gd.nats[0]


@pytest.mark.slow
def test_a_trial_that_diverges_is_a_result_and_not_the_end(found):
    lost = next(trial for trial in found.trials if trial.rate == 1e38)
    assert lost.diverged
    assert lost.final == math.inf
    assert found.trials[-1].optimizer == "nt_asgd"
    assert next(trial for trial in found.best if trial.optimizer == "sgd").rate == 2.0


@pytest.mark.parametrize("optimizer", ALL)
def test_trials_differ_in_rule_and_rate_and_where_the_rule_says_so(optimizer):
    configured = replace(TRAINING, ema=0.5)
    spec = trial_spec(replace(SPEC, training=configured), optimizer, 0.5, 3.0, TRAIN)
    assert replace(spec, training=TRAINING) == SPEC
    own = {"gd": {"batch", "micro_batch"}, "nt_asgd": {"schedule", "ema"}}.get(optimizer, set())
    always = {"optimizer", "learning_rate", "weight_decay", "evaluations"}
    changed = {name for name, value in asdict(spec.training).items() if value != asdict(configured)[name]}
    assert changed - always == own
    assert (spec.training.weight_decay, spec.training.l2) == (0.0, 1e-5)
    assert spec_from_dict(asdict(spec)) == spec


def test_constants_of_the_configured_rule_stay_where_another_rule_has_them_and_else_go_to_their_defaults():
    spec = replace(SPEC, training=replace(TRAINING, optimizer="nesterov", momentum=0.5, final_rate=0.5))
    made = [trial_spec(spec, name, 0.5, 3.0, TRAIN).training for name in ("rmsprop", "adam", "nt_asgd")]
    assert [training.momentum for training in made] == [0.5, 0.9, 0.9]
    assert [training.final_rate for training in made] == [0.5, 0.5, 0.02]


@pytest.mark.parametrize("window", [1, 10, 10_000])
def test_the_full_batch_is_one_window_per_epoch_with_every_token_once(window):
    spec = replace(SPEC, training=replace(TRAINING, bptt_len=window, random_window=True))
    training = trial_spec(spec, "gd", 1.0, 1.0, TRAIN).training
    windows = list(make_batches(TRAIN, training).epoch(0))
    assert len(windows) == 1
    assert (windows[0].y_BT >= 0).sum() == TRAIN.tokens


@pytest.mark.slow
def test_a_rate_that_nobody_names_is_that_of_the_range_test(tmp_path):
    (trial,) = compared(tmp_path, {"adamw": None}, epochs=0.5).trials
    assert 1e-3 < trial.rate < 0.5
    assert not trial.diverged


def without_a_rate(*arguments, **named):
    raise ModelError("the loss neither fell nor rose", "input")


def test_a_range_test_that_finds_no_rate_leaves_the_other_trials(tmp_path, monkeypatch):
    monkeypatch.setattr(optimizer_comparison, "find_rate", without_a_rate)
    found = compared(tmp_path, {"sgd": None, "adamw": [0.02]}, epochs=0.5)
    lost, trial = found.trials
    assert (lost.failure, lost.final, lost.outcome) == ("the loss neither fell nor rose", math.inf, "failed")
    assert math.isnan(lost.rate)
    assert math.isfinite(trial.final)
    assert [one.optimizer for one in found.best] == ["adamw", "sgd"]


def test_a_trial_for_which_memory_does_not_suffice_leaves_the_others(tmp_path, monkeypatch):
    fit = optimizer_comparison._fit

    def short_of_memory(spec, *arguments):
        if spec.training.optimizer == "gd":
            raise ModelError("too large", "memory")
        return fit(spec, *arguments)

    monkeypatch.setattr(optimizer_comparison, "_fit", short_of_memory)
    trials = compared(tmp_path, {"gd": [4.0], "adamw": [0.02]}, epochs=0.5).trials
    assert [(trial.rate, trial.failure) for trial in trials] == [(4.0, "too large"), (0.02, "")]


def test_a_comparison_of_which_nothing_is_left_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(optimizer_comparison, "find_rate", without_a_rate)
    with pytest.raises(ModelError, match="neither fell nor rose"):
        compared(tmp_path, {"sgd": None, "adam": None})


def test_a_text_without_a_token_to_predict_is_refused_whatever_the_rates(tmp_path):
    empty = first_reviews(TRAIN, 1)
    empty = type(empty)(empty.folder, {**empty.facts, "tokens": 0}, empty.ids[:2], np.array([0, 2]))
    with pytest.raises(ModelError, match="no token to predict"):
        compare(SPEC, VOCABULARY, empty, VALIDATION, FitContext(tmp_path), 1.0, {"sgd": None})


def test_an_unknown_rule_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(ModelError, match="adamw") as caught:
        compared(tmp_path, {"adamw": [0.01], "newton": [1.0]})
    assert caught.value.kind == "input"
    assert not list(tmp_path.iterdir())


# --- parts of a stream


@pytest.mark.parametrize("tokens", [1, 50, 300, 10**9])
def test_the_first_reviews_are_whole_and_have_no_more_tokens_than_asked_for(tokens):
    some = first_reviews(TRAIN, tokens)
    assert 1 <= len(some) <= len(TRAIN)
    assert some.tokens == sum(len(TRAIN.document(i)) - 2 for i in range(len(some)))
    assert some.tokens <= tokens or len(some) == 1
    assert len(some) == len(TRAIN) or some.tokens + len(TRAIN.document(len(some))) - 2 > tokens
    assert all(np.array_equal(some.document(i), TRAIN.document(i)) for i in range(len(some)))


def test_a_trial_passes_through_json():
    trial = OptimizerTrial("sgd", 0.1, (10, 20), (3.0, 2.0), updates=4)
    comparison = OptimizerComparison((trial,), 20, 10, 1.0)
    assert json.loads(json.dumps(asdict(comparison)))["trials"][0]["nats"] == [3.0, 2.0]
    assert comparison.best == (trial,)
