"""Bengio's feed-forward model: the formula, its context, the start of a document."""

import pytest
import torch

from reviewlm.models.neural.architectures import NPLMNetwork
from reviewlm.models.specs import NPLMSpec, ObjectiveSpec, TrainingSpec

V, BOS = 30, 1
FLOAT32 = TrainingSpec(precision="float32")


def make(seed=1, **options):
    defaults = {
        "context": 3,
        "embedding": 4,
        "hidden": 6,
        "dropout": 0.0,
        "training": FLOAT32,
    }
    torch.manual_seed(seed)
    return NPLMNetwork(
        NPLMSpec(objective=ObjectiveSpec(output="softmax"), **(defaults | options)), torch.arange(V)
    )


def random_ids(*shape):
    return torch.randint(9, V, shape)


@pytest.mark.parametrize("direct", [True, False])
def test_logits_are_b_plus_Wx_plus_U_tanh_d_plus_Hx(direct):
    network = make(direct=direct).double().eval()
    words = [11, 25, 17]
    features, _ = network(torch.tensor([words]), network.start(1, "cpu"))
    x = torch.cat([network.embedding.weight[word] for word in reversed(words)])
    H, d, b = network.hidden.weight, network.hidden.bias, network.output.bias
    W, U = network.output.weight.split([12, 6], 1) if direct else (None, network.output.weight)
    y = b + U @ torch.tanh(d + H @ x)
    if direct:
        y = y + W @ x
    y[[1, 3, 4, 5, 6, 7, 8]] = -torch.inf
    logp = network.output.logp(features[:, -1])[0]
    torch.testing.assert_close(logp, torch.log_softmax(y, 0).float(), atol=1e-6, rtol=1e-6)


def test_a_document_after_another_reads_like_a_document_at_the_start():
    network = make(context=5).eval()
    document = torch.tensor([[BOS, 5, 20, 21, 22]])
    alone, _ = network(document, network.start(1, "cpu"))
    later, _ = network(torch.cat([random_ids(1, 7), document], 1), network.start(1, "cpu"))
    # Not to the bit: the last digit of a product may depend on its number of rows.
    torch.testing.assert_close(later[:, 7:], alone, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("direct", [True, False])
def test_gradients_pass_the_numeric_check(direct):
    network = make(direct=direct).double()
    names = ["embedding.weight", "hidden.weight", "hidden.bias"]
    ids = random_ids(2, 4)

    def run(*values):
        given = dict(zip(names, values, strict=True))
        return torch.func.functional_call(network, given, (ids, network.start(2, "cpu")))[0]

    leaves = [network.get_parameter(name).detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(run, leaves, atol=1e-6)
