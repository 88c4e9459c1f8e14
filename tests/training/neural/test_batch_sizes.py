"""Full, mini and single batches: the same gradient on average, and the way to the optimum."""

import numpy as np
import pytest
import torch
from torch import nn

from reviewlm.training.neural.averaging import WeightAverage
from reviewlm.training.neural.optimizers import SGD


class LeastSquares:
    """N equations x_n · θ ≈ y_n, whose best θ is known; some noise makes single examples disagree."""

    def __init__(self, noise):
        generator = torch.Generator().manual_seed(4)
        self.x_ND = torch.randn(48, 3, generator=generator, dtype=torch.float64)
        true_D = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
        self.y_N = self.x_ND @ true_D + noise * torch.randn(
            48, generator=generator, dtype=torch.float64
        )
        self.best_D = torch.linalg.lstsq(self.x_ND, self.y_N[:, None]).solution[:, 0]

    def gradient(self, theta_D, rows):
        theta_D = theta_D.detach().clone().requires_grad_()
        (self.x_ND[rows] @ theta_D - self.y_N[rows]).square().mean().backward()
        return theta_D.grad


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 12, 48])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_batches_of_any_size_reach_the_optimum_of_a_convex_problem(batch, noise):
    """Single examples that disagree leave the last weights in a cloud around it; the mean over its second half hits."""
    problem, order = LeastSquares(noise), np.random.default_rng(0)
    theta_D = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    rule, average = SGD([theta_D], 0.03), WeightAverage([theta_D])
    epochs = 120 if batch < 48 else 600
    for epoch in range(epochs):
        rows = order.permutation(48)
        for start in range(0, 48, batch):
            theta_D.grad = problem.gradient(theta_D, rows[start : start + batch])
            rule.step()
            if epoch >= epochs // 2:
                average.update()
    reached = average.weights()[0]
    torch.testing.assert_close(
        reached, problem.best_D, rtol=0, atol=1e-6 if batch == 48 or not noise else 0.02
    )
