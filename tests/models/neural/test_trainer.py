"""The trainer: clipping, schedule, best state, journal, news, divergence. Small recurrent networks on random walks."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from made_streams import EOS, STAR, stream_of, walks

from models.base import FitContext, ModelError
from models.neural import trainer
from models.neural.clipping import scale_and_clip
from models.neural.optim import make_optimizer
from models.neural.output import GIVEN
from models.neural.recurrent import RecurrentNetwork
from models.neural.schedule import learning_rate
from models.neural.trainer import train
from models.neural.validation import validation_limit, validation_nats
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from models.streams import unigram_counts

V = 30
TRAINING = TrainingSpec(
    epochs=2, batch=4, window=10, learning_rate=2e-2, evaluations=4, reset=0.1, precision="float32", seed=5
)
SPEC = RecurrentSpec(
    kind="gru", hidden=12, embedding=8, dropout=0.1, objective=ObjectiveSpec(head=10, chunk=16), training=TRAINING
)
TRAIN, VALIDATION = walks(60, V, 1), walks(12, V, 2)


def network_of(spec=SPEC, stream=TRAIN):
    torch.manual_seed(spec.training.seed)
    return RecurrentNetwork(spec, torch.from_numpy(unigram_counts(stream, V)))


def run(folder, network=None, training=TRAINING, streams=(TRAIN, VALIDATION), report=lambda progress: None):
    network = network or network_of(replace(SPEC, training=training))
    folder.mkdir(exist_ok=True)
    return network, train(network, *streams, training, FitContext(folder, report=report)).summary


def journal(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def curve(folder, name):
    return [line[name] for line in journal(folder) if name in line]


# --- one step


@pytest.mark.parametrize("limit", [0.5, 1.0, 100.0, None])
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_clipping_keeps_the_direction_and_bounds_the_norm(limit, scale):
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in [(7, 3), (5,), (2, 2, 2)]]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator) * 3
    parameters.append(torch.nn.Parameter(torch.zeros(3)))  # not part of this loss
    before = torch.cat([p.grad.flatten() for p in parameters[:3]]) * scale
    clipped = scale_and_clip(parameters, scale, limit)
    norm = clipped.norm
    after = torch.cat([p.grad.flatten() for p in parameters[:3]])
    assert norm == pytest.approx(before.norm().item(), rel=1e-6)
    assert clipped.by_norm == (limit is not None and norm > limit)
    assert not clipped.by_value
    if limit is None or norm <= limit:
        torch.testing.assert_close(after, before)
    else:
        assert after.norm().item() <= limit
        assert after.norm().item() == pytest.approx(limit, rel=1e-4)
        assert torch.nn.functional.cosine_similarity(after, before, dim=0).item() == pytest.approx(1, abs=1e-6)


def test_a_gradient_that_is_not_finite_is_left_alone():
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, math.nan])
    assert math.isnan(scale_and_clip([parameter], 0.5, 1.0, 0.1).norm)
    assert parameter.grad[0] == 1.0


def test_the_rate_rises_linearly_to_its_peak_and_falls_by_half_a_cosine_to_its_end():
    training = TrainingSpec(learning_rate=0.5, warmup=0.1, final_rate=0.02)
    rates = [learning_rate(training, update, 101) for update in range(101)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) * 0.05)
    assert rates[10] == rates[9] == max(rates)
    assert rates[55] == pytest.approx(0.5 * (0.02 + 0.98 / 2))
    assert rates[100] == pytest.approx(0.01)
    assert all(a >= b for a, b in pairwise(rates[10:]))


@pytest.mark.parametrize("updates", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
def test_the_rate_of_a_very_short_training_is_positive(updates, warmup):
    training = TrainingSpec(warmup=warmup)
    assert all(0 < learning_rate(training, u, updates) <= training.learning_rate for u in range(updates))


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
            if target not in GIVEN:
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
    assert summary["tokens"] == pytest.approx(epochs * TRAIN.tokens, abs=TRAINING.batch * TRAINING.window)
    if epochs == 1:
        assert summary["tokens"] == TRAIN.tokens


def test_the_best_state_on_validation_is_what_comes_out_and_its_loss_is_the_recorded_one_to_the_last_bit(tmp_path):
    """Trained on very little at a high rate it over-fits: the last state is worse than an earlier one."""
    training = replace(TRAINING, epochs=40, evaluations=20, warmup=0.0, final_rate=1.0, reset=0.0)
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


def test_the_journal_holds_every_curve_and_its_train_loss_is_weighted_by_tokens(tmp_path):
    _, summary = run(tmp_path)
    names = {name for line in journal(tmp_path) for name in line}
    assert names == {
        "step", "time", "train/nats", "train/perplexity", "validation/nats", "validation/perplexity", "learning_rate",
        "gradient_norm", "gradient_norm/p50", "gradient_norm/p90", "gradient_norm/p99", "clipped_share",
        "tokens_per_second",
    }
    lines = [line for line in journal(tmp_path) if "train/nats" in line]
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps))
    # One line per update here, so the line of a half-empty window must hold the mean of its own tokens.
    assert len(lines) == summary["updates"]
    assert max(line["train/nats"] for line in lines) < math.log(V) + 1.5
    assert curve(tmp_path, "learning_rate")[0] < TRAINING.learning_rate < 1.01 * max(curve(tmp_path, "learning_rate"))


def test_news_tell_tokens_per_second_time_left_and_perplexities(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "REPORT_SECONDS", 0.0)
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
    training = replace(TRAINING, epochs=1, batch=1, window=1, evaluations=1, reset=0.0)
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


def test_with_reset_one_every_window_starts_afresh_and_with_zero_none_does(tmp_path, monkeypatch):
    kept, reset = [], RecurrentNetwork.reset

    def spy(network, state, keep_B):
        kept.append(keep_B)
        return reset(network, state, keep_B)

    monkeypatch.setattr(RecurrentNetwork, "reset", spy)
    _, summary = run(tmp_path / "one", training=replace(TRAINING, epochs=1, reset=1.0))
    assert len(kept) == summary["updates"] - 1
    assert not torch.cat(kept).any()
    kept.clear()
    run(tmp_path / "zero", training=replace(TRAINING, epochs=1, reset=0.0))
    assert not kept
    run(tmp_path / "some", training=replace(TRAINING, epochs=8, reset=0.3))
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
    training = replace(TRAINING, epochs=2, reset=0.0)
    _, summary = run(tmp_path, network, training)
    half = int(summary["updates"]) // 2
    assert [index for index, norm in enumerate(norms) if norm == 0] == [0, half]


@pytest.mark.parametrize("backprop", [10, 15, 40])
def test_longer_gradients_train_too(tmp_path, backprop):
    _, summary = run(tmp_path, training=replace(TRAINING, backprop=backprop))
    assert summary["validation_perplexity"] < 15


def test_the_programs_random_stream_is_left_alone(tmp_path):
    torch.manual_seed(3)
    network = network_of()
    before = torch.get_rng_state()
    run(tmp_path, network)
    assert torch.equal(torch.get_rng_state(), before)


# --- trouble


class Planted(RecurrentNetwork):
    """Spoils the features (or their gradient) of chosen training windows, counted from 0 over all attempts."""

    def __init__(self, spoil, windows):
        torch.manual_seed(TRAINING.seed)
        super().__init__(SPEC, torch.from_numpy(unigram_counts(TRAIN, V)))
        self.spoil, self.windows, self.seen = spoil, windows, -1

    def forward(self, ids, state):
        features, state = super().forward(ids, state)
        self.seen += self.training
        if self.training and self.seen in self.windows:
            if self.spoil == "loss":
                features = features * math.nan
            else:
                features.register_hook(lambda grad: grad * (math.inf if self.spoil == "gradient" else 1e6))
        return features, state


def test_an_exploding_batch_is_clipped_counted_and_survived(tmp_path):
    _, plain = run(tmp_path / "plain", Planted("explosion", ()))
    _, summary = run(tmp_path / "exploding", Planted("explosion", (20,)))
    assert max(curve(tmp_path / "exploding", "gradient_norm")) > 1e4
    assert summary["divergences"] == 0
    assert summary["validation_perplexity"] < 1.2 * plain["validation_perplexity"]
    shares = curve(tmp_path / "exploding", "clipped_share")
    assert summary["clipped_share"] == pytest.approx(sum(shares) / len(shares))
    assert shares[20] == 1


def test_the_share_of_clipped_steps_is_that_of_norms_above_the_limit(tmp_path):
    _, summary = run(tmp_path, training=replace(TRAINING, clip=0.5))
    norms = curve(tmp_path, "gradient_norm")
    above = [float(norm > 0.5) for norm in norms]
    assert 0 < sum(above) < len(above)
    assert curve(tmp_path, "clipped_share") == above
    assert summary["clipped_share"] == pytest.approx(sum(above) / len(above))


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


def test_a_divergence_at_the_first_step_starts_again_from_the_first_weights(tmp_path):
    _, summary = run(tmp_path, Planted("loss", (0,)))
    assert summary["divergences"] == 1
    assert summary["tokens"] == pytest.approx(2 * TRAIN.tokens)


def test_a_training_that_diverges_again_and_again_says_what_to_change(tmp_path):
    with pytest.raises(ModelError, match=r"diverged after .* 4 times.*training\.learning_rate .now 0\.02") as failure:
        run(tmp_path, Planted("loss", range(10_000)))
    assert failure.value.kind == "diverged"


def test_running_again_after_the_end_gives_the_same_without_training(tmp_path):
    network, summary = run(tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_bytes()
    again = network_of()
    forward = again.forward
    again.forward = lambda ids, state: forward(ids, state) if not again.training else pytest.fail("it trains again")
    assert run(tmp_path, again)[1] == summary
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
