"""The draw in one pass: the same token as by the filters, one after another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.sampling import Sampling
from models.sampling.draw import draw, in_one_pass
from models.sampling.filters import allowed, pick, sampled_logp

pytest.importorskip("numba")


def test_rows_without_any_possible_token_end():
    logp_NV = torch.tensor([[0.0, -torch.inf, -torch.inf], [-torch.inf] * 3])
    ids = draw(logp_NV, torch.tensor([0]), Sampling(), np.zeros(2))
    assert ids.tolist() == [2, 2]


CUTS = (Sampling(), Sampling(0.8, 0, 0.95), Sampling(1.3, 7), Sampling(0.7, 30, 0.6, 0.02), Sampling(1.0, min_p=0.1),
        Sampling(0.3, 10**6, 0.9999), Sampling(2.0, 1), Sampling(1.0, 0, 0.001))  # fmt: skip


@pytest.mark.parametrize("size", [9, 300, 1501])
@pytest.mark.parametrize("step", [0.0, 0.25], ids=["all different", "many equal"])
def test_drawing_cuts_what_the_filters_cut(size, step):
    draws, never = np.random.default_rng(size), torch.tensor([0, 3])
    for spread in (0.5, 4.0):
        logits_NV = torch.from_numpy(draws.normal(size=(150, size)).astype(np.float32)) * spread + 5
        logits_NV[:, 1] = -torch.inf
        if step:
            logits_NV = (logits_NV / step).round() * step
        for sampling in CUTS:
            uniforms_N = draws.random(150)
            possible_NV = allowed(torch.log_softmax(logits_NV, 1), never, sampling)
            expected = pick(sampled_logp(possible_NV, sampling), uniforms_N)
            assert draw(logits_NV, never, sampling, uniforms_N).tolist() == expected.tolist()


def test_other_options_and_other_numbers_are_left_to_the_filters():
    logp_NV = torch.zeros(1, 9)
    assert in_one_pass(logp_NV, Sampling(0.8, 5, 0.9, 0.01))
    assert not in_one_pass(logp_NV, Sampling(typical_p=0.9))
    assert not in_one_pass(logp_NV, Sampling(temperature=0))
    assert not in_one_pass(logp_NV.double(), Sampling())
