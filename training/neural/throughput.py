"""Measure how well a training uses its machine: peak memory, and the share of the matrix-product peak.

Training on a token takes at least 6 floating-point operations for each weight that its products use: a multiplication
and an addition forward, twice that backward (for the gradients of inputs and weights). The share is tokens per second
times that number, divided by the speed of plain products in the same number format on the same device. It is the model
FLOPs utilisation of Chowdhery et al. 2022, "PaLM", appendix B. Look-ups, element-wise passes, optimiser and repeated
computations do not count as work, so they lower the share.
"""

from __future__ import annotations

import math
import time
from functools import cache

import torch
from torch import Tensor, nn

from models.neural.device import is_out_of_memory
from models.neural.network import Network
from models.threads import peak_resident

OPERATIONS = 6
"""Floating-point operations for each weight and token: see above."""
SIDES = (256, 512, 1024, 2048, 4096, 8192)
"""Sides of the square matrices that are multiplied, until a product takes `ENOUGH` seconds."""
ENOUGH = 1e-3
TURNS = 3
LAUNCHES = 8
"""Products on a GPU between two events: the time to launch a single one would count as time of the product."""
MEGABYTE = 1e6


class Meter:
    """Measurements of one training.

    Args:
        network: In training mode, with its initial weights.
        ranks: Processes that train it together.
    """

    def __init__(self, network: Network, ranks: int = 1) -> None:
        self.operations = OPERATIONS * weights_used(network)
        self.device, self.products, self.ranks = network.output.weight.device, network.products, ranks

    def highest_tokens_per_second(self) -> float:
        """Return the tokens per second of a training in which only matrix products take time, at their peak speed."""
        dtype = torch.bfloat16 if self.products == "bf16" else torch.float32
        return self.ranks * product_peak(self.device, dtype, torch.get_num_threads()) / self.operations

    def peak_memory(self) -> dict[str, float]:
        """Return the peak memory of this process and, on a GPU, the most that torch had taken there, in megabytes."""
        of_process = {"peak_memory_megabytes": peak_resident() / MEGABYTE}
        if self.device.type != "cuda":
            return of_process
        return of_process | {"peak_gpu_memory_megabytes": torch.cuda.max_memory_reserved(self.device) / MEGABYTE}


def weights_used(network: Network) -> float:
    """Return how many weights the products of one scored token use on average; looked-up rows do not count."""
    looked_up = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    outside = looked_up | {id(parameter) for parameter in network.output.parameters()}
    layers = sum(p.numel() for p in network.parameters() if p.ndim >= 2 and id(p) not in outside)
    return layers + network.output.weights_used()


@cache
def product_peak(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """Return the floating-point operations per second of the fastest product of square matrices, cached per process.

    It takes some tens of milliseconds: sizes double until a product takes `ENOUGH` seconds; each is tried a few times.

    Args:
        device: On which the products run.
        dtype: Their number format.
        threads: Torch's current number; another number has another peak.
    """
    best = 0.0
    for side in SIDES:
        try:
            seconds = _seconds_of_product(side, device, dtype)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            break
        best = max(best, 2 * side**3 / seconds)
        if seconds > ENOUGH:
            break
    if device.type == "cuda":  # this memory is not the training's
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    return best


@torch.no_grad()
def _seconds_of_product(side: int, device: torch.device, dtype: torch.dtype) -> float:
    """Return the shortest time of a few products; the first turn only warms up."""
    a = torch.linspace(-1, 1, side * side, device=device).view(side, side).to(dtype)
    result, least = torch.empty_like(a), math.inf
    for turn in range(1 + TURNS):
        if device.type == "cuda":
            seconds = _seconds_on_gpu(a, result)
        else:
            began = time.perf_counter()
            torch.mm(a, a, out=result)
            seconds = time.perf_counter() - began
        least = min(least, seconds) if turn else least
    return max(least, 1e-9)


def _seconds_on_gpu(a: Tensor, result: Tensor) -> float:
    """Return the mean time of `LAUNCHES` products, by the clock of the GPU."""
    with torch.cuda.device(a.device):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        for _ in range(LAUNCHES):
            torch.mm(a, a, out=result)
        ended.record()
        ended.synchronize()
    return began.elapsed_time(ended) / 1e3 / LAUNCHES
