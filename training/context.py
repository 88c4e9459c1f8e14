"""Define where and how a model is fitted, what a fit reports, and what it returns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from reviewlm.models.base import JOURNAL, LanguageModel

if TYPE_CHECKING:
    from reviewlm.training.ngram.engine import ShardEngine

Model = TypeVar("Model")
CHECKPOINTS = "checkpoints"
"""Folder in a fit's work folder for the checkpoints of a training."""
PAUSED = "paused"
"""Folder in a fit's work folder for the state at which a paced training stopped."""


@dataclass(frozen=True)
class FitProgress:
    """A progress report of a fit: `step` and `total` in tokens (of scoring: in reviews), figures by name."""

    step: int
    total: int
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """Time limit of a neural fit with the schedule "trapezoid", which then stops before its decay.

    Args:
        seconds: Time from the first update to the end of the decay and of what follows.
        patience: Evaluations without improvement after which the decay begins before that.
        evaluations: Number of evaluations in that time, at most.
        after: Part of the time for what follows, as long as the training is as fast as expected.
        tokens_per_second: Expected speed; a slower or faster training says the same of what follows. 0: none expected.
    """

    seconds: float
    patience: int = 6
    evaluations: int = 24
    after: float = 0.0
    tokens_per_second: float = 0.0


@dataclass(frozen=True)
class FitContext:
    """Where and how to fit a model.

    Only `parts`, `init_weights` and `vectors` may change the result beyond rounding. Exception:
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
        vectors: Folder with a word vector for each entry (`vectors/stored_rows.py`), for a model whose option
            `vectors` names some.
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


def journal(
    context: FitContext,
    tokens: int,
    figures: Mapping[str, float],
) -> None:
    """Write the only progress line of a fit without updates, for terminal and tracking; a rerun replaces it."""
    context.work.mkdir(parents=True, exist_ok=True)
    (context.work / JOURNAL).write_text(
        json.dumps({"step": tokens, **figures}) + "\n", encoding="utf-8"
    )
    context.report(FitProgress(tokens, tokens, figures))


class ModelFit(NamedTuple, Generic[Model]):
    """A fitted model and a summary of the fit (numbers only: parameters, seconds, best perplexity …)."""

    model: Model
    summary: dict[str, float]


FitResult = ModelFit[LanguageModel]
