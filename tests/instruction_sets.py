"""Run the numeric tests under several instruction sets of one processor, as `make test-all` does.

    python tests/instruction_sets.py                    # every set that this processor has
    python tests/instruction_sets.py avx2 sse4          # only these
    python tests/instruction_sets.py --list

torch, oneDNN, MKL, numpy and numba each choose their code by what the processor offers, and each can be held to less by
variables of the environment. A test that passes under one set and fails under another depends on the compiler's choice.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("tests/models", "tests/training", "tests/course", "tests/contracts", "tests/evaluation")


@dataclass(frozen=True)
class InstructionSet:
    """A set of instructions, and how each library is held to it.

    Args:
        needs: Features that the processor must have, in LLVM's names.
        onednn: `ONEDNN_MAX_CPU_ISA`; of oneDNN's matrix products.
        aten: `ATEN_CPU_CAPABILITY`; of torch's own element-wise loops.
        mkl: `MKL_ENABLE_INSTRUCTIONS`; of float32 products.
        fbgemm: `FBGEMM_ENABLE_INSTRUCTIONS`; of torch's products of 8-bit numbers. It has no code below AVX2.
        numpy: `NPY_DISABLE_CPU_FEATURES`; of numpy's loops.
        numba: `NUMBA_CPU_NAME`: a processor that has no more than this set.
    """

    needs: tuple[str, ...]
    onednn: str
    aten: str
    mkl: str
    fbgemm: str
    numpy: str
    numba: str

    def variables(self) -> dict[str, str]:
        """Return the variables of the environment that hold every library to this set."""
        return {
            "ONEDNN_MAX_CPU_ISA": self.onednn,
            "ATEN_CPU_CAPABILITY": self.aten,
            "MKL_ENABLE_INSTRUCTIONS": self.mkl,
            "FBGEMM_ENABLE_INSTRUCTIONS": self.fbgemm,
            "NPY_DISABLE_CPU_FEATURES": self.numpy,
            "NUMBA_CPU_NAME": self.numba,
            "NUMBA_CPU_FEATURES": "",
        }


NUMPY_AVX512 = "X86_V4"
SETS: dict[str, InstructionSet | None] = {
    "native": None,
    "avx512_bf16": InstructionSet(
        ("avx512bf16", "amx-bf16"),
        "AVX512_CORE_BF16",
        "avx512",
        "AVX512",
        "AVX512_E1",
        "",
        "cooperlake",
    ),
    "avx512": InstructionSet(
        ("avx512bf16",),
        "AVX512_CORE",
        "avx512",
        "AVX512",
        "AVX512",
        "",
        "skylake-avx512",
    ),
    "avx2": InstructionSet(
        ("avx2", "fma"),
        "AVX2",
        "avx2",
        "AVX2",
        "AVX2",
        NUMPY_AVX512,
        "haswell",
    ),
    "sse4": InstructionSet(
        ("sse4.2",),
        "SSE41",
        "default",
        "SSE4_2",
        "AVX2",
        f"{NUMPY_AVX512} X86_V3",
        "nehalem",
    ),
}
"""By name; native is all that the processor has. A set equal to native (AVX-512 with bf16 but without AMX) is left out
by what it needs."""


def missing(name: str, features: dict[str, bool]) -> list[str]:
    """Return what a set needs and the processor lacks."""
    chosen = SETS[name]
    return (
        [] if chosen is None else [feature for feature in chosen.needs if not features.get(feature)]
    )


def run(name: str, arguments: list[str]) -> tuple[bool, str]:
    """Run the numeric tests under one set; return whether they passed, and pytest's last line."""
    chosen = SETS[name]
    environment = os.environ | (chosen.variables() if chosen else {})
    options = ["-q", "-p", "no:cacheprovider", "--hypothesis-profile=nightly"]
    command = [sys.executable, "-m", "pytest", *options, *(arguments or ROOMS)]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    lines = ran.stdout.strip().splitlines() or ["no output"]
    print("\n".join(line for line in lines if line.startswith(("FAILED", "ERROR"))), flush=True)
    return ran.returncode == 0, lines[-1]


def main() -> int:
    """Run the sets asked for, show a table, and return 1 where a test failed under one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "sets",
        nargs="*",
        choices=[*SETS, []],
        help="default: all that this processor has",
    )
    parser.add_argument(
        "--list", action="store_true", help="say which sets this processor has, and end"
    )
    parser.add_argument(
        "--pytest",
        default="",
        help="arguments for pytest in place of the numeric rooms and -n auto",
    )
    args = parser.parse_args()
    features = dict(get_host_cpu_features())
    print(f"processor: {get_host_cpu_name()}")
    results: dict[str, tuple[bool, str]] = {}
    for name in args.sets or SETS:
        if lacks := missing(name, features):
            results[name] = True, f"not here: the processor has no {', '.join(lacks)}"
        elif args.list:
            results[name] = True, "can be run here"
        else:
            print(f"── {name}", flush=True)
            began = time.monotonic()
            passed, said = run(
                name, args.pytest.split() or ["-n", "auto", "--maxprocesses", "4", *ROOMS]
            )
            results[name] = passed, f"{said} ({time.monotonic() - began:.0f} s)"
    for name, (passed, said) in results.items():
        print(f"{name:12} {'ok    ' if passed else 'FAILED'} {said}")
    return int(not all(passed for passed, _ in results.values()))


if __name__ == "__main__":
    raise SystemExit(main())
