"""Define the interface of every language model, so that callers need not know if it is n-gram or neural.

Shape legend, for this whole package: B streams scored in one batch, T positions, V vocabulary entries,
L layers, E embedding size, H hidden size; here also N requested positions, M rows.

`predictions` gives the whole distribution before each token of some texts (`score` one token's probability only). A
model that can predict several positions at a time has a method `predictions` (`in_bulk`). Any other model is stepped
token by token. Both ways are exact and give the same numbers up to rounding. A text that has ended leaves the batch,
because a step costs the same for it as for a text that continues.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, cast, runtime_checkable

if TYPE_CHECKING:  # commands that open no model start without numpy
    import numpy as np
    import torch


INTERFACE = 1
"""Version of the protocol below. A bundle with a newer number is refused."""
JOURNAL = "metrics.jsonl"
"""File in the folder of a fit with its figures by step, one JSON object per line."""
VOCABULARY_FILE = "vocabulary.json"
"""File of a bundle with its vocabulary."""
STATIC = "static"
"""The word for a model that predicts from its weights or tables and the text so far. An adaptive one also changes these
weights while it reads, or looks words up in the text itself. Both give distributions of the next token. But their
figures cannot be compared, so they have different names and are in different rows."""
ENTRIES = 1 << 20
"""Approximate number of entries per yielded array: 4 MiB, which fits a processor's cache. Bounds memory."""


SAID_BY_ALLOCATORS = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "memory allocation of",
    "std::bad_alloc",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "failed to map segment",  # the loader of libraries
)
"""Words of the libraries' messages about a failed allocation."""
ALLOCATION_FAILURES = ("PanicException", "OutOfMemoryError")
"""Exception types of Rust libraries and of torch, by name, so that none of these libraries is imported."""


def journal_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal, [] if there is none, without invalid ones, such as a half-written last line."""
    lines = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with suppress(ValueError):
            lines.append(json.loads(line))
    return [line for line in lines if isinstance(line, dict) and "step" in line]


class ModelError(Exception):
    """The error of this package. `core/errors.py` turns it into the project's own errors.

    Args:
        what: The message: what went wrong.
        kind: Branch of the error tree: "fit", "diverged", "memory", "bundle", "disk" or "input".
    """

    def __init__(self, what: str, kind: str = "fit") -> None:
        super().__init__(what)
        self.kind = kind


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception reports a failed allocation: of Python, numpy, torch or a Rust library."""
    if isinstance(error, MemoryError):
        return True

    fits = isinstance(error, RuntimeError | OSError | ImportError)
    named = type(error).__name__ in ALLOCATION_FAILURES
    return (fits or named) and says_out_of_memory(str(error))


def says_out_of_memory(text: str) -> bool:
    """Return whether a message of a library or a process reports a failed allocation."""
    return any(words in text for words in SAID_BY_ALLOCATORS)


@contextmanager
def translate_read_errors(what: str, kind: str = "bundle") -> Iterator[None]:
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
    except BaseException as error:
        if is_out_of_memory(error):
            raise ModelError(
                f"{what}: not enough memory" + (f"; {error}" if str(error) else ""), "memory"
            ) from error

        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = (isinstance(error, OSError) and str(error)) or repr(error)
        raise ModelError(
            f"{what} cannot be read: {reason.partition(chr(10))[0][:300]}", kind
        ) from error


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


def read_on(
    model: Any,
    ids_BT: np.ndarray,
    state: Any,
) -> Any:
    """Return the state after reading T tokens of each stream.

    A model may have a method `advance` that reads without scoring. Then the state does not depend on the batch nor on
    where the text is cut, to the bit; with `score` it does not but for rounding.
    """
    advance = getattr(model, "advance", None)
    if advance is None:
        return model.score(ids_BT, state)[1]
    return advance(ids_BT, state)


def score_copies(
    model: Any,
    ids_BT: np.ndarray,
    copies: int,
    state: Any,
) -> tuple[np.ndarray, Any]:
    """Score the T tokens of each text in several streams of it, such as one for each rating that it may have.

    A model may have a method `score_copies` that computes once what all streams of a text share. With it, the numbers
    differ from those of `score` by rounding.

    Args:
        model: The model.
        ids_BT: The tokens of each text.
        copies: Number of streams of a text.
        state: Of the streams: the copies of the first text, then of the next.

    Returns:
        As `LanguageModel.score`, for all streams.
    """
    shared = getattr(model, "score_copies", None)
    if shared is not None:
        return shared(ids_BT, copies, state)  # type: ignore[no-any-return]

    import numpy as np

    return model.score(np.repeat(ids_BT, copies, axis=0), state)  # type: ignore[no-any-return]


