"""ReviewLM: a data pipeline for review language models, from the command line or from Python.

import reviewlm

lm = reviewlm.load("champion")
lm.generate(n=2, stars=5)
lm.suggest("the food was")
lm.score("great tacos").open_bits_per_byte

reviewlm.ngram.fit(["the soup was cold", "the pizza was great"], order=3)    # no pipeline, no registry
"""

from __future__ import annotations

TYPE_CHECKING = False  # a command watches for Ctrl-C after this import, which is to be quick
if TYPE_CHECKING:
    from typing import Any

    from reviewlm import ngram
    from reviewlm.loaded_model import LoadedModel
    from reviewlm.loading import load

__all__ = ["LoadedModel", "__version__", "load", "ngram"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the Python interface when it is first used: the command line starts without it."""
    if name == "LoadedModel":
        from reviewlm.loaded_model import LoadedModel

        return LoadedModel
    if name == "load":
        from reviewlm.loading import load

        return load
    if name == "ngram":
        from importlib import import_module

        return import_module("reviewlm.ngram")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
