"""Small output layers of every kind, and their definition with autograd."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from reviewlm.models.neural.output import CONTEXT_IDS, build_output
from reviewlm.models.specs import ObjectiveSpec

V, E, N, HEAD = 40, 6, 23, 7
PREDICTED = [i for i in range(V) if i not in CONTEXT_IDS]
SORTED = np.concatenate([[45, 0, 50], np.zeros(6, int), np.arange(40, 40 - (V - 9), -1)])
"""WordTotals that fall with the id, as in a word vocabulary: the tail is a plain range of ids."""
MIXED = np.random.default_rng(1).permutation(V) * 3
"""WordTotals without order, as in a BPE vocabulary: the tail is scattered."""
OBJECTIVES = {
    "softmax": ObjectiveSpec("softmax"),
    "one tail, sorted": ObjectiveSpec("adaptive", HEAD),
    "one tail, mixed": ObjectiveSpec("adaptive", HEAD),
    "adaptive, sorted": ObjectiveSpec("adaptive", HEAD, cutoffs=(12, 20)),
    "adaptive, mixed": ObjectiveSpec("adaptive", HEAD, cutoffs=(12, 20)),
    "shrinking, mixed": ObjectiveSpec("adaptive", HEAD, cutoffs=(12,), shrink=2.0),
    "hierarchical": ObjectiveSpec("hierarchical"),
}


def layer_of(
    kind,
    chunk=8,
    dtype=torch.float32,
    seed=0,
):
    generator = torch.Generator().manual_seed(seed)
    weight = nn.Parameter(torch.randn(V, E, generator=generator, dtype=torch.float64).to(dtype))
    layer = build_output(
        replace(OBJECTIVES[kind], chunk=chunk), weight, SORTED if "sorted" in kind else MIXED
    )
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name != "weight":
                parameter.add_(
                    torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
                )
    return layer


def batch(
    seed=0,
    dtype=torch.float32,
    among=PREDICTED,
):
    rng = np.random.default_rng(seed)
    features_NE = torch.tensor(rng.normal(size=(N, E)), dtype=dtype, requires_grad=True)
    return features_NE, torch.tensor(rng.choice(among, N))


def gradients(
    loss,
    layer,
    features_NE,
):
    used = torch.autograd.grad(
        loss, [features_NE, *layer.parameters()], allow_unused=True, materialize_grads=True
    )
    return list(used)