def distributions(
    model: Any,
    ids_BT: np.ndarray,
    state: Any,
) -> tuple[torch.Tensor, Any]:
    """Read T tokens of each stream, T at least 1; return log p of the token after each (B, T, V), and the state.

    A model may have a method `distributions` that computes many positions at a time, the same to the bit as its steps.
    """
    many = getattr(model, "distributions", None)
    if many is not None:
        return many(ids_BT, state)  # type: ignore[no-any-return]

    import torch

    found = []
    for ids_B in ids_BT.T:
        logp_BV, state = model.step(ids_B, state)
        found.append(logp_BV)
    return torch.stack(found, 1), state


def adaptation_of(model: Any) -> str:
    """Return "static", or the ways in which a model or any of its parts adapts, joined by " + ".

    An adaptive class names its way in the attribute `adaptation`. A model that combines others has them in `parts`.
    """
    return " + ".join(dict.fromkeys(_ways(model))) or STATIC


def _ways(model: Any) -> list[str]:
    adaptation = getattr(model, "adaptation", "")
    inner = [way for part in getattr(model, "parts", ()) for way in _ways(part.model)]
    return [*inner, adaptation] if adaptation else inner


class Predictions(NamedTuple):
    """The distributions at N positions.

    Args:
        text_N: Row of the text in the ids.
        position_N: Position in this text.
        logp_NV: log p of every entry before that position was read, in nats (float32); −inf for given ids.
    """

    text_N: np.ndarray
    position_N: np.ndarray
    logp_NV: np.ndarray


def gives_probabilities(model: LanguageModel) -> bool:
    """Return whether a model's `step` gives log-probabilities; scores of stupid back-off do not sum to 1."""
    return getattr(model, "normalised", True)


def in_bulk(model: LanguageModel) -> bool:
    """Return whether a model has a method `predictions`, as the function below; a mixture's works if its parts can."""
    return hasattr(model, "predictions") and getattr(model, "in_bulk", True)


def predictions(
    model: LanguageModel,
    ids_BT: np.ndarray,
    wanted_BT: np.ndarray,
) -> Iterator[Predictions]:
    """Yield the distributions at the requested positions, each once, in any order.

    Args:
        model: The model; it reads every text from its start state.
        ids_BT: Whole texts from their first token on, padded at their ends.
        wanted_BT: The requested positions (bool). Tokens after the last requested one of a text are not read.

    Raises:
        ModelError: kind "input": the shapes differ, or a first position is requested (no token is before it).
    """
    import numpy as np

    ids_BT = np.asarray(ids_BT, np.int64)
    wanted_BT = np.asarray(wanted_BT, bool)
    if ids_BT.shape != wanted_BT.shape or ids_BT.ndim != 2:
        raise ModelError(
            f"ids of shape {ids_BT.shape}, and {wanted_BT.shape} says which are wanted", "input"
        )
    if wanted_BT[:, :1].any():
        raise ModelError(
            "the first token of a text is given: nothing has been read that could predict it",
            "input",
        )
    if not wanted_BT.any():
        return iter(())
    if in_bulk(model):
        return cast(Any, model).predictions(ids_BT, wanted_BT)  # type: ignore[no-any-return]

    return _step_by_step(model, ids_BT, wanted_BT)


def _step_by_step(
    model: LanguageModel,
    ids_BT: np.ndarray,
    wanted_BT: np.ndarray,
) -> Iterator[Predictions]:
    import numpy as np

    from_end_B = np.argmax(wanted_BT[:, ::-1], axis=1)
    last_B = np.where(wanted_BT.any(1), wanted_BT.shape[1] - 1 - from_end_B, 0)
    # Longest first, so that the texts that continue are always the first rows of the state.
    order_B = np.argsort(-last_B, kind="stable")
    order_B = order_B[last_B[order_B] > 0]
    state: Any = model.start(len(order_B))
    for t in range(1, int(last_B.max()) + 1):
        going = int((last_B[order_B] >= t).sum())
        if going < len(order_B):
            order_B = order_B[:going]
            state = state.take(range(going))
        logp_BV, state = model.step(ids_BT[order_B, t - 1], state)
        asked_N = np.flatnonzero(wanted_BT[order_B, t])
        if len(asked_N):
            logp_NV = logp_BV.float().cpu().numpy()
            yield Predictions(order_B[asked_N], np.full(len(asked_N), t), logp_NV[asked_N])


def perplexity(nats: float) -> float:
    """Return exp(nats), limited to exp(700) so that the number stays finite."""
    return math.exp(min(nats, 700.0))
