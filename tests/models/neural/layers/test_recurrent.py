"""Recurrent networks: layers, tying, dropout, initial values, own and fused, number formats."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.layers.recurrent_layers import run_layer
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.tokens.special import BOS, STARS

KINDS = ["rnn", "gru", "lstm"]
FLOAT32 = TrainingSpec(precision="float32")
V, B, T = 40, 3, 14


def counts(size=V):
    """Zipf-like counts; given ids are never predicted."""
    result = torch.tensor([1000 // (rank + 1) for rank in range(size)])
    result[[1, 3, 4, 5, 6, 7, 8]] = 0
    return result


def make(
    kind="lstm",
    seed=1,
    size=V,
    **options,
):
    defaults = {
        "hidden": 12,
        "embedding": 8,
        "dropout": 0.0,
        "objective": ObjectiveSpec(head=8),
        "training": FLOAT32,
    }
    torch.manual_seed(seed)
    return RecurrentNetwork(RecurrentSpec(kind=kind, **(defaults | options)), counts(size))


def random_ids(*shape):
    return torch.randint(9, V, shape)


def weights_of(layer):
    return dict(layer.named_parameters())


@pytest.mark.parametrize("cells", ["reference", "fused"])
@pytest.mark.parametrize("kind", KINDS)
def test_many_layers_equal_torchs_many_layers(kind, cells):
    """Layer i feeds layer i + 1: the stack is torch.nn's layer with num_layers = 3."""
    network = make(
        kind,
        layers=3,
        cells=cells,
        hidden=8,
    )
    reference = getattr(nn, kind.upper())(8, 8, 3, batch_first=True)
    reference.load_state_dict(
        {
            f"{name.split('.')[2].removesuffix('0')}{name.split('.')[1]}": value
            for name, value in network.state_dict().items()
            if name.startswith("layers.")
        }
    )
    ids = random_ids(B, T)
    expected, _ = reference(network.embedding(ids))
    features, _ = network(ids, network.start(B, "cpu"))
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-5)


ENTRIES = 500
"""Entries of the vocabulary of a network that was just initialised; 7 of them are never predicted."""


@pytest.fixture(params=[(kind, tied) for kind in KINDS for tied in (True, False)], ids=str)
def initialised(request):
    """A network that was just initialised, features and targets of a random text, and the unigram entropy of that."""
    kind, tied = request.param
    objective = ObjectiveSpec(output="softmax")
    network = make(
        kind,
        size=ENTRIES,
        hidden=32,
        embedding=24,
        tied=tied,
        objective=objective,
    )
    p = counts(ENTRIES) + 0.5
    p[[1, 3, 4, 5, 6, 7, 8]] = 0
    p = p / p.sum()
    targets = torch.multinomial(p, 4_000, replacement=True)
    read = torch.multinomial(p, 4_000, replacement=True).view(8, -1)
    features, _ = network(read, network.start(8, "cpu"))
    entropy = -p[targets].log().mean().item()
    return SimpleNamespace(
        output=network.output,
        features=features.flatten(0, 1).detach(),
        targets=targets,
        entropy=entropy,
    )


def test_the_initial_loss_is_the_unigram_entropy(initialised):
    loss = initialised.output.nats(initialised.features, initialised.targets).mean().item()
    assert loss == pytest.approx(initialised.entropy, rel=0.05)


def test_the_initial_loss_without_a_bias_is_that_of_equal_probabilities(initialised):
    nn.init.zeros_(initialised.output.bias)
    loss = initialised.output.nats(initialised.features, initialised.targets).mean().item()
    assert loss == pytest.approx(math.log(ENTRIES - 7), rel=0.05)


def test_the_star_token_read_last_is_added_to_every_input_of_its_review():
    """C[w] + C[s], equation by equation: a network without the reminder that is given the sums says the same.

    Where a stream goes on from review to review, `<bos>` is still read with the star token of the review before it.
    """
    network, plain = make("gru"), make("gru", condition_on_stars=False)
    plain.load_state_dict(network.state_dict())
    ids = torch.tensor([[BOS, STARS[1], 20, 21, 2, BOS, STARS[4], 30, 31, 32]])
    star = torch.tensor([[0, 4, 4, 4, 4, 4, 7, 7, 7, 7]])
    rows = network.embedding.weight
    sums_BTE = rows[ids] + rows[star] * (star > 0)[..., None]
    h_BTH, _ = run_layer(
        plain.layers[0], weights_of(plain.layers[0]), sums_BTE, (torch.zeros(1, 12),)
    )
    features, _ = network(ids, network.start(1, "cpu"))
    torch.testing.assert_close(features, plain.project(h_BTH))


def test_gradients_of_the_whole_network_pass_the_numeric_check():
    network = make(
        "lstm",
        layers=2,
        hidden=4,
        embedding=3,
        cells="reference",
    ).double()
    ids = random_ids(2, 3)
    names = [name for name, _ in network.named_parameters() if not name.startswith("output.")]

    def run(*values):
        given = dict(zip(names, values, strict=True))
        features, state = torch.func.functional_call(network, given, (ids, network.start(2, "cpu")))
        return (features, *state)

    leaves = [network.get_parameter(name).detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(run, leaves, atol=1e-6)
