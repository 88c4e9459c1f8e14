"""Compare the optimisers of `optimizers.py` on the same model, data and token budget, each at several learning rates.

Every trial is a whole fit by the trainer, from the same initial weights, over the same windows in the same order.
Trials differ in the optimiser and its rate. Two optimisers need more: "gd" takes one step per epoch, from all windows
at once, and "nt_asgd" keeps its rate constant. Weight decay is 0 in all trials, because a decoupled decay grows with
the rate, and the rates differ by a factor of a thousand. All other options are the model's own, except constants that
the trial's optimiser does not have: these are at their defaults.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from ...base import FitContext, ModelError
from ...options import as_written, without_inapplicable
from ...specs import TrainingSpec, model_class
from ..lm import NeuralSpec
from ..training.checkpoint import JOURNAL
from ..training.spec import Optimizer
from .rate_finder import find_rate

if TYPE_CHECKING:
    from ...streams import TokenStream
    from ...tokens.vocabulary import Vocabulary

ALL: tuple[Optimizer, ...] = get_args(Optimizer)
PLAIN, GATHERED, ADAPTIVE = (4.0, 16.0, 64.0), (0.4, 1.6, 6.4), (0.01, 0.03, 0.1)
GRID: Mapping[str, tuple[float, ...]] = {
    "gd": PLAIN, "sgd": PLAIN, "nt_asgd": PLAIN, "momentum": GATHERED, "nesterov": GATHERED,
    "adagrad": (0.1, 0.3, 1.0), "adadelta": (16.0, 64.0, 256.0), "rmsprop": ADAPTIVE, "adam": ADAPTIVE,
    "adam_simplified": ADAPTIVE, "adamw": ADAPTIVE,
}  # fmt: skip
"""Rates to try when the caller gives none."""
EVALUATIONS = 12
SAME: Mapping[str, Any] = {"weight_decay": 0.0, "evaluations": EVALUATIONS, "start": "fresh"}
"""Training options that are the same in all trials and replace the model's own; optimiser, rate and epochs vary."""
OWN: Mapping[str, tuple[str, ...]] = {
    "gd": ("batch", "micro_batch", "stateful", "random_window"), "nt_asgd": ("schedule", "ema"),
}  # fmt: skip
"""Options that an optimiser fixes itself, so that the model's own values have no effect in its trials."""
LOST = ("diverged", "memory")
"""Kinds of errors after which the other trials go on."""
TOGETHER = 256
"""Windows of the full batch whose activations are in memory at a time."""
HELD_OUT_TOKENS = 20_000
"""Held-out tokens that every evaluation scores, approximately."""


@dataclass(frozen=True)
class OptimizerTrial:
    """The result of one fit.

    Args:
        optimizer: Its name.
        rate: Peak learning rate; NaN where the range test found none.
        tokens: Tokens seen at each evaluation.
        nats: On validation, per token, at each evaluation.
        updates: Steps taken.
        seconds: Spent on updates.
        divergences: Times that the fit went back to a good state with half the rate.
        parameters: Of the model.
        diverged: The fit was given up; only the points before that are known.
        failure: Why there is no result, if the fit or its range test ended by something else than divergence.
    """

    optimizer: str
    rate: float
    tokens: tuple[int, ...]
    nats: tuple[float, ...]
    updates: int = 0
    seconds: float = 0.0
    divergences: int = 0
    parameters: int = 0
    diverged: bool = False
    failure: str = ""

    @property
    def final(self) -> float:
        """Validation nats per token at the end; infinite if the fit diverged or failed."""
        return math.inf if self.diverged or self.failure or not self.nats else self.nats[-1]

    @property
    def outcome(self) -> str:
        """The final nats, or "failed" or "diverged"."""
        return "failed" if self.failure else f"{self.final:.3f}" if math.isfinite(self.final) else "diverged"


@dataclass(frozen=True)
class OptimizerComparison:
    """The results of all trials.

    Args:
        trials: In the order in which they were run.
        train_tokens: In one epoch.
        validation_tokens: Scored at every evaluation.
        epochs: Of each trial.
    """

    trials: tuple[OptimizerTrial, ...]
    train_tokens: int
    validation_tokens: int
    epochs: float

    @property
    def best(self) -> tuple[OptimizerTrial, ...]:
        """The trial of each optimiser with the lowest final nats, best optimiser first."""
        names = dict.fromkeys(trial.optimizer for trial in self.trials)
        own = [min((t for t in self.trials if t.optimizer == name), key=lambda t: t.final) for name in names]
        return tuple(sorted(own, key=lambda trial: trial.final))


def first_reviews(stream: TokenStream, tokens: int) -> TokenStream:
    """Return a stream of the first reviews that have about *tokens* tokens to predict; at least one review."""
    scored_D = np.asarray(stream.offsets[1:]) - 2 * np.arange(1, len(stream) + 1)
    reviews = min(len(stream), max(1, int(np.searchsorted(scored_D, tokens, "right"))))
    if reviews == len(stream):
        return stream
    end = int(stream.offsets[reviews])
    header = {**stream.facts, "tokens": int(scored_D[reviews - 1]), "ids": end, "documents": reviews}
    return type(stream)(stream.folder, header, stream.ids[:end], stream.offsets[: reviews + 1])


