"""The contract that every language model keeps, n-gram or neural, so that nobody who uses one asks which it is.

Shape legend, for this whole package: B streams scored side by side, T positions, V vocabulary entries,
L layers, E embedding size, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np

if TYPE_CHECKING:  # n-gram models do without, and it takes seconds to import
    import torch

    from .ngram.engine import Engine

INTERFACE = 1
"""Bumped when the protocol below changes; a bundle with a newer number is refused."""


class ModelError(Exception):
    """Something that this package cannot do; `tasks/stage.py` turns it into the project's own errors.

    Args:
        what: What went wrong.
        kind: "fit", "diverged", "memory", "bundle", "disk" or "input": which branch of the error tree it belongs to.
    """

    def __init__(self, what: str, kind: str = "fit") -> None:
        super().__init__(what)
        self.kind = kind


@contextmanager
def stored(what: str, kind: str = "bundle") -> Iterator[None]:
    """Turn whatever the reading of stored data ends in into ModelError: at damaged data that may be any exception.

    Libraries written in Rust even panic, which is no `Exception`. Memory that does not suffice keeps its own kind.

    Args:
        what: What is read, to begin the message with.
        kind: Of the error.
    """
    try:
        yield
    except ModelError:
        raise
    except MemoryError as error:
        raise ModelError(f"{what}: memory does not suffice; {error}", "memory") from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        said = (str(error) if isinstance(error, OSError) else repr(error)).partition("\n")[0][:300]
        raise ModelError(f"{what} cannot be read: {said}", kind) from error


@runtime_checkable
class State(Protocol):
    """What a model remembers of B streams. Opaque outside `models`."""

    def take(self, rows: Sequence[int]) -> Self:
        """Return the state of the chosen streams, in the order given; a row may be taken more than once."""
        ...

    @classmethod
    def join(cls, states: Sequence[Self]) -> Self:
        """Return one state of all streams, one after another."""
        ...


@runtime_checkable
class LanguageModel(Protocol):
    """log p(next token | everything before it in this stream), in nats.

    A stream is `<bos> <stars_k> w1 … wn <eos>`. `<bos>` and the star tokens are given, never predicted:
    every model gives them probability 0 (log −inf), and the other entries sum to 1.
    """

    vocabulary_size: int

    def start(self, batch: int) -> Any:
        """Return the state of *batch* streams before their first token."""
        ...

    def step(self, ids_B: np.ndarray, state: Any) -> tuple[torch.Tensor, Any]:
        """Read one token of each stream.

        Returns:
            logp_BV (float32, on the model's device): the distribution of the next token, and the new state.
        """
        ...

    def score(self, ids_BT: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """Read T tokens of each stream.

        Returns:
            nats_BT (float64): −log p(ids[b, t] | state, ids[b, :t]), and the state after all T tokens. Chunks may be
            cut anywhere: scoring x[:, :a] and then x[:, a:] with the carried state gives the numbers of x in one go.
            Entries for tokens that are never predicted (`<bos>`, stars) are 0.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write weights or tables (safetensors, .npy) into *folder*; data only, nothing pickled."""
        ...


@dataclass(frozen=True)
class Progress:
    """One line of news from a fit: `step` and `total` in tokens, figures by name."""

    step: int
    total: int
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FitContext:
    """Where and how a model is fitted; nothing in here but `parts` and `start` may change the result beyond rounding.

    With dropout, another number of ranks is another draw of it.

    Args:
        work: The stage's work folder. It survives a crash: restart points and `metrics.jsonl` live here.
        device: "cpu" or "cuda", or one of several: "cuda:1".
        threads: Threads for matrix products.
        report: Called now and then with the progress, for terminal and tracking.
        parts: The bundles of the fitted models that this one is made of, by name (`spec.parts`).
        engine: Does the shards of an n-gram fit; None for threads of this process.
        start: Folder of the weights that a neural fit starts from (`models/neural/training/warm_start.py`); None for
            fresh ones.
        rank: Number, from 0, of this process among those that train one network together.
        ranks: How many these are.
        meeting: Where they find each other: the address of a process group; "env://" as torchrun has it.
    """

    work: Path
    device: str = "cpu"
    threads: int = 1
    report: Callable[[Progress], None] = lambda progress: None
    parts: Mapping[str, Path] = field(default_factory=dict)
    engine: Engine | None = None
    start: Path | None = None
    rank: int = 0
    ranks: int = 1
    meeting: str = "env://"


@dataclass(frozen=True)
class FitResult:
    """A fitted model and what there is to say of the fit (numbers only: parameters, seconds, best perplexity …)."""

    model: LanguageModel
    summary: Mapping[str, float]
