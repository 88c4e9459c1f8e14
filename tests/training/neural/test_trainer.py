"""The trainer: best state, journal, news, state. Small recurrent networks on random walks."""

import math
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.base import ModelError
from models.neural.device import POSITIONS
from models.neural.output import CONTEXT_IDS
from models.neural.recurrent import RecurrentNetwork
from tests.models.neural.made_streams import EOS, STAR, stream_of, walks
from tests.models.neural.made_trainings import SPEC, TRAIN, TRAINING, VALIDATION, V, curve, journal, network_of, run
from training.neural import trainer
from training.neural.callbacks import reporting
from training.neural.optimization.optimizers import make_optimizer
from training.neural.validation import validation_limit, validation_nats

# --- one step


def test_only_matrices_decay():
    network = network_of()
    groups = make_optimizer(network, TRAINING).param_groups
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    for name, parameter in network.named_parameters():
        assert decay[id(parameter)] == (TRAINING.weight_decay if parameter.ndim == 2 else 0.0), name
    assert network.output.tail_weight.ndim == 1


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_a_document_longer_than_the_positions_is_read_in_pieces_with_its_state(kind):
    rng = np.random.default_rng(3)
    stream = stream_of([rng.integers(9, V, length).tolist() for length in (3, 240, 5)], V)
    network = network_of(replace(SPEC, kind=kind)).eval()
    expected, tokens = plain_nats(network, stream)
    forward, most = network.forward, []
    network.forward = lambda ids, state: most.append(ids.numel()) or forward(ids, state)
    for positions in (1, 7, 100):
        nats, count = validation_nats(network, stream, positions=positions)
        assert count == tokens
        assert nats == pytest.approx(expected, rel=1e-6)
        assert max(most) <= positions
        most.clear()


def test_on_the_processor_a_batch_is_read_in_pieces_of_few_positions_with_all_its_reviews(monkeypatch):
    monkeypatch.setitem(POSITIONS, "cpu", 40)
    stream = stream_of([[9 + i % 5] * 30 for i in range(10)], V)
    network = network_of().eval()
    expected, tokens = plain_nats(network, stream)
    forward, shapes = network.forward, []
    network.forward = lambda ids, state: shapes.append(tuple(ids.shape)) or forward(ids, state)
    nats, count = validation_nats(network, stream)
    assert count == tokens
    assert nats == pytest.approx(expected, rel=1e-6)
    assert set(shapes) <= {(10, 4), (10, 3), (10, 2), (10, 1)}, "reviews by positions"


def test_a_limit_takes_reviews_from_all_over_the_stream():
    texts = [[9 + i // 10] * 8 for i in range(100)]
    stream = stream_of(texts, V)
    seen = set()
    network = network_of()
    forward = network.forward
    network.forward = lambda ids, state: seen.update(ids.flatten().tolist()) or forward(ids, state)
    _, tokens = validation_nats(network, stream, limit=180)
    assert tokens == 180
    assert set(range(9, 19)) <= seen


def test_evaluations_cost_a_small_share_of_the_training():
    assert validation_limit(10_000, 8) == 20_000
    assert validation_limit(4_000_000, 8) == 75_000
    assert validation_limit(10**9, 8) == 200_000


# --- a whole training


@pytest.mark.long
def test_a_small_network_learns_the_walk_in_bf16_with_two_levels(tmp_path):
    """From each token one of two follows: a bigram model pays log 2 per step and a little for both ends."""
    training = replace(TRAINING, epochs=12, precision="bf16", learning_rate=3e-2)
    network, summary = run(tmp_path, training=training, streams=(walks(150, V, 1), VALIDATION))
    assert not network.training
    assert summary["validation_perplexity"] < 3.6
    assert curve(tmp_path, "train/perplexity")[0] > 15


@pytest.mark.parametrize("epochs", [0.3, 1, 1.7])
def test_epochs_may_be_fractions_and_every_token_counts_once_each(tmp_path, epochs):
    _, summary = run(tmp_path, training=replace(TRAINING, epochs=epochs))
    assert summary["tokens"] == pytest.approx(epochs * TRAIN.tokens, abs=TRAINING.batch * TRAINING.bptt_len)
    if epochs == 1:
        assert summary["tokens"] == TRAIN.tokens


@pytest.mark.slow
def test_the_best_state_on_validation_is_what_comes_out_and_its_loss_is_the_recorded_one_to_the_last_bit(tmp_path):
    """Trained on very little at a high rate it over-fits: the last state is worse than an earlier one."""
    training = replace(TRAINING, epochs=80, evaluations=20, warmup=0.0, final_rate=1.0, state_reset_prob=0.0)
    network, summary = run(tmp_path / "work", training=training, streams=(walks(10, V, 1), VALIDATION))
    measured = curve(tmp_path / "work", "validation/nats")
    assert len(measured) == 20
    assert min(measured) < measured[-1] - 0.05
    assert summary["best_validation_nats"] == min(measured)
    assert summary["best_tokens"] < summary["tokens"]
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    reloaded = network_of()
    reloaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert validation_nats(reloaded, VALIDATION)[0] == summary["best_validation_nats"] == summary["validation_nats"]


def test_evaluations_are_spread_evenly_and_the_last_is_at_the_end(tmp_path):
    _, summary = run(tmp_path)
    steps = [line["step"] for line in journal(tmp_path) if "validation/nats" in line]
    assert len(steps) == 4
    assert steps[-1] == summary["tokens"]
    np.testing.assert_allclose(steps, np.arange(1, 5) * summary["tokens"] / 4, rtol=0.1)


def test_more_evaluations_than_updates_are_as_many_as_updates(tmp_path):
    _, summary = run(tmp_path, training=replace(TRAINING, epochs=0.1, evaluations=50))
    assert len(curve(tmp_path, "validation/nats")) == summary["updates"]


def test_what_updates_take_is_counted_by_the_wall_and_by_the_processor_and_evaluations_are_not(tmp_path, monkeypatch):
    """Both clocks are read twice for each update; here they go on by a known time at each reading."""
    wall, processor = iter(range(10**6)), iter(range(0, 10**7, 10))
    clocks = {"perf_counter": lambda: next(wall), "process_time": lambda: next(processor), "monotonic": time.monotonic}
    monkeypatch.setattr(trainer, "time", SimpleNamespace(**clocks))
    _, summary = run(tmp_path)
    assert summary["seconds"] == summary["updates"]
    assert summary["cpu_seconds"] == 10 * summary["updates"]
    assert summary["tokens_per_second"] == summary["tokens"] / summary["updates"]
    assert summary["step_seconds/p50"] == summary["step_seconds/p99"] == pytest.approx(1, rel=0.01)


def test_the_journal_holds_every_curve_and_its_train_loss_is_weighted_by_tokens(tmp_path):
    _, summary = run(tmp_path)
    names = {name for line in journal(tmp_path) for name in line}
    assert names == {
        "step", "time", "train/nats", "train/perplexity", "validation/nats", "validation/perplexity", "learning_rate",
        "gradient_norm", "gradient_norm/p50", "gradient_norm/p90", "gradient_norm/p99", "clipped_share",
        "tokens_per_second", "step_seconds/p50", "step_seconds/p90", "step_seconds/p99", "peak_memory_megabytes",
        "product_peak_share", "settled",
    }
    lines = [line for line in journal(tmp_path) if "train/nats" in line]
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps))
    # One line per update here, so the line of a half-empty window must hold the mean of its own tokens.
    assert len(lines) == summary["updates"]
    assert max(line["train/nats"] for line in lines) < math.log(V) + 1.5
    assert curve(tmp_path, "learning_rate")[0] < TRAINING.learning_rate < 1.01 * max(curve(tmp_path, "learning_rate"))


