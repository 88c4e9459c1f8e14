"""Minimise a smooth function of a few dozen numbers by BFGS with a backtracking line search.

The inverse Hessian is estimated from the changes of the gradient between steps (Broyden, Fletcher, Goldfarb, Shanno
1970; Nocedal and Wright 2006, "Numerical Optimization", algorithm 6.1). A step is halved until the function falls by a
given share of the fall that its slope predicts (Armijo). No step increases the function, so the result is at most the
value at the start.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

HALVINGS = 40
PROMISED = 1e-4
"""Minimum fall of a step, as a share of the fall that the slope predicts."""


def descend(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]], start_N: np.ndarray, steps: int, tolerance: float
) -> tuple[np.ndarray, int]:
    """Return a point near a minimum, where the function is at most its value at the start, and the number of steps.

    Args:
        function: Returns its value and its gradient (N,).
        start_N: First point.
        steps: Maximum number of steps.
        tolerance: Stops when no entry of the gradient is larger than this.
    """
    here_N = np.asarray(start_N, np.float64)
    value, gradient_N = function(here_N)
    inverse_NN = np.eye(len(here_N))
    for number in range(steps):
        if np.abs(gradient_N).max(initial=0.0) <= tolerance:
            return here_N, number
        direction_N = -inverse_NN @ gradient_N
        promised = float(gradient_N @ direction_N)
        if promised >= 0:  # rounding errors made the estimate useless: reset it
            inverse_NN, direction_N = np.eye(len(here_N)), -gradient_N
            promised = float(gradient_N @ direction_N)
        size = 1.0
        for _ in range(HALVINGS):
            there_N = here_N + size * direction_N
            new_value, new_gradient_N = function(there_N)
            if new_value <= value + PROMISED * size * promised:
                break
            size /= 2
        else:
            return here_N, number
        inverse_NN = _updated(inverse_NN, there_N - here_N, new_gradient_N - gradient_N, first=number == 0)
        here_N, value, gradient_N = there_N, new_value, new_gradient_N
    return here_N, steps


def _updated(inverse_NN: np.ndarray, step_N: np.ndarray, change_N: np.ndarray, first: bool) -> np.ndarray:
    """Return the inverse Hessian after a step on which the gradient changed by *change_N* (equation 6.17)."""
    along = float(step_N @ change_N)
    if along <= 1e-12 * float(np.linalg.norm(step_N) * np.linalg.norm(change_N)):
        return inverse_NN
    if first:
        inverse_NN = inverse_NN * along / float(change_N @ change_N)
    left_NN = np.eye(len(step_N)) - np.outer(step_N, change_N) / along
    updated_NN: np.ndarray = left_NN @ inverse_NN @ left_NN.T + np.outer(step_N, step_N) / along
    return updated_NN
