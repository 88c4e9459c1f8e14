"""Whether a model adapts is said of every kind, at any depth of models made of models."""

from __future__ import annotations

import numpy as np

from models.base import adaptation_of
from models.cache.lm import RANGES, CacheLM
from models.mixture.lm import MixtureLM
from models.mixture.parts import Part
from models.mixture.weights import Fixed
from models.specs import CacheSpec
from tests.models.mixture.mixture_tables import table_part


def cached(name="static"):
    return CacheLM(CacheSpec(part=name), table_part(1, name), np.full((len(RANGES) + 1, 3), 1 / 3))


def test_a_model_adapts_if_a_part_of_it_does():
    assert adaptation_of(table_part(1).model) == "static"
    assert adaptation_of(cached()) == "cache"
    parts = [table_part(2, "a"), Part("b", CacheSpec(part="static"), cached())]
    mixture = MixtureLM(parts, Fixed(np.array([0.5, 0.5])))
    assert adaptation_of(mixture) == "cache"
    outer = CacheLM(CacheSpec(part="mix"), Part("mix", None, mixture), np.full((len(RANGES) + 1, 3), 1 / 3))
    assert adaptation_of(outer) == "cache"
