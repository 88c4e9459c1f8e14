"""Filters of a distribution, against brute force, and the draw from it."""

import numpy as np
import pytest
import torch

from reviewlm.models.sampling import Sampling, pick
from reviewlm.models.sampling.filters import sampled_logp
from tests.models.sampling.test_sampling_options import oracle


def test_the_nucleus_is_that_of_the_definition():
    p_V = np.random.default_rng(0).dirichlet(np.full(5000, 5.0))
    found = sampled_logp(torch.as_tensor(np.log(p_V)[None]), Sampling(top_p=0.9)).exp().numpy()[0]
    assert found == pytest.approx(oracle(p_V, Sampling(top_p=0.9)), abs=1e-9)
    assert (found > 0).sum() > 2000


def test_a_very_high_temperature_is_uniform_over_what_is_possible():
    found = sampled_logp(torch.tensor([[0.9, 0.1, 0.0]]).log(), Sampling(1e9)).exp()
    assert found.tolist()[0] == pytest.approx([0.5, 0.5, 0])


def test_pick_inverts_the_distribution_function():
    logp_BV = torch.tensor([[0.0, 0.25, 0.5, 0.0, 0.25, 0.0]]).log().repeat(7, 1)
    uniforms = np.array([0.0, 0.2499, 0.2501, 0.7499, 0.7501, 0.99999999, np.nextafter(1, 0)])
    assert pick(logp_BV, uniforms).tolist() == [1, 1, 2, 2, 4, 4, 4]
