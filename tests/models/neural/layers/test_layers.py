"""One call for own and fused layers: given weights, streams that forget, initial values."""

from itertools import pairwise

import pytest
import torch

from reviewlm.models.neural.layers.recurrent_layers import make_layer, run_layer

E, H, B, T = 4, 6, 3, 11
LAYERS = {
    "rnn": {"kind": "rnn", "cells": "fused"},
    "rnn-relu": {
        "kind": "rnn",
        "cells": "fused",
        "nonlinearity": "relu",
    },
    "gru": {"kind": "gru", "cells": "fused"},
    "lstm": {"kind": "lstm", "cells": "fused"},
    "rnn-own": {
        "kind": "rnn",
        "cells": "reference",
        "nonlinearity": "arctan",
    },
    "gru-own": {"kind": "gru", "cells": "reference"},
    "gru-cho": {
        "kind": "gru",
        "cells": "reference",
        "form": "cho",
    },
    "lstm-own": {"kind": "lstm", "cells": "reference"},
    "lstm-normed": {
        "kind": "lstm",
        "cells": "reference",
        "layer_norm": True,
    },
}


def make(name):
    torch.manual_seed(1)
    return make_layer(
        inputs=E,
        hidden=H,
        **LAYERS[name],
    ).double()


def weights_of(layer):
    return dict(layer.named_parameters())


def random_state(name, batch=B):
    tensors = 2 if name.startswith("lstm") else 1
    return tuple(torch.randn(batch, H, dtype=torch.float64) for _ in range(tensors))


def random_inputs(*shape):
    return torch.randn(*shape, E, dtype=torch.float64)


@pytest.mark.parametrize("name", LAYERS)
def test_a_stream_that_forgets_reads_on_as_from_the_start(name):
    """Against each piece run alone: outputs, last states, gradients of inputs, weights and first states."""
    layer, x, state = make(name), random_inputs(B, T).requires_grad_(), random_state(name)
    begins = [[0, 4, 5], [0], [7]]  # where each stream forgets
    keep = torch.ones(B, T, dtype=torch.bool)
    for stream, at in enumerate(begins):
        keep[stream, at] = False
    whole, last = run_layer(
        layer,
        weights_of(layer),
        x,
        state,
        keep,
    )
    alone, ends = [], []
    for stream, at in enumerate(begins):
        parts, own = [], tuple(tensor[stream : stream + 1] for tensor in state)
        cuts = sorted({0, *at, T})
        for left, right in pairwise(cuts):
            own = tuple(torch.zeros_like(tensor) for tensor in own) if left in at else own
            h, own = run_layer(layer, weights_of(layer), x[stream : stream + 1, left:right], own)
            parts.append(h)
        alone.append(torch.cat(parts, 1))
        ends.append(own)
    torch.testing.assert_close(whole, torch.cat(alone), atol=1e-12, rtol=1e-12)
    for ours, *theirs in zip(last, *ends, strict=True):
        torch.testing.assert_close(ours, torch.cat(theirs), atol=1e-12, rtol=1e-12)
    score = torch.randn(B, T, H, dtype=torch.float64)
    leaves = [x, *layer.parameters()]
    ours, theirs = (
        torch.autograd.grad((h * score).sum(), leaves) for h in (whole, torch.cat(alone))
    )
    for name_of, a, b in zip(["x", *weights_of(layer)], ours, theirs, strict=True):
        torch.testing.assert_close(
            a,
            b,
            atol=1e-12,
            rtol=1e-12,
            msg=name_of,
        )


def gates_of(name, start):
    """The recurrent matrix of each gate of a new layer."""
    torch.manual_seed(3)
    return (
        make_layer(
            inputs=E,
            hidden=H,
            **LAYERS[name],
            start=start,
        )
        .weight_hh_l0.detach()
        .split(H)
    )


@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_matrices_start_as_their_name_says_gate_by_gate(name):
    for W_HH in gates_of(name, "orthogonal"):
        torch.testing.assert_close(W_HH @ W_HH.T, torch.eye(H), atol=1e-5, rtol=0)
        assert not torch.equal(W_HH, torch.eye(H))
    for W_HH in gates_of(name, "identity"):
        assert torch.equal(W_HH, torch.eye(H))
    drawn = torch.cat(gates_of(name, "uniform"))
    assert 0.7 * H**-0.5 < drawn.abs().max() <= H**-0.5
    assert abs(drawn.mean()) < 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "gru", "form": "cho"},
        {"kind": "lstm", "layer_norm": True},
        {"kind": "rnn", "nonlinearity": "arctan"},
    ],
)
def test_what_torch_has_no_fused_layer_for_is_refused(options):
    with pytest.raises(ValueError, match="reference"):
        make_layer(
            inputs=E,
            hidden=H,
            cells="fused",
            **options,
        )
