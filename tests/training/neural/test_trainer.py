"""The trainer: best state, journal, news, state. Small recurrent networks on random walks."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.output import CONTEXT_IDS
from reviewlm.training.neural.trainer import validation_nats
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


@pytest.mark.slow
def test_the_best_state_on_validation_is_what_comes_out_and_its_loss_is_the_recorded_one_to_the_last_bit(
    tmp_path,
):
    """Trained on very little at a high rate it over-fits: the last state is worse than an earlier one."""
    training = replace(
        TRAINING, epochs=80, evaluations=20, warmup=0.0, final_rate=1.0, state_reset_prob=0.0
    )
    network, summary = run(
        tmp_path / "work", training=training, streams=(walks(10, V, 1), VALIDATION)
    )
    measured = curve(tmp_path / "work", "validation/nats")
    assert len(measured) == 20
    assert min(measured) < measured[-1] - 0.05
    assert summary["best_validation_nats"] == min(measured)
    assert summary["best_tokens"] < summary["tokens"]
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    reloaded = network_of()
    reloaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert (
        validation_nats(reloaded, VALIDATION)[0]
        == summary["best_validation_nats"]
        == summary["validation_nats"]
    )


def test_the_journal_holds_every_curve_and_its_train_loss_is_weighted_by_tokens(tmp_path):
    _, summary = run(tmp_path)
    names = {name for line in journal(tmp_path) for name in line}
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
    lines = [line for line in journal(tmp_path) if "train/nats" in line]
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps))
    # One line per update here, so the line of a half-empty window must hold the mean of its own tokens.
    assert len(lines) == summary["updates"]
    assert max(line["train/nats"] for line in lines) < math.log(V) + 1.5
    assert (
        curve(tmp_path, "learning_rate")[0]
        < TRAINING.learning_rate
        < 1.01 * max(curve(tmp_path, "learning_rate"))
    )


# --- state


@pytest.mark.slow
def test_with_reset_one_every_window_starts_afresh_and_with_zero_none_does(tmp_path, monkeypatch):
    kept, reset = [], RecurrentNetwork.reset

    def spy(network, state, keep_B):
        kept.append(keep_B)
        return reset(network, state, keep_B)

    monkeypatch.setattr(RecurrentNetwork, "reset", spy)
    _, summary = run(tmp_path / "one", training=replace(TRAINING, epochs=1, state_reset_prob=1.0))
    assert len(kept) == summary["updates"] - 1
    assert not torch.cat(kept).any()
    kept.clear()
    run(tmp_path / "zero", training=replace(TRAINING, epochs=1, state_reset_prob=0.0))
    assert not kept
    run(tmp_path / "some", training=replace(TRAINING, epochs=8, state_reset_prob=0.3))
    updates = 8 * summary["updates"]
    share = sum(int((~keep).sum()) for keep in kept) / (updates * TRAINING.batch)
    assert share == pytest.approx(0.3, abs=0.05)


def test_state_is_carried_within_an_epoch_and_not_into_the_next(tmp_path):
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
    training = replace(TRAINING, epochs=10, bptt_len=25, learning_rate=3e-2, state_reset_prob=0.0)
    spec = replace(SPEC, kind=kind, dropout=0.0, training=training)
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
