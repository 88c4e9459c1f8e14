"""Draw the next token of several texts in one pass over their distributions."""

from __future__ import annotations

import numpy as np
import torch

from ..tokens.vocabulary import EOS
from .options import Sampling

try:
    from . import draw_kernels
except ImportError:  # numba is not installed, as where a stranger opens an exported model
    draw_kernels = None  # type: ignore[assignment]


def in_one_pass(logp_NV: torch.Tensor, sampling: Sampling) -> bool:
    """Return whether `draw` can draw from these distributions with these options."""
    compiled = draw_kernels is not None and logp_NV.device.type == "cpu" and logp_NV.dtype == torch.float32
    return compiled and sampling.cuts_only


def draw(logp_NV: torch.Tensor, never: torch.Tensor, sampling: Sampling, uniforms_N: np.ndarray) -> np.ndarray:
    """Return one id per row, drawn without some ids; `<eos>` where nothing else is possible.

    The id is that of `filters.pick` from the distribution of `filters.sampled_logp`, up to rounding.

    Args:
        logp_NV: Log-probabilities, normalised or not.
        never: Ids that are not drawn.
        sampling: Options for which `in_one_pass` holds.
        uniforms_N: Numbers in [0, 1).
    """
    ids_N = np.empty(logp_NV.shape[0], np.int64)
    inverse = np.float32(1 / sampling.temperature)
    cuts = min(sampling.top_k, logp_NV.shape[1]), float(sampling.top_p), float(sampling.min_p)
    draw_kernels.draw(logp_NV.contiguous().numpy(), never.numpy(), inverse, *cuts, uniforms_N, EOS, ids_N)
    return ids_N
