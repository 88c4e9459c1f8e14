"""Small networks in float64 that adapt to what they read, and the text that they read."""

from __future__ import annotations

import numpy as np

from models.mixture.parts import Part
from models.neural.adaptive.dynamic import DynamicLM
from models.specs import DynamicSpec
from models.tokens.vocabulary import BOS
from tests.models.neural.test_neural_lm import SPECS, V, make

TEXT = np.random.default_rng(4).integers(9, V, (3, 26))
TEXT[:, 0], TEXT[:, 1], TEXT[1, 11], TEXT[2, 20:] = BOS, 8, BOS, BOS


def exact(name="lstm"):
    model = make(name)
    model.network.double()
    return Part(name, SPECS[name], model)


def adapting(part, rate=0.5, decay=0.1, segment=4, across=False, rms=None):
    rule = "sgd" if rms is None else "rms"
    return DynamicLM(DynamicSpec(segment=segment, across=across, rule=rule), part, rate, decay, rms)


def score(model, ids):
    return model.score(ids, model.start(len(ids)))[0]