def trial_spec(spec: NeuralSpec, optimizer: Optimizer, rate: float, epochs: float, stream: TokenStream) -> NeuralSpec:
    """Return the options of one trial; the module docstring says which are the same in all trials."""
    own: dict[str, Any] = {}
    if optimizer == "gd":
        windows = max(1, -(-(len(stream.ids) - 1) // spec.training.bptt_len))
        own = {"batch": windows, "micro_batch": min(TOGETHER, windows), "stateful": True, "random_window": False}
    if optimizer == "nt_asgd":
        own = {"schedule": "constant", "ema": 0.0}  # NT-ASGD has its own average
    same = {**SAME, "epochs": epochs}
    with as_written():
        training = replace(spec.training, optimizer=optimizer, learning_rate=rate, **{**same, **own})
        changed = replace(spec, training=training)
    return cast(NeuralSpec, without_inapplicable(changed))


def compare(
    spec: NeuralSpec,
    vocabulary: Vocabulary,
    train: TokenStream,
    validation: TokenStream,
    context: FitContext,
    epochs: float,
    rates: Mapping[Optimizer, Sequence[float] | None],
    tell: Callable[[OptimizerComparison], Any] = lambda found: None,
) -> OptimizerComparison:
    """Fit one model with every optimiser at every rate.

    A trial that diverges, runs out of memory or whose range test finds no rate is a result; the others go on.

    Args:
        spec: The model; its `training` gives batch, window, schedule, clipping, number format and seed.
        train: Training reviews. Every epoch reads all of them, so use `first_reviews` for a large stream.
        validation: Held-out reviews.
        context: Work folder (each trial's files are deleted after it), device, threads, listener.
        epochs: Of every trial.
        rates: By optimiser; None: the range test chooses one.
        tell: Called after every trial with all results so far.

    Raises:
        ModelError: "input" for an unknown optimiser, an empty stream or another vocabulary's; the error of the last
            trial if all of them failed.
    """
    if unknown := [name for name in rates if name not in ALL]:
        raise ModelError(f"there is no optimiser named {unknown[0]!r}; there are {', '.join(ALL)}", "input")
    if train.tokens == 0:
        raise ModelError("the training stream has no token to predict", "input")
    held_out = first_reviews(validation, HELD_OUT_TOKENS)
    found = OptimizerComparison((), train.tokens, held_out.tokens, epochs)
    last: ModelError | None = None
    for optimizer, wanted in rates.items():
        for named in wanted or (None,):
            rate, lost = (math.nan, (*LOST, "input")) if named is None else (named, LOST)  # "input": no rate found
            try:
                if named is None:
                    rate, lost = _found_rate(spec, optimizer, train, context), LOST
                chosen = trial_spec(spec, optimizer, rate, epochs, train)
                trial = _fit(chosen, vocabulary, train, held_out, context)
            except ModelError as error:
                if error.kind not in lost:
                    raise
                last, trial = error, OptimizerTrial(optimizer, rate, (), (), failure=str(error))
            found = replace(found, trials=(*found.trials, trial))
            tell(found)
    if last and all(trial.failure for trial in found.trials):
        raise last
    return found


def _found_rate(spec: NeuralSpec, optimizer: Optimizer, train: TokenStream, context: FitContext) -> float:
    """Return the rate that the range test suggests; for "gd" that of SGD, whose sweep takes fewer epochs."""
    rule: Optimizer = "sgd" if optimizer == "gd" else optimizer
    chosen = trial_spec(spec, rule, spec.training.learning_rate, 1.0, train)
    return find_rate(
        chosen, train, device=context.device, threads=context.threads, vectors=context.vectors
    ).suggestion  # fmt: skip


def _fit(
    spec: NeuralSpec, vocabulary: Vocabulary, train: TokenStream, validation: TokenStream, context: FitContext
) -> OptimizerTrial:
    training: TrainingSpec = spec.training
    work = context.work / f"{training.optimizer}-{training.learning_rate:g}"
    work.mkdir(parents=True)
    summary: Mapping[str, float] = {}
    try:
        try:
            fit = model_class(spec.kind).fit
            summary = fit(spec, vocabulary, train, validation, replace(context, work=work)).summary
        except ModelError as error:
            if error.kind != "diverged":
                raise
        lines = [json.loads(line) for line in (work / JOURNAL).read_text(encoding="utf-8").splitlines()]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    points = [(line["step"], line["validation/nats"]) for line in lines if "validation/nats" in line]
    counted: dict[str, Any] = {name: int(summary.get(name, 0)) for name in ("updates", "divergences", "parameters")}
    return OptimizerTrial(
        training.optimizer, training.learning_rate, tuple(step for step, _ in points),
        tuple(nats for _, nats in points), seconds=float(summary.get("seconds", 0.0)), diverged=not summary, **counted,
    )  # fmt: skip
