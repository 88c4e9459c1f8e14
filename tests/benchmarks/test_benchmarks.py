"""Every benchmark can be imported and says what it takes."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import benchmarks

PEERS = {"gensim"}
"""Packages that are only installed where a benchmark is to be compared with them."""
MODULES = [module.name for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")]


@pytest.mark.slow
def test_every_benchmark_writes_its_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in MODULES:
        try:
            main = getattr(importlib.import_module(name), "main", None)
        except ModuleNotFoundError as error:
            if error.name in PEERS:
                continue
            raise
        if main and inspect.signature(main).parameters:
            with pytest.raises(SystemExit) as ended:
                main(["--help"])
            assert ended.value.code == 0, name
            assert "usage:" in capsys.readouterr().out, name
