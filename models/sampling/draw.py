"""Draw the next token of several texts in one pass over their distributions."""

from __future__ import annotations

import numpy as np
import torch

from ..base import FirstEntries
from ..sampling_options import Sampling
from ..tokens.special import EOS
from .filters import require_drawn

try:
    from . import draw_kernels
except ImportError:  # numba is not installed, as where a stranger opens an exported model
    draw_kernels = None  # type: ignore[assignment]

UNCHANGED = Sampling()


def in_one_pass(logp_NV: torch.Tensor, sampling: Sampling) -> bool:
    """Return whether `draw` can draw from these distributions with these options."""
    compiled = draw_kernels is not None and logp_NV.device.type == "cpu" and logp_NV.dtype == torch.float32
    return compiled and sampling.cuts_only


def draw(logp_NV: torch.Tensor, never: torch.Tensor, sampling: Sampling, uniforms_N: np.ndarray) -> np.ndarray:
    """Return one id per row, drawn without some ids; `<eos>` where nothing else is possible.

    The id is that of `filters.pick` from the distribution of `filters.sampled_logp`, up to rounding.

    Args:
        logp_NV: Log-probabilities, normalised or not.
        never: Ids that are not drawn, ascending.
        sampling: Options for which `in_one_pass` holds.
        uniforms_N: Numbers in [0, 1).

    Raises:
        ModelError: kind "bundle": a log-probability is not a number.
    """
    ids_N = np.empty(logp_NV.shape[0], np.int64)
    inverse = np.float32(1 / sampling.divisor)
    cuts = min(sampling.top_k, logp_NV.shape[1]), float(sampling.top_p), float(sampling.min_p)
    draw_kernels.draw(logp_NV.contiguous().numpy(), never.numpy(), inverse, *cuts, uniforms_N, EOS, ids_N)
    return require_drawn(ids_N)


def draw_unchanged(entries: FirstEntries, never: torch.Tensor, uniforms_N: np.ndarray) -> np.ndarray:
    """Return one id per row, drawn by inversion from the unchanged distributions without some ids.

    Inversion is in the order of the ids. So the first entries decide whether the id is among them, and whole
    distributions are computed only where it is not. The id is the same for any number of first entries.

    Args:
        entries: Of normalised float32 distributions on the CPU; logp_BC may be all of them.
        never: Ids that are not drawn.
        uniforms_N: Numbers in [0, 1).
    """
    every_N = np.arange(len(uniforms_N))
    if entries.logp_BC.shape[1] <= int(never.max()):
        return _unchanged(entries.whole(every_N), never, uniforms_N)
    ids_N = np.empty(len(uniforms_N), np.int64)
    draw_kernels.draw_among_first(entries.logp_BC.numpy(), never.numpy(), uniforms_N, ids_N)
    if len(later_M := every_N[ids_N < 0]):
        ids_N[later_M] = _unchanged(entries.whole(later_M), never, uniforms_N[later_M])
    return ids_N


def _unchanged(logp_MV: torch.Tensor, never: torch.Tensor, uniforms_M: np.ndarray) -> np.ndarray:
    ids_M = np.empty(len(uniforms_M), np.int64)
    draw_kernels.draw_among_first(logp_MV.contiguous().numpy(), never.numpy(), uniforms_M, ids_M)
    if len(rest := np.flatnonzero(ids_M < 0)):  # p sums to a little less than 1, or is nearly all of *never*
        ids_M[rest] = draw(logp_MV[rest], never, UNCHANGED, uniforms_M[rest])
    return ids_M
