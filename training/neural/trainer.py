"""Train a neural model: truncated BPTT, keeping the best state on held-out reviews.

`train` sets a training up, `make_updates` runs it. One update is in `step.py`; everything around the updates
(journal, checkpoints, back-off after a divergence and so on) is a callback in `callbacks/`.

All randomness is either torch's random stream, whose state is in each checkpoint, or derived from (seed, epoch,
window). Everything else is a function of the number of updates. Therefore a fit that was killed at any moment and
started again with the same work folder gives the same weights, bit for bit, and the same journal. That holds on the
CPU, within one class of determinism (`determinism_class`); on a GPU the weights are the same to rounding.

Each measurement on validation decides: keep the best weights, lower the rate on a plateau, begin to average.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from models.base import ModelError, perplexity
from models.neural.device import free_cached_memory
from models.neural.network import Network, fill_network, network_tensors
from models.neural.spec import TrainingSpec
from models.options import stored
from training.context import CHECKPOINTS, PAUSED, FitContext
from training.neural.batches import Plan, count_updates
from training.neural.callbacks.callback import Callback, ValidationResult
from training.neural.callbacks.checkpointing import BackOff, Checkpointing
from training.neural.callbacks.pacing import Pacing, Paused, shortened
from training.neural.callbacks.reporting import Curves, ProgressReport
from training.neural.checkpoint import Checkpoints, Journal
from training.neural.data_parallel import joined
from training.neural.optimizers import PLATEAU_FACTOR, decay_start
from training.neural.state import TrainingState
from training.neural.step import Divergence, TrainingStep
from training.neural.validation import validation_limit, validation_nats

if TYPE_CHECKING:
    from models.streams import TokenStream


log = logging.getLogger(__name__)


class BestWeights(Callback):
    """Keep the best weights (averaged ones if there is an average), and leave them in the network at the end."""

    def on_validation(self, measured: ValidationResult) -> None:
        """Keep the weights if they are the best so far."""
        if measured.improved:
            with self.state.averaged():
                self.state.best = network_tensors(self.state.network)
            metrics = self.state.metrics
            metrics.best_nats, metrics.best_tokens = measured.nats, metrics.tokens

    def on_end(self) -> None:
        """Put the best weights into the network, which is in evaluation mode from here on."""
        fill_network(self.state.network, self.state.best)
        self.state.network.eval()


class Plateau(Callback):
    """Lower the learning rate of the schedule "plateau" after an evaluation without improvement."""

    def on_validation(self, measured: ValidationResult) -> None:
        """Multiply the rate by `PLATEAU_FACTOR` unless the evaluation is the best so far."""
        if self.state.training.schedule == "plateau" and not measured.improved:
            self.state.metrics.plateau *= PLATEAU_FACTOR


class StartAveraging(Callback):
    """Start the average of "nt_asgd" when validation no longer improves; see `NonMonotonicTrigger`."""

    def on_validation(self, measured: ValidationResult) -> None:
        """Show the measurement to the trigger."""
        if self.state.trigger is not None and self.state.trigger.observe(measured.nats):
            log.info("the validation loss no longer improves: averaging the weights from here on")


FINAL_TOKENS = 2_000_000
"""Held-out tokens for the final figure, at most."""
HOPELESS = 1.0
"""Nats above uniform guessing at which the best validation loss, with a running loss no better, counts as diverged."""


def train(
    network: Network, train_stream: TokenStream, validation_stream: TokenStream, training: TrainingSpec,
    context: FitContext,
) -> Mapping[str, float]:  # fmt: skip
    """Train a network in place; afterwards it is in evaluation mode and holds the best weights on validation.

    Resumes from the checkpoints in `context.work` if there are any of this same training.

    Args:
        network: With its initial weights, on `context.device`.
        validation_stream: Held-out reviews; a part of them, evenly spaced, is scored at each evaluation.
        context: Work folder (journal, checkpoints), device, listener, this process's rank and the number of ranks. With
            a `pace`, the training stops before its decay; see `callbacks/pacing.py`.

    Returns:
        Numbers: updates, tokens, seconds and cpu_seconds (spent on updates), tokens_per_second, best_validation_nats
        (per token, on the part that is scored at each evaluation), best_validation_perplexity, best_tokens (seen when
        it was measured), validation_nats and validation_perplexity (of the best weights, on all reviews), train_nats
        (train_estimator_loss if the training loss is an estimator's), clipped_share, value_clipped_share, divergences,
        quantiles of the updates' times and peak memory (`TrainingMetrics.machine_figures`),
        micro_batch (streams read at a time at the end), threads (bit-equality
        depends on it) and class_changes (times that it resumed under another class of determinism).

    Raises:
        ModelError: kind "diverged": not finite, or worse than guessing, even at an eighth of the rate;
            kind "input": nothing to train on, or fewer rows in a batch than ranks; kind "peer": another rank is gone.
        RuntimeError: torch's, if the memory does not suffice for a single stream.
    """
    if train_stream.tokens == 0 or validation_stream.tokens == 0:
        raise ModelError("the training or the validation stream has no token to predict", "input")
    devices = [network.output.weight.device] if network.output.weight.is_cuda else []
    for device in devices:
        free_cached_memory()
        torch.cuda.reset_peak_memory_stats(device)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with torch.random.fork_rng(devices=devices), joined(context, trained, training.batch) as ranks:
        plan = Plan(train_stream, training, ahead=bool(devices))
        state = TrainingState(network.train(), training, plan.updates, ranks)
        journal = Journal(context.work)
        curves = Curves(state, journal)
        identity = state.identity(train_stream, validation_stream)
        checkpointing = Checkpointing(state, Checkpoints(context.work / CHECKPOINTS), journal, identity)
        callbacks = _callbacks(state, plan, curves, checkpointing, context)
        torch.manual_seed(ranks.seed(training.seed))
        with checkpointing.writer:
            try:
                limit = validation_limit(0 if context.pace else plan.total_tokens, training.evaluations)
                step = TrainingStep(state, curves.write)
                make_updates(plan, state, step, callbacks, lambda: _evaluate(state, validation_stream, limit))
            except Paused as paused:
                return _pause(paused, plan, checkpointing, context.work / PAUSED)
        if devices:
            network.zero_grad(set_to_none=True)
            free_cached_memory()  # that of the updates
        nats, tokens = validation_nats(network, validation_stream, FINAL_TOKENS, ranks=ranks)
        held_out = {"validation_nats": nats, "validation_perplexity": perplexity(nats), "validation_tokens": tokens}
        figures = {**state.metrics.summary(state.reports_nats), **curves.machine_figures()}
        return {**figures, **held_out, "threads": torch.get_num_threads()}


def _callbacks(
    state: TrainingState, plan: Plan, curves: Curves, checkpointing: Checkpointing, context: FitContext
) -> Sequence[Callback]:
    """Return the callbacks in the order in which they act: first those that change the state, then those that tell."""
    pacing = Pacing(state, plan, context.pace) if context.pace else None
    return (
        BestWeights(state),
        Plateau(state),
        StartAveraging(state),
        curves,
        checkpointing,
        BackOff(state, checkpointing),
        *([pacing] if pacing else []),
        ProgressReport(state, plan.total_tokens, context.report, pacing),
    )


def _pause(
    paused: Paused, plan: Plan, checkpointing: Checkpointing, folder: Path
) -> dict[str, float]:
    """Save a paced training as the start of the shorter one; return its figures and the options that have changed."""
    state = checkpointing.state
    training = shortened(state.training, plan, state.metrics.updates)
    if state.ranks.leads:
        shutil.rmtree(folder, ignore_errors=True)
    identity = checkpointing.identity | {"training": stored(training)}
    paused_there = Checkpointing(state, Checkpoints(folder), checkpointing.journal, identity)
    with paused_there.writer:
        paused_there.save(good=True)
    return {
        **state.metrics.summary(state.reports_nats), "step_seconds": state.metrics.step_seconds(0.5),
        "epochs": training.epochs, "warmup": training.warmup,
        "all_updates": count_updates(plan.batches.windows(math.ceil(training.epochs)), training.epochs),
        **{f"stopped_by_{why}": float(paused.why == why) for why in ("time", "validation", "end")},
    }  # fmt: skip


class Updates(Protocol):
    """The updates of a training: windows of a language model's (`Plan`), or batches of whole sequences."""

    updates: int
    evaluations: set[int]

    def rest_of_epoch(self, done: int) -> Iterator[tuple[Any, Any]]:
        """Yield what each update after *done* reads, to the end of the epoch: with `index`, and a mask of resets."""
        ...


def make_updates(
    plan: Updates, state: TrainingState, step: Callable[[Any, Any], None], callbacks: Sequence[Callback],
    evaluate: Callable[[], ValidationResult],
) -> None:  # fmt: skip
    """Train from the first window, or from the checkpoint that a callback loads, to the last one."""
    for callback in callbacks:
        callback.on_start()
    while state.metrics.updates < plan.updates:
        try:
            for window, keep_B in plan.rest_of_epoch(state.metrics.updates):
                if window.index == 0:
                    state.forget()
                started, cpu_started = time.perf_counter(), time.process_time()
                step(window, keep_B)
                state.metrics.clock(time.perf_counter() - started, time.process_time() - cpu_started)
                state.metrics.updates += 1
                for callback in callbacks:
                    callback.on_update(window)
                if state.metrics.updates in plan.evaluations:
                    measured = evaluate()
                    for callback in callbacks:
                        callback.on_validation(measured)
                for callback in callbacks:
                    callback.on_window_end()
        except Divergence as error:
            for callback in callbacks:
                callback.on_divergence(error)
    for callback in callbacks:
        callback.on_end()


def _evaluate(state: TrainingState, held_out: TokenStream, limit: int) -> ValidationResult:
    """Measure on validation, with the averaged weights if there is an average.

    Raises:
        Divergence: The loss is not finite, or far above guessing without over-fitting.
    """
    state.settle()
    metrics, output, training = state.metrics, state.network.output, state.training
    with state.averaged():
        nats, _ = validation_nats(state.network, held_out, limit, ranks=state.ranks)
    if not math.isfinite(nats):
        raise Divergence(f"validation loss {nats}")
    over_fits = metrics.running_nats < (guess := math.log(output.entries)) and state.reports_nats
    if not over_fits and min(nats, metrics.best_nats) > guess + HOPELESS:
        raise Divergence(f"validation loss of {nats:.4g} nats per token, worse than guessing ({guess:.4g})")
    metrics.validation_nats = nats
    early = training.schedule == "trapezoid" and metrics.updates < decay_start(training, state.total_updates)
    improved, good = nats < metrics.best_nats, nats < min(metrics.best_nats, guess) + HOPELESS
    return ValidationResult(nats, improved and not early, good, {"nats": nats, "perplexity": perplexity(nats)})
