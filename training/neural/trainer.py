"""Train a neural model: truncated BPTT, keeping the best state on held-out reviews.

`train` sets a training up, `make_updates` runs it. One update is in `step.py`; everything around the updates
(journal, checkpoints, back-off after a divergence and so on) is a callback (`callbacks.py`).

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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from reviewlm.models.base import ModelError, perplexity
from reviewlm.models.neural.device import free_cached_memory
from reviewlm.models.neural.network import Network, fill_network, network_tensors
from reviewlm.models.neural.spec import TrainingSpec
from reviewlm.models.options import to_plain_values
from reviewlm.training.context import CHECKPOINTS, PAUSED, FitContext
from reviewlm.training.neural.batches import Plan, count_updates
from reviewlm.training.neural.callbacks import Callback, ValidationResult
from reviewlm.training.neural.checkpoint import Checkpoints, Journal
from reviewlm.training.neural.checkpointing import BackOff, Checkpointing
from reviewlm.training.neural.data_parallel import Ranks, join_ranks
from reviewlm.training.neural.learning_rates import PLATEAU_FACTOR, decay_start
from reviewlm.training.neural.pacing import Pacing, Paused, shorten_training
from reviewlm.training.neural.progress import Curves, ProgressReport
from reviewlm.training.neural.state import TrainingState
from reviewlm.training.neural.step import Divergence, TrainingStep
from reviewlm.training.neural.validation import validation_limit, validation_nats

if TYPE_CHECKING:
    from reviewlm.models.streams import TokenStream

log = logging.getLogger(__name__)
FINAL_TOKENS = 2_000_000
"""Held-out tokens for the final figure, at most."""
HOPELESS = 1.0
"""Nats above uniform guessing at which the best validation loss, with a running loss no better, counts as diverged."""


class BestWeights(Callback):
    """Keep the best weights (averaged ones if there is an average), and leave them in the network at the end.

    Weights that are not the best lower the rate of the schedule "plateau", and may start the average of "nt_asgd".
    """

    def on_validation(self, measured: ValidationResult) -> None:
        """Keep the weights if they are the best so far."""
        state = self.state
        metrics = self.state.metrics
        if measured.improved:
            with state.use_average():
                state.best = network_tensors(state.network)
            metrics.best_nats = measured.nats
            metrics.best_tokens = metrics.tokens
        elif state.training.schedule == "plateau":
            metrics.plateau *= PLATEAU_FACTOR

        if state.trigger is not None and state.trigger.observe(measured.nats):
            log.info("the validation loss no longer improves: averaging the weights from here on")

    def on_end(self) -> None:
        """Put the best weights into the network, which is in evaluation mode from here on."""
        fill_network(self.state.network, self.state.best)
        self.state.network.eval()


def train(
    network: Network,
    train_stream: TokenStream,
    validation_stream: TokenStream,
    training: TrainingSpec,
    context: FitContext,
) -> Mapping[str, float]:
    """Train a network in place; afterwards it is in evaluation mode and holds the best weights on validation.

    Resumes from the checkpoints in `context.work` if there are any of this same training.

    Args:
        network: With its initial weights, on `context.device`.
        validation_stream: Held-out reviews; a part of them, evenly spaced, is scored at each evaluation.
        context: Work folder (journal, checkpoints), device, listener, this process's rank and the number of ranks. With
            a `pace`, the training stops before its decay; see `Pacing` in `pacing.py`.

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

    devices = []
    if network.output.weight.is_cuda:
        devices = [network.output.weight.device]

    for device in devices:
        free_cached_memory()
        torch.cuda.reset_peak_memory_stats(device)

    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with (
        torch.random.fork_rng(devices=devices),
        join_ranks(context, trained, training.batch) as ranks,
    ):
        plan = Plan(train_stream, training, ahead=bool(devices))
        state = TrainingState(network.train(), training, plan.updates, ranks)
        journal = Journal(context.work)
        curves = Curves(state, journal)
        checkpoints = Checkpoints(context.work / CHECKPOINTS)
        identity = state.identity(train_stream, validation_stream)
        checkpointing = Checkpointing(state, checkpoints, journal, identity)
        callbacks = _callbacks(
            state,
            plan,
            curves,
            checkpointing,
            context,
        )

        torch.manual_seed(ranks.seed(training.seed))
        step = TrainingStep(state, curves.write)
        limit = validation_limit(0 if context.pace else plan.total_tokens, training.evaluations)
        evaluate = partial(_evaluate, state, validation_stream, limit)
        try:
            make_updates(
                plan,
                state,
                step,
                callbacks,
                evaluate,
            )
        except Paused as paused:
            return _pause(paused, plan, checkpointing, context.work / PAUSED)

        if devices:
            network.zero_grad(set_to_none=True)
            free_cached_memory()  # that of the updates

        return {
            **state.metrics.summary(state.reports_nats),
            **curves.machine_figures(),
            **_final_figures(network, validation_stream, ranks),
            "threads": torch.get_num_threads(),
        }


