"""Sums of probabilities by their logarithms: what float64 gives, for possible and impossible entries, in any batch."""

import numpy as np
import pytest
import torch

from reviewlm.models.log_sums import log_sum_of, log_sum_over

PARTS, B, V = 3, 5, 301


def made():
    """Logarithms from 0 down to where float32 has no probability left, some of them of impossible entries."""
    draws = np.random.default_rng(1)
    logp_PBV = -draws.exponential(15, (PARTS, B, V)).astype(np.float32)
    logp_PBV[draws.random(logp_PBV.shape) < 0.2] = -np.inf
    logp_PBV[:, :, 7], logp_PBV[:, :, 8] = -np.inf, logp_PBV[0, :, 8]
    weights_PB = draws.dirichlet(np.ones(PARTS), B).T.astype(np.float32)
    weights_PB[1, 2] = 0
    with np.errstate(divide="ignore"):
        return logp_PBV, np.log(weights_PB)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])  # only the first one is compiled
def test_a_sum_is_that_of_the_probabilities(dtype):
    logp_PBV, log_weight_PB = (array.astype(dtype) for array in made())
    with np.errstate(divide="ignore"):
        expected_BV = np.log(
            (np.exp(log_weight_PB.astype(float))[..., None] * np.exp(logp_PBV.astype(float))).sum(0)
        )
    separate = log_sum_of(
        [torch.from_numpy(logp_BV) for logp_BV in logp_PBV], torch.from_numpy(log_weight_PB)
    )
    one = log_sum_over(
        torch.from_numpy(logp_PBV.transpose(1, 0, 2).copy()),
        torch.from_numpy(log_weight_PB.T.copy()),
    )
    assert torch.equal(separate, one)
    assert np.isneginf(expected_BV).sum() >= B
    assert (np.isneginf(separate.numpy()) == np.isneginf(expected_BV)).all()
    np.testing.assert_allclose(separate.numpy(), expected_BV, rtol=2e-6, atol=2e-6)


def test_a_row_has_the_same_bits_in_any_batch():
    """So a text of a mixture does not depend on its neighbours; the last digit of torch's operator may."""
    logp_PBV, log_weight_PB = (torch.from_numpy(array) for array in made())
    together = log_sum_of(list(logp_PBV), log_weight_PB)
    for row in range(B):
        alone = log_sum_of(list(logp_PBV[:, row : row + 1]), log_weight_PB[:, row : row + 1])
        assert torch.equal(alone[0], together[row])


def test_a_sum_leaves_its_inputs_as_they_are():
    logp_PBV, log_weight_PB = (torch.from_numpy(array) for array in made())
    before = logp_PBV.clone()
    log_sum_of(list(logp_PBV), log_weight_PB)
    assert torch.equal(logp_PBV, before)
