"""Exact resume: a training that is killed anywhere and started again ends with the same bits and the same journal."""

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reviewlm.training.neural import checkpointing
from reviewlm.training.neural.checkpoint import Checkpoints
from reviewlm.training.neural.learning_rates import learning_rate
from reviewlm.training.neural.optimizers import AdamW
from reviewlm.training.neural.trainer import CHECKPOINTS
from tests.marked_cases import long_but, slow_but
from tests.models.neural.made_trainings import Killed, killed_at_rename
from tests.programs import command
from tests.training.neural import killed_trainings
from tests.training.neural.killed_trainings import (
    SPEC,
    TRAINING,
    assert_same_as,
    bits,
    journal,
    kill,
    network_of,
    run,
    without_clock,
)


@pytest.mark.parametrize(
    "seconds",
    slow_but([0.0, 1e9], {0.0}),
    ids=["checkpoint at every update", "at evaluations only"],
)
@pytest.mark.parametrize("seed", long_but(range(6), {0}))
def test_a_training_killed_several_times_ends_as_if_nothing_had_happened(
    tmp_path,
    undisturbed,
    monkeypatch,
    seed,
    seconds,
):
    """Kill points are counted over two epochs of U/2 windows each, so that resumes cross the border between them."""
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", seconds)
    updates = undisturbed[1]["updates"]
    rng = np.random.default_rng(seed)
    for at in sorted(rng.integers(1, updates // 4, 4), reverse=True):
        kill(tmp_path, at)
    assert_same_as(undisturbed, tmp_path, *run(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("rename", long_but(range(1, 6), {3}))
def test_a_kill_while_a_checkpoint_is_written(
    tmp_path,
    undisturbed,
    monkeypatch,
    rename,
):
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", 0.0)
    with killed_at_rename(rename):
        run(tmp_path)
    assert_same_as(undisturbed, tmp_path, *run(tmp_path))
    assert not list(tmp_path.rglob("*.part"))


RECIPES = {
    "random windows": {
        "random_window": True,
        "bptt_len": 12,
        "epochs": 3,
    },
    "packed reviews": {"stateful": False, "state_reset_prob": 0.02},
    "packed reviews in random windows": {
        "stateful": False,
        "state_reset_prob": 0.02,
        "random_window": True,
        "bptt_len": 9,
        "bptt_grad_len": 14,
    },
    "two streams at a time": {"micro_batch": 3},
    "averaged weights": {"ema": 0.8},
    "nt_asgd": {
        "optimizer": "nt_asgd",
        "learning_rate": 1.0,
        "evaluations": 40,
        "schedule": "constant",
        "clip": 0.25,
    },
    "plateau": {
        "schedule": "plateau",
        "evaluations": 9,
        "learning_rate": 0.3,
    },
    "penalties": {
        "activation_penalty": 1.0,
        "temporal_penalty": 0.5,
        "clip_value": 0.02,
    },
    "momentum": {
        "optimizer": "nesterov",
        "learning_rate": 0.2,
        "schedule": "linear",
    },
    "adam, which counts its steps": {"optimizer": "adam", "l2": 1e-4},
}


@pytest.mark.long
@pytest.mark.parametrize("recipe", long_but(RECIPES, {"averaged weights"}))
def test_whatever_the_recipe_remembers_survives_kills(
    tmp_path,
    recipe,
    monkeypatch,
):
    """Killed three times, the last time in the second epoch; restart points are both of evaluations and in between."""
    training = replace(TRAINING, **RECIPES[recipe])
    with monkeypatch.context() as patch:
        patch.setattr(killed_trainings, "SPEC", replace(SPEC, training=training))
        plain, summary = run(tmp_path / "plain", training=training)
        facts = Checkpoints(tmp_path / "plain" / CHECKPOINTS).load().facts
        assert recipe != "nt_asgd" or facts["trigger"]["fired"]
        assert recipe != "plateau" or facts["course"]["plateau"] < 0.1
        (tmp_path / "killed").mkdir()
        for at, seconds in ((int(summary["updates"] * 0.8), 1e9), (3, 0.0), (6, 0.0)):
            patch.setattr(checkpointing, "CHECKPOINT_SECONDS", seconds)
            with pytest.raises(Killed):
                run(tmp_path / "killed", network_of(at), training)
        resumed, other = run(tmp_path / "killed", training=training)
    assert bits(resumed) == bits(plain)
    assert without_clock(other) == without_clock(summary)
    assert journal(tmp_path / "killed") == journal(tmp_path / "plain")


@pytest.mark.slow
def test_a_divergence_on_the_way_does_not_spoil_the_resume(
    tmp_path,
    undisturbed,
    monkeypatch,
):
    """At the full rate the 30th update spoils a weight matrix; one of two such trainings is killed after that."""
    step, full_rate = AdamW.step, learning_rate(TRAINING, 29, undisturbed[1]["updates"])

    def exploding(optimizer, *arguments):
        step(optimizer, *arguments)
        if optimizer.param_groups[0]["lr"] == full_rate:
            with torch.no_grad():
                optimizer.param_groups[0]["params"][0].mul_(float("inf"))

    monkeypatch.setattr(AdamW, "step", exploding)
    plain, summary = run(tmp_path / "plain")
    assert summary["divergences"] == 1
    (tmp_path / "killed").mkdir()
    with pytest.raises(Killed):
        run(tmp_path / "killed", network_of(40))
    resumed, other = run(tmp_path / "killed")
    assert bits(resumed) == bits(plain)
    assert without_clock(other) == without_clock(summary)
    assert journal(tmp_path / "killed") == journal(tmp_path / "plain")


@pytest.mark.drill(
    "killed at any moment", "kill -9 of a training", "ends as if nothing had happened"
)
@pytest.mark.long
def test_a_process_killed_with_sigkill(tmp_path, undisturbed):
    root = Path(__file__).parents[3]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(root),
    }
    killed = subprocess.run(command("train_until_killed", tmp_path, 33), env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / CHECKPOINTS).glob("*.safetensors"))
    network = network_of()
    kill_free = undisturbed[1]["updates"]
    calls, loss = [0], network.output.loss
    network.output.loss = lambda *a: (calls.__setitem__(0, calls[0] + 1), loss(*a))[1]
    assert_same_as(undisturbed, tmp_path, *run(tmp_path, network))
    assert calls[0] == kill_free - 32  # it really went on
