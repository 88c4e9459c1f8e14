"""Fill the user's cache before the first command: `python -m reviewlm.fill_cache`.

`make install` does it. Without it, as after the installation of a wheel, the first commands compile the numeric kernels
that they need, and say so, and make the empty databases of Prefect and MLflow: together some 45 processor seconds of
the demo. What the cache has already is kept (`models/compiled.py`, `core/empty_databases.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import reviewlm
from reviewlm.core.environment import HOME_VARIABLE, prepare_environment
from reviewlm.models.compiled import compile_calls
from reviewlm.terminal import log_to_stderr

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


def compile_kernels() -> int:
    """Compile the kernels of all modules; return how many were not compiled before."""
    new = 0
    for name in sorted(modules_with_kernels()):  # `training`, which imports torch, comes last
        import_module(name)
        new = compile_calls()

    return new


def make_databases() -> None:
    """Make the tables of an empty home, of which the cache keeps copies."""
    from reviewlm.flows.server.private_server import private_server
    from reviewlm.tracking.client import open_client

    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # the server ends after it
        home = Path(folder) / "home"
        os.environ[HOME_VARIABLE] = str(home)
        prepare_environment(home)
        with private_server() as wait:
            wait()
            open_client(f"sqlite:///{home / 'mlflow.db'}")


def main() -> None:
    """Compile the kernels, and make the databases."""
    log_to_stderr(())  # Prefect's console would show what only developers read
    print(f"{compile_kernels()} numeric kernels are compiled now")
    make_databases()


if __name__ == "__main__":
    main()
