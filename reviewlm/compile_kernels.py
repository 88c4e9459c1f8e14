"""Compile the numeric kernels of the package in advance: `python -m reviewlm.compile_kernels`.

`make install` does it. Without it, as after the installation of a wheel, a command compiles what it needs, says so, and
takes some seconds longer. What is compiled already is kept (`models/compiled.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import reviewlm
from reviewlm.models.compiled import compile_calls

HAS_KERNELS = re.compile(r"^from \S*\bcompiled import .*\bkernel\b", re.MULTILINE)
"""Import by which a module has kernels."""


def modules_with_kernels() -> Iterator[str]:
    """Yield the name of each module of the package that defines kernels, without importing it."""
    root = Path(reviewlm.__file__).parent
    for folder, _, names in os.walk(root, followlinks=True):  # in a checkout, rooms are links
        for name in names:
            file = Path(folder) / name
            if file.suffix == ".py" and HAS_KERNELS.search(file.read_text(encoding="utf-8")):
                module = file.relative_to(root).with_suffix("").parts
                yield ".".join((reviewlm.__name__, *module))


def main() -> None:
    """Compile the kernels, and say how many were new."""
    new = 0
    for name in sorted(modules_with_kernels()):  # `training`, which imports torch, comes last
        import_module(name)
        new = compile_calls()

    print(f"{new} numeric kernels are compiled now")


if __name__ == "__main__":
    main()
