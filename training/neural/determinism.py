"""Name the conditions under which two fits can be equal to the last bit.

On the CPU, equal options, data and seeds give equal weights as long as the kernels sum in the same order. That order
depends on the release of torch, the kind of CPU, the number of threads and the number of ranks. Fits with the same
values of these are in one class of determinism. Between classes, weights agree only to rounding; between numbers of
ranks, only to rounding and the draws of dropout.

On a GPU there is no fixed order: the gradients of a row that is read or drawn several times are added in the order in
which the threads finish (`index_add_`, the embedding's gradient). A class names the GPU; fits agree to rounding.
"""

from __future__ import annotations

import torch


def determinism_class(device: torch.device, ranks: int = 1) -> dict[str, str | int]:
    """Return the conditions for bit-equal fits: torch, device, instructions, threads, ranks."""
    together: dict[str, str | int] = {"ranks": ranks} if ranks > 1 else {}
    return together | {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def announcement(found: dict[str, str | int]) -> str:
    """Return one line that says how far another fit of the same class will agree."""
    if found["device"] == "cpu":
        return f"determinism class: {in_words(found)}; equal fits in this class are equal bit for bit"
    return f"determinism class: none on a GPU ({in_words(found)}); equal fits are equal up to rounding"


def in_words(found: dict[str, str | int]) -> str:
    """Return a class as one line of text."""
    return ", ".join(f"{name} {value}" for name, value in found.items())
