"""Define the interface of every language model, so that callers need not know if it is n-gram or neural.

Shape legend, for this whole package: B streams scored in one batch, T positions, V vocabulary entries,
L layers, E embedding size, H hidden size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np

if TYPE_CHECKING:  # n-gram models do not need torch, and it takes seconds to import
    import torch

    from .ngram.engine import ShardEngine

INTERFACE = 1
"""Version of the protocol below. A bundle with a newer number is refused."""
JOURNAL = "metrics.jsonl"
"""File in the folder of a fit with its figures by step, one JSON object per line."""
STATIC = "static"
"""The word for a model that predicts from its weights or tables and the text so far. An adaptive one also changes these
weights while it reads, or looks words up in the text itself. Both give distributions of the next token. But their
figures cannot be compared, so they have different names and are in different rows."""


class ModelError(Exception):
    """The error of this package. `core/model_errors.py` turns it into the project's own errors.

    Args:
        what: The message: what went wrong.
        kind: Branch of the error tree: "fit", "diverged", "memory", "bundle", "disk" or "input".
    """

    def __init__(self, what: str, kind: str = "fit") -> None:
        super().__init__(what)
        self.kind = kind


@contextmanager
def stored(what: str, kind: str = "bundle") -> Iterator[None]:
    """Turn any exception raised while reading stored data into ModelError.

    Damaged data may raise any exception. Libraries written in Rust even panic, and a panic is not an `Exception`.
    Too little memory becomes an error of kind "memory".

    Args:
        what: Name of the data, the beginning of the message.
        kind: Kind of the error.
    """
    try:
        yield
    except ModelError:
        raise
    except MemoryError as error:
        raise ModelError(f"{what}: not enough memory" + (f"; {error}" if str(error) else ""), "memory") from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = (isinstance(error, OSError) and str(error)) or repr(error)
        raise ModelError(f"{what} cannot be read: {reason.partition(chr(10))[0][:300]}", kind) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@runtime_checkable
class State(Protocol):
    """The state of a model after reading B streams. Code outside `models` must not look inside."""

    def take(self, rows: Sequence[int]) -> Self:
        """Return the state of the chosen streams, in the given order; a row may be chosen more than once."""
        ...

    @classmethod
    def join(cls, states: Sequence[Self]) -> Self:
        """Return one state of all streams, one after another."""
        ...


@runtime_checkable
class LanguageModel(Protocol):
    """Model of log p(next token | all tokens before it in this stream), in nats.

    A stream is `<bos> <stars_k> w1 … wn <eos>`. `<bos>` and the star tokens are given, never predicted:
    every model gives them probability 0 (log −inf), and the probabilities of the other entries sum to 1.
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
            cut anywhere: scoring x[:, :a] and then x[:, a:] with the carried state gives the same numbers as scoring
            x at once. Entries for tokens that are never predicted (`<bos>`, stars) are 0.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write weights or tables (safetensors, .npy) into *folder*: data only, no pickles."""
        ...


def read_on(model: Any, ids_BT: np.ndarray, state: Any) -> Any:
    """Return the state after reading T tokens of each stream.

    A model may have a method `advance` that reads without scoring. Then the state does not depend on the batch nor on
    where the text is cut, to the bit; with `score` it does not but for rounding.
    """
    advance = getattr(model, "advance", None)
    return model.score(ids_BT, state)[1] if advance is None else advance(ids_BT, state)


def adaptation_of(model: Any) -> str:
    """Return "static", or the ways in which a model or any of its parts adapts, joined by " + ".

    An adaptive class names its way in the attribute `adaptation`. A model that combines others has them in `parts`.
    """
    return " + ".join(dict.fromkeys(_ways(model))) or STATIC


def _ways(model: Any) -> list[str]:
    own = getattr(model, "adaptation", "")
    inner = [way for part in getattr(model, "parts", ()) for way in _ways(part.model)]
    return [*inner, own] if own else inner


@dataclass(frozen=True)
class FitProgress:
    """A progress report of a fit: `step` and `total` in tokens (of scoring: in reviews), figures by name."""

    step: int
    total: int
    figures: Mapping[str, float] = field(default_factory=dict)


CHECKPOINTS, PAUSED = "checkpoints", "paused"
"""Folders in a fit's work folder: checkpoints of a training, and the state at which a paced training stopped."""


@dataclass(frozen=True)
class Pace:
    """Time limit of a neural fit with the schedule "trapezoid", which then stops before its decay.

    Args:
        seconds: Time from the first update to the end of the decay and of what follows.
        patience: Evaluations without improvement after which the decay begins before that.
        evaluations: Number of evaluations in that time, at most.
        after: Part of the time for what follows, as long as the training is as fast as expected.
        tokens_per_second: Expected speed; a slower training says that what follows is slower too. 0: none expected.
    """

    seconds: float
    patience: int = 6
    evaluations: int = 24
    after: float = 0.0
    tokens_per_second: float = 0.0


@dataclass(frozen=True)
class FitContext:
    """Where and how to fit a model.

    Only `parts`, `init_weights`, `vectors` and `lexicons` may change the result beyond rounding. Exception:
    with dropout, another number of ranks draws other dropout masks.

    Args:
        work: The stage's work folder. It survives a crash: checkpoints and `metrics.jsonl` are in it.
        device: "cpu" or "cuda", or one of several GPUs: "cuda:1".
        threads: Number of threads for matrix products.
        report: Function called from time to time with the progress, for terminal and tracking.
        parts: Bundles of the fitted models that this model combines, by name (`spec.parts`).
        engine: Executor of the shards of an n-gram fit; None for threads of this process.
        init_weights: Folder of the weights that a neural fit starts from (`training/neural/warm_start.py`); None
            for new random weights.
        rank: Number, from 0, of this process among the processes that train one network together.
        ranks: Number of these processes.
        init_method: Address of their process group; "env://" as torchrun sets it.
        pace: Time limit of a neural fit; None: the options alone say how long it is.
        vectors: Folder with a word vector for each entry (`vectors/stored_matrix.py`), for a model whose option
            `vectors` names some.
        lexicons: Weight of each entry of each lexicon (`classification/features/lexicons.py`), for a classifier whose
            option `lexicons` names some.
    """

    work: Path
    device: str = "cpu"
    threads: int = 1
    report: Callable[[FitProgress], None] = lambda progress: None
    parts: Mapping[str, Path] = field(default_factory=dict)
    engine: ShardEngine | None = None
    init_weights: Path | None = None
    rank: int = 0
    ranks: int = 1
    init_method: str = "env://"
    pace: Pace | None = None
    vectors: Path | None = None
    lexicons: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def journal(context: FitContext, tokens: int, figures: Mapping[str, float]) -> None:
    """Write the only progress line of a fit without updates, for terminal and tracking; a rerun replaces it."""
    context.work.mkdir(parents=True, exist_ok=True)
    (context.work / JOURNAL).write_text(json.dumps({"step": tokens, **figures}) + "\n", encoding="utf-8")
    context.report(FitProgress(tokens, tokens, figures))


@dataclass(frozen=True)
class FitResult:
    """A fitted model and a summary of the fit (numbers only: parameters, seconds, best perplexity …)."""

    model: LanguageModel
    summary: Mapping[str, float]