def test_news_tell_tokens_per_second_time_left_and_perplexities(tmp_path, monkeypatch):
    monkeypatch.setattr(reporting, "REPORT_SECONDS", 0.0)
    news = []
    _, summary = run(tmp_path, report=news.append)
    assert len(news) == summary["updates"]
    assert [n.step for n in news] == sorted(n.step for n in news)
    last = news[-1]
    assert last.step == last.total == summary["tokens"]
    assert last.figures["seconds_left"] == 0
    assert last.figures["best_perplexity"] == summary["best_validation_perplexity"]
    assert {"perplexity", "validation_perplexity", "tokens_per_second"} <= set(last.figures)
    assert "best_perplexity" not in news[0].figures
    assert news[0].figures["seconds_left"] > 0


def test_windows_without_a_scored_token_take_no_step(tmp_path):
    """One token per window: those before a begin or star token have nothing to predict."""
    stream = stream_of([[9], [10], [11]], V)
    training = replace(TRAINING, epochs=1, batch=1, bptt_len=1, evaluations=1, state_reset_prob=0.0)
    network, summary = run(tmp_path, training=training, streams=(stream, VALIDATION))
    assert summary["updates"] == len(stream.ids) - 1
    assert len(curve(tmp_path, "gradient_norm")) == summary["tokens"] == 6
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_streams_without_a_token_to_predict_are_refused(tmp_path):
    empty = stream_of([[9]], V)
    empty.tokens = 0
    for streams in ((empty, VALIDATION), (TRAIN, empty)):
        with pytest.raises(ModelError, match="no token") as refusal:
            run(tmp_path, streams=streams)
        assert refusal.value.kind == "input"


def test_a_stream_shorter_than_one_window_trains(tmp_path):
    _, summary = run(tmp_path, streams=(stream_of([[9, 10]], V), VALIDATION), training=replace(TRAINING, epochs=3))
    assert (summary["updates"], summary["tokens"]) == (3, 9)


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
@pytest.mark.parametrize("backprop", [10, 15, 40])
def test_longer_gradients_train_too(tmp_path, backprop):
    _, summary = run(tmp_path, training=replace(TRAINING, bptt_grad_len=backprop))
    assert summary["validation_perplexity"] < 15


def test_the_programs_random_stream_is_left_alone(tmp_path):
    torch.manual_seed(3)
    network = network_of()
    before = torch.get_rng_state()
    run(tmp_path, network)
    assert torch.equal(torch.get_rng_state(), before)


def test_running_again_after_the_end_gives_the_same_without_training(tmp_path):
    network, summary = run(tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_bytes()
    again = network_of()
    forward = again.forward
    again.forward = lambda ids, state: forward(ids, state) if not again.training else pytest.fail("it trains again")
    second = run(tmp_path, again)[1]
    assert second.pop("peak_memory_megabytes") >= summary.pop("peak_memory_megabytes")  # of the process: it only grows
    assert second == summary
    assert (tmp_path / "metrics.jsonl").read_bytes() == lines
    for one, two in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_end_token_is_scored_and_the_star_is_not():
    network = network_of().eval()
    stream = stream_of([[]], V)
    assert stream.document(0).tolist() == [1, STAR, EOS]
    nats, tokens = validation_nats(network, stream)
    logp = network.output.logp(network(torch.tensor([[1, STAR]]), network.start(1, "cpu"))[0][:, -1])
    assert (tokens, nats) == (1, pytest.approx(-logp[0, EOS].item()))
