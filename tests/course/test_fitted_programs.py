"""The programs that fit models: what is the same in all trials, and a run of each that takes a second."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from typing import get_args

import numpy as np
import pytest
import torch

from course import inputs, ngram_methods, optimizers
from models.neural.recurrent import RecurrentNetwork
from models.neural.spec import Optimizer
from models.tokens.special import CONTEXT_IDS
from tests.marked_cases import long_but
from training.ngram.counting.counts import count_ngrams


@pytest.fixture(scope="module")
def data():
    return inputs.data_of(inputs.program(None, reviews=60).parse_args([]))


def test_every_rule_has_rates_and_trials_differ_in_rule_and_rate_alone(data):
    assert set(optimizers.GRID) == set(get_args(Optimizer))
    small = inputs.small_lstm()
    adam, adamw = (optimizers.trial_spec(small, rule, 0.02, data) for rule in ("adam", "adamw"))
    assert adam.training.weight_decay == adamw.training.weight_decay == 0
    assert (adam.training.batch, adam.training.seed) == (adamw.training.batch, adamw.training.seed)
    whole = optimizers.trial_spec(small, "gd", 4.0, data).training
    assert whole.batch * whole.bptt_len >= len(data.train.ids) - 1
    assert optimizers.trial_spec(small, "nt_asgd", 4.0, data).training.schedule == "constant"


@pytest.mark.slow
def test_without_decay_adam_and_adamw_are_the_same_so_all_else_is_the_same_too(data):
    small = inputs.small_lstm(hidden=16, embedding=8, dropout=0.0)
    small = replace(small, training=replace(small.training, epochs=1.0))
    nats = [inputs.fitted(optimizers.trial_spec(small, rule, 0.02, data), data).summary["validation_nats"]
            for rule in ("adam", "adamw", "sgd")]  # fmt: skip
    assert nats[0] == pytest.approx(nats[1], abs=1e-3)
    assert nats[0] < nats[2] - 0.1


def test_methods_agree_on_single_words_and_a_part_of_the_text_has_every_nth_review(data):
    counts = count_ngrams(data.train, 1, data.vocabulary.size, CONTEXT_IDS)
    jelinek, witten = (ngram_methods.perplexity(counts, name, data) for name in ("jelinek_mercer", "witten_bell"))
    assert jelinek == pytest.approx(witten, rel=0.05)
    half = ngram_methods.TextPart(data.train, 2)
    assert len(half.offsets) - 1 == -(-len(data.train) // 2)
    np.testing.assert_array_equal(half.ids[half.offsets[1] : half.offsets[2]], data.train.document(2))


PROGRAMS = {
    "ngram_methods": "--reviews 60", "state_carry": "--reviews 60", "context_use": "--reviews 250 --tokens 20",
    "lr_find": "--reviews 120", "brown_clusters": "--reviews 60 --clusters 5",
    "gradient_flow": "--hidden 8 --distances 5", "optimizers": "--reviews 60 --rules adamw --epochs 0.5",
    "scaling": "--reviews 120 --epochs 4", "toy": "recall --lag 3 --networks gru --updates 3",
    "forecast": "--epochs 1", "probes": "--reviews 60", "dynamic_evaluation": "--reviews 60",
}  # fmt: skip
QUICK = {"brown_clusters", "gradient_flow", "ngram_methods", "toy"}


@pytest.mark.slow
@pytest.mark.parametrize("name", long_but(list(PROGRAMS), QUICK))
def test_every_program_runs_and_shows_a_table(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, *PROGRAMS[name].split()])
    threads, forward = set(), RecurrentNetwork.forward

    def counted(network, ids_BT, state):
        threads.add(torch.get_num_threads())
        return forward(network, ids_BT, state)

    monkeypatch.setattr(RecurrentNetwork, "forward", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        import_module(f"course.{name}").main()
    finally:
        torch.set_num_threads(before)
    assert len(capsys.readouterr().out.splitlines()) > 2
    assert threads <= {1}, "networks this small only wait for further threads"
