"""The trainer: best state, journal, news, state. Small recurrent networks on random walks."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.output import CONTEXT_IDS
from reviewlm.training.neural.validation import validation_nats
from tests.models.neural.made_streams import walks
from tests.models.neural.made_trainings import (
    SPEC,
    TRAINING,
    VALIDATION,
    V,
    curve,
    journal,
    network_of,
    run,
)

# --- validation


def plain_nats(network, stream):
    """Document by document, position by position."""
    nats, tokens = 0.0, 0
    for i in range(len(stream)):
        ids = torch.from_numpy(stream.document(i).astype(np.int64))
        logp = network.output.logp(network(ids[None, :-1], network.start(1, "cpu"))[0][0]).double()
        for position, target in enumerate(ids[1:].tolist()):
            if target not in CONTEXT_IDS:
                nats, tokens = nats - logp[position, target].item(), tokens + 1
    return nats / tokens, tokens


@pytest.mark.parametrize("positions", [1, 50, 100_000])
def test_validation_scores_every_token_once_from_fresh_states_without_dropout(positions):
    network = network_of().eval()
    expected, tokens = plain_nats(network, VALIDATION)
    assert tokens == VALIDATION.tokens
    network.train()
    before = torch.get_rng_state()
    nats, count = validation_nats(network, VALIDATION, positions=positions)
    assert count == tokens
    assert nats == pytest.approx(expected, rel=1e-6)
    assert network.training
    assert torch.equal(torch.get_rng_state(), before)


# --- a whole training


class Trained(NamedTuple):
    """A training's network, summary and folder."""

    network: RecurrentNetwork
    summary: dict[str, Any]
    folder: Path


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train on very little at a high rate, so that the last state is worse than an earlier one."""
    folder = tmp_path_factory.mktemp("overfitted")
    training = replace(
        TRAINING,
        epochs=80,
        evaluations=20,
        warmup=0.0,
        final_rate=1.0,
        state_reset_prob=0.0,
    )
    network, summary = run(folder, training=training, streams=(walks(10, V, 1), VALIDATION))
    return Trained(network, summary, folder)


@pytest.mark.slow
def test_the_best_validation_loss_is_the_least_of_all_evaluations(overfitted):
    measured = curve(overfitted.folder, "validation/nats")

    assert len(measured) == 20
    assert min(measured) < measured[-1] - 0.05
    assert overfitted.summary["best_validation_nats"] == min(measured)


@pytest.mark.slow
def test_the_best_state_of_an_overfitted_training_is_before_its_end(overfitted):
    assert overfitted.summary["best_tokens"] < overfitted.summary["tokens"]


@pytest.mark.slow
def test_the_loss_of_what_comes_out_is_the_recorded_best_to_the_last_bit(overfitted, tmp_path):
    torch.save(overfitted.network.state_dict(), tmp_path / "weights.pt")
    reloaded = network_of()
    reloaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))

    nats = validation_nats(reloaded, VALIDATION)[0]

    assert nats == overfitted.summary["best_validation_nats"]
    assert nats == overfitted.summary["validation_nats"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a network as these tests do by default."""
    folder = tmp_path_factory.mktemp("trained")
    network, summary = run(folder)
    return Trained(network, summary, folder)


def train_lines(trained: Trained) -> list[dict[str, Any]]:
    """Take the lines of the journal that tell the loss on the training text."""
    return [line for line in journal(trained.folder) if "train/nats" in line]


def test_the_journal_holds_every_curve(trained):
    names = {name for line in journal(trained.folder) for name in line}

    assert names == {
        "step",
        "time",
        "train/nats",
        "train/perplexity",
        "validation/nats",
        "validation/perplexity",
        "learning_rate",
        "gradient_norm",
        "clipped_share",
        "tokens_per_second",
        "step_seconds/p50",
        "step_seconds/p90",
        "step_seconds/p99",
        "peak_memory_megabytes",
        "settled",
    }


def test_the_steps_of_the_journal_rise(trained):
    steps = [line["step"] for line in train_lines(trained)]

    assert steps == sorted(set(steps))


def test_the_train_loss_is_weighted_by_tokens(trained):
    """One line per update here, so the line of a half-empty window must hold the mean of its own tokens."""
    lines = train_lines(trained)

    assert len(lines) == trained.summary["updates"]
    assert max(line["train/nats"] for line in lines) < math.log(V) + 1.5


def test_the_learning_rate_of_the_journal_warms_up_to_its_peak(trained):
    rates = curve(trained.folder, "learning_rate")

    assert rates[0] < TRAINING.learning_rate < 1.01 * max(rates)


# --- state


@pytest.fixture
def kept(monkeypatch) -> list[torch.Tensor]:
    """Record which streams keep their state, each time that some are reset."""
    kept = []
    reset = RecurrentNetwork.reset

    def record_reset(
        network,
        state,
        keep_B,
    ):
        kept.append(keep_B)
        return reset(network, state, keep_B)

    monkeypatch.setattr(RecurrentNetwork, "reset", record_reset)
    return kept


@pytest.mark.slow
def test_with_reset_one_every_window_starts_afresh(tmp_path, kept):
    _, summary = run(tmp_path, training=replace(TRAINING, epochs=1, state_reset_prob=1.0))

    assert len(kept) == summary["updates"] - 1
    assert not torch.cat(kept).any()


@pytest.mark.slow
def test_with_reset_zero_no_window_starts_afresh(tmp_path, kept):
    run(tmp_path, training=replace(TRAINING, epochs=1, state_reset_prob=0.0))

    assert not kept


@pytest.mark.slow
def test_windows_start_afresh_with_the_given_probability(tmp_path, kept):
    _, summary = run(tmp_path, training=replace(TRAINING, epochs=8, state_reset_prob=0.3))

    resets = sum(int((~keep).sum()) for keep in kept)
    assert resets / (summary["updates"] * TRAINING.batch) == pytest.approx(0.3, abs=0.05)


def test_state_starts_afresh_only_where_an_epoch_begins(tmp_path):
    network = network_of(replace(SPEC, dropout=0.0))
    norms, forward = [], network.forward

    def spy(ids, state):
        if network.training:
            norms.append(float(state[0].norm()))
        return forward(ids, state)

    network.forward = spy
    training = replace(TRAINING, epochs=2, state_reset_prob=0.0)
    _, summary = run(tmp_path, network, training)
    half = int(summary["updates"]) // 2
    assert [index for index, norm in enumerate(norms) if norm == 0] == [0, half]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_the_loss_falls_strictly_over_ten_epochs(kind: str, tmp_path: Path) -> None:
    """A line of the journal per update: an epoch's loss is the mean over its tokens."""
    training = replace(
        TRAINING,
        epochs=10,
        bptt_len=25,
        learning_rate=3e-2,
        state_reset_prob=0.0,
    )
    spec = replace(
        SPEC,
        kind=kind,
        dropout=0.0,
        training=training,
    )
    stream = walks(30, V, 1)
    _, summary = run(tmp_path, network_of(spec, stream), training, (stream, stream))
    lines = [line for line in journal(tmp_path) if "train/nats" in line]
    per_epoch = len(lines) // 10
    assert len(lines) == summary["updates"] == 10 * per_epoch
    tokens = np.diff([0, *(line["step"] for line in lines)])
    nats = tokens * [line["train/nats"] for line in lines]
    epochs = [
        nats[i : i + per_epoch].sum() / tokens[i : i + per_epoch].sum()
        for i in range(0, len(lines), per_epoch)
    ]
    assert len(epochs) == 10
    assert all(later < earlier for earlier, later in pairwise(epochs))
    assert epochs[-1] < epochs[0] - 1