def _final_figures(
    network: Network,
    stream: TokenStream,
    ranks: Ranks,
) -> dict[str, float]:
    """Return nats per token and perplexity of the best weights on all held-out reviews, and their number of tokens."""
    nats, tokens = validation_nats(network, stream, FINAL_TOKENS, ranks=ranks)
    return {
        "validation_nats": nats,
        "validation_perplexity": perplexity(nats),
        "validation_tokens": tokens,
    }


def _callbacks(
    state: TrainingState,
    plan: Plan,
    curves: Curves,
    checkpointing: Checkpointing,
    context: FitContext,
) -> Sequence[Callback]:
    """Return the callbacks in the order in which they act: first those that change the state, then those that tell."""
    callbacks = [BestWeights(state), curves, checkpointing, BackOff(state, checkpointing)]
    pacing = None
    if context.pace:
        pacing = Pacing(state, plan, context.pace)
        callbacks.append(pacing)

    callbacks.append(ProgressReport(state, plan.total_tokens, context.report, pacing))
    return callbacks


def _pause(
    paused: Paused,
    plan: Plan,
    checkpointing: Checkpointing,
    folder: Path,
) -> dict[str, float]:
    """Save a paced training as the start of the shorter one; return its figures and the options that have changed."""
    state = checkpointing.state
    training = shorten_training(state.training, plan, state.metrics.updates)
    if state.ranks.leads:
        shutil.rmtree(folder, ignore_errors=True)

    identity = checkpointing.identity | {"training": to_plain_values(training)}
    Checkpointing(state, Checkpoints(folder), checkpointing.journal, identity).save(good=True)
    windows = plan.batches.windows(math.ceil(training.epochs))
    summary = {
        **state.metrics.summary(state.reports_nats),
        "step_seconds": state.metrics.step_seconds(0.5),
        "bf16": float(state.network.products == "bf16"),
        "epochs": training.epochs,
        "warmup": training.warmup,
        "all_updates": count_updates(windows, training.epochs),
    }
    for why in ("time", "validation", "end"):
        summary[f"stopped_by_{why}"] = float(paused.why == why)

    return summary


class Updates(Protocol):
    """The updates of a training: windows of a language model's (`Plan`), or batches of whole sequences."""

    updates: int
    evaluations: set[int]

    def rest_of_epoch(self, done: int) -> Iterator[tuple[Any, Any]]:
        """Yield the batch of each update after *done*, to the end of the epoch: with `index`, and a mask of resets."""
        ...


def make_updates(
    plan: Updates,
    state: TrainingState,
    step: Callable[[Any, Any], None],
    callbacks: Sequence[Callback],
    evaluate: Callable[[], ValidationResult],
) -> None:
    """Train from the first window, or from the checkpoint that a callback loads, to the last one."""
    for callback in callbacks:
        callback.on_start()

    while state.metrics.updates < plan.updates:
        try:
            for window, keep_B in plan.rest_of_epoch(state.metrics.updates):
                if window.index == 0:
                    state.forget()
                started = time.perf_counter()
                cpu_started = time.process_time()
                step(window, keep_B)
                state.metrics.clock(
                    time.perf_counter() - started, time.process_time() - cpu_started
                )
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


def _evaluate(
    state: TrainingState,
    held_out: TokenStream,
    limit: int,
) -> ValidationResult:
    """Measure on validation, with the averaged weights if there is an average.

    Raises:
        Divergence: The loss is not finite, or far above guessing without over-fitting.
    """
    state.settle()
    metrics = state.metrics
    output = state.network.output
    training = state.training
    with state.use_average():
        nats, _ = validation_nats(state.network, held_out, limit, ranks=state.ranks)

    if not math.isfinite(nats):
        raise Divergence(f"validation loss {nats}")

    over_fits = metrics.running_nats < (guess := math.log(output.entries)) and state.reports_nats
    if not over_fits and min(nats, metrics.best_nats) > guess + HOPELESS:
        raise Divergence(
            f"validation loss of {nats:.4g} nats per token, worse than guessing ({guess:.4g})"
        )

    metrics.validation_nats = nats
    early = training.schedule == "trapezoid" and metrics.updates < decay_start(
        training, state.total_updates
    )
    improved = nats < metrics.best_nats
    good = nats < min(metrics.best_nats, guess) + HOPELESS
    return ValidationResult(
        nats, improved and not early, good, {"nats": nats, "perplexity": perplexity(nats)}
    )
