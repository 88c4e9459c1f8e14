"""Filters of a distribution, against brute force, and the draw from it."""

import numpy as np
import pytest
import torch

from models.sampling import Sampling, pick
from models.sampling.filters import sampled_logp


def brute_force(p_V, temperature, top_k, top_p):
    """Follow the definitions entry by entry."""
    p_V = np.array(p_V) ** (1 / temperature)
    p_V /= p_V.sum()
    if top_k:
        kth = sorted(p_V, reverse=True)[min(top_k, len(p_V)) - 1]
        first = p_V.argmax()
        p_V = np.array([p if (p >= kth * (1 - 1e-6) if top_k > 1 else i == first) else 0 for i, p in enumerate(p_V)])
        p_V /= p_V.sum()
    mass, last = 0.0, 1.0
    for p in sorted(p_V, reverse=True):
        if mass >= top_p:
            break
        mass, last = mass + p, p
    p_V = np.array([p if p >= last * (1 - 1e-6) else 0 for p in p_V])
    return p_V / p_V.sum()


def test_the_nucleus_is_that_of_the_definition():
    p_V = np.random.default_rng(0).dirichlet(np.full(5000, 5.0))
    found = sampled_logp(torch.as_tensor(np.log(p_V)[None]), Sampling(top_p=0.9)).exp().numpy()[0]
    assert found == pytest.approx(brute_force(p_V, 1, 0, 0.9), abs=1e-9)
    assert (found > 0).sum() > 2000


@pytest.mark.parametrize("temperature", [0, 1e-4, 1e-30])
def test_temperature_towards_zero_is_argmax(temperature):
    logp_BV = torch.log_softmax(torch.randn(20, 50, generator=torch.Generator().manual_seed(1)), 1)
    found = sampled_logp(logp_BV, Sampling(temperature))
    assert found.argmax(1).tolist() == logp_BV.argmax(1).tolist()
    assert found.exp().amax(1).tolist() == pytest.approx([1.0] * 20)


def test_a_very_high_temperature_is_uniform_over_what_is_possible():
    found = sampled_logp(torch.tensor([[0.9, 0.1, 0.0]]).log(), Sampling(1e9)).exp()
    assert found.tolist()[0] == pytest.approx([0.5, 0.5, 0])


def test_pick_inverts_the_distribution_function():
    logp_BV = torch.tensor([[0.0, 0.25, 0.5, 0.0, 0.25, 0.0]]).log().repeat(7, 1)
    uniforms = np.array([0.0, 0.2499, 0.2501, 0.7499, 0.7501, 0.99999999, np.nextafter(1, 0)])
    assert pick(logp_BV, uniforms).tolist() == [1, 1, 2, 2, 4, 4, 4]
