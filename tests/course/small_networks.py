"""Small networks with random weights for the equations of the course."""

import torch

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec

V, E, H, B, T = 17, 4, 6, 3, 8
SOFTMAX = ObjectiveSpec(output="softmax")
FLOAT32 = TrainingSpec(precision="float32")


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network_of(kind="rnn", **options):
    torch.manual_seed(1)
    still = {
        "dropout": 0.0,
        "condition_on_stars": False,
        "tied": False,
        "cells": "reference",
    }
    defaults = {
        "hidden": H,
        "embedding": E,
        **still,
    }
    spec = RecurrentSpec(
        kind=kind,
        objective=SOFTMAX,
        training=FLOAT32,
        **(defaults | options),
    )
    network = RecurrentNetwork(spec, torch.ones(V)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return network
