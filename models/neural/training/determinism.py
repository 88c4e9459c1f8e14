"""Which fits can be equal to the last bit.

Equal options, data and seeds give equal weights on the processor as long as the kernels sum in the same order. That
order depends on the release of torch, the kind of processor, the number of threads and that of ranks. Fits that agree
in these are of one class; between classes, weights agree to rounding only, and between numbers of ranks to rounding and
the draws of dropout.

On a GPU there is no order to agree in: gradients of a row that is read or drawn several times are added by whichever
thread comes first (`index_add_`, the embedding's gradient). A class says which GPU it was; fits agree to rounding.
"""

from __future__ import annotations

import torch


def determinism_class(device: torch.device, ranks: int = 1) -> dict[str, str | int]:
    """Return what two fits must agree in to be equal to the last bit: torch, device, instructions, threads, ranks."""
    together: dict[str, str | int] = {"ranks": ranks} if ranks > 1 else {}
    return together | {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def announcement(found: dict[str, str | int]) -> str:
    """Return what to expect of another fit of the same class, in one line."""
    if found["device"] == "cpu":
        return f"class of determinism: {in_words(found)}; equal fits in it are equal to the last bit"
    return f"class of determinism: none on a GPU ({in_words(found)}); equal fits are equal to rounding"


def in_words(found: dict[str, str | int]) -> str:
    """Return a class in one line."""
    return ", ".join(f"{name} {value}" for name, value in found.items())
