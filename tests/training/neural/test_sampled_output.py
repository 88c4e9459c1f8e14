"""Sampled softmax and noise-contrastive estimation: what is drawn, and that both lead where the exact softmax leads."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.neural.output import build_output
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.context import FitContext
from reviewlm.training.neural.sampled_output import training_output
from reviewlm.training.neural.trainer import train
from tests.models.neural.made_streams import walks

V, E, N = 40, 6, 25
PREDICTED = [i for i in range(V) if i not in CONTEXT_IDS]
COUNTS = np.random.default_rng(3).permutation(V) * 5 + 1
ESTIMATORS = ["sampled", "nce"]


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return request.param


def layer_of(
    estimator,
    samples=64,
    dtype=torch.float64,
    chunk=8,
    counts=COUNTS,
):
    generator = torch.Generator().manual_seed(1)
    weight = nn.Parameter(torch.randn(V, E, generator=generator, dtype=torch.float64).to(dtype) / 2)
    objective = ObjectiveSpec(
        "softmax",
        chunk=chunk,
        estimator=estimator,
        samples=samples,
    )
    return training_output(
        build_output(objective, weight, counts), objective, torch.from_numpy(counts)
    ).train()


def batch(seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    features_NE = torch.tensor(rng.normal(size=(N, E)), dtype=dtype, requires_grad=True)
    return features_NE, torch.tensor(rng.choice(PREDICTED, N))


def test_draws_follow_the_counts_to_the_three_quarters():
    layer, draws = layer_of("sampled"), 40_000
    torch.manual_seed(5)
    seen_V = np.bincount(layer.draw(draws), minlength=V)
    assert not seen_V[list(CONTEXT_IDS)].any()
    expected_P = COUNTS[PREDICTED] ** 0.75
    expected_P *= draws / expected_P.sum()
    assert stats.chisquare(seen_V[PREDICTED], expected_P).pvalue > 1e-3
    assert (
        stats.chisquare(
            seen_V[PREDICTED], COUNTS[PREDICTED] / COUNTS[PREDICTED].sum() * draws
        ).pvalue
        < 1e-6
    )


def reference_loss(
    estimator,
    layer,
    features_NE,
    targets_N,
    ids_S,
):
    """The formulas of the module, sample by sample, with autograd."""
    expected_V = (layer.samples * layer.noise_V).log()
    logits_NV = features_NE @ layer.weight.T + layer.bias
    total = 0.0
    for logits_V, target in zip(logits_NV, targets_N.tolist(), strict=True):
        others = logits_V[ids_S] - expected_V[ids_S]
        if estimator == "sampled":
            kept = torch.cat([logits_V[target, None], others[ids_S != target]])
            total = total + kept.logsumexp(0) - logits_V[target]
        else:
            total = (
                total
                - F.logsigmoid(logits_V[target] - expected_V[target])
                - F.logsigmoid(-others).sum()
            )
    return total


@pytest.mark.parametrize("samples", [1, 12, 300])
def test_the_loss_is_the_formula_to_the_gradient(estimator, samples):
    layer, (features_NE, targets_N) = layer_of(estimator, samples), batch()
    torch.manual_seed(9)
    ids_S = layer.draw(samples)
    expected = reference_loss(
        estimator,
        layer,
        features_NE,
        targets_N,
        ids_S,
    )
    torch.manual_seed(9)
    loss, count = layer.loss(features_NE, targets_N)
    assert count == N
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=1e-11)
    own = torch.autograd.grad(loss, [features_NE, *layer.parameters()])
    for one, other in zip(
        own, torch.autograd.grad(expected, [features_NE, *layer.parameters()]), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_a_sampled_target_is_left_out_of_the_sum(monkeypatch):
    """If only the target itself is drawn, there is nothing to tell it from: no loss, no gradient."""
    layer, (features_NE, _) = layer_of("sampled"), batch()
    monkeypatch.setattr(layer, "draw", lambda samples: torch.full((samples,), PREDICTED[4]))
    loss, _ = layer.loss(features_NE, torch.full((N,), PREDICTED[4]))
    assert loss.item() == 0
    assert all(
        (grad == 0).all() for grad in torch.autograd.grad(loss, [features_NE, *layer.parameters()])
    )


def test_a_fit_that_was_interrupted_goes_on_with_the_samples_it_would_have_drawn(
    estimator, tmp_path
):
    objective = ObjectiveSpec("softmax", estimator=estimator, samples=20)
    training = TrainingSpec(
        epochs=2,
        batch=4,
        bptt_len=9,
        evaluations=3,
        precision="float32",
        seed=4,
    )
    spec = RecurrentSpec(
        hidden=8,
        embedding=8,
        objective=objective,
        training=training,
    )
    streams = walks(40, 30, seed=1), walks(8, 30, seed=2)

    def fitted(work, report=lambda progress: None):
        torch.manual_seed(1)
        counts_V = torch.ones(30, dtype=torch.int64)
        network = NeuralLM.build(spec, counts_V)
        network.output = training_output(network.output, objective, counts_V)
        train(network, *streams, training, FitContext(tmp_path / work, report=report))
        return network.state_dict()

    def stop(progress):
        if progress.step > 0.5 * progress.total:
            raise KeyboardInterrupt

    undisturbed = fitted("undisturbed")
    with pytest.raises(KeyboardInterrupt):
        fitted("interrupted", stop)
    torch.rand(7)
    resumed = fitted("interrupted")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in undisturbed.items())
