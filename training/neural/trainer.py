"""Train a neural model: truncated BPTT, keeping the best state on held-out reviews.

`train` sets a training up, `make_updates` runs it. One update is in `step.py`; everything around the updates
(journal, checkpoints, back-off after a divergence and so on) is a callback in `callbacks/`.

All randomness is either torch's random stream, whose state is in each checkpoint, or derived from (seed, epoch,
window). Everything else is a function of the number of updates. Therefore a fit that was killed at any moment and
started again with the same work folder gives the same weights, bit for bit, and the same journal. That holds on the
CPU, within one class of determinism (`determinism_class`); on a GPU the weights are the same to rounding.

Each measurement on validation decides: keep the best weights, lower the rate on a plateau, begin to average.

Measure nats per token on held-out reviews: each review from a fresh state, every token scored once, float32.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from reviewlm.models.base import ModelError, is_out_of_memory, perplexity
from reviewlm.models.neural.device import (
    POSITIONS,
    first_line,
    free_cached_memory,
    to_device,
)
from reviewlm.models.neural.network import Network, fill_network, network_tensors
from reviewlm.models.neural.output.base import CONTEXT_IDS
from reviewlm.models.neural.spec import NOT_SCORED, TrainingSpec
from reviewlm.models.options import to_plain_values
from reviewlm.models.threads import return_freed
from reviewlm.training.context import CHECKPOINTS, PAUSED, FitContext
from reviewlm.training.neural.batches import Plan, count_updates
from reviewlm.training.neural.callbacks import (
    Callback,
    Curves,
    Pacing,
    Paused,
    ProgressReport,
    ValidationResult,
    shorten_training,
)
from reviewlm.training.neural.checkpoint import Checkpoints, Journal
from reviewlm.training.neural.checkpointing import BackOff, Checkpointing
from reviewlm.training.neural.data_parallel import Ranks, join_ranks
from reviewlm.training.neural.optimizers import PLATEAU_FACTOR, decay_start
from reviewlm.training.neural.state import TrainingState
from reviewlm.training.neural.step import Divergence, TrainingStep

if TYPE_CHECKING:
    from reviewlm.models.streams import TokenStream


log = logging.getLogger(__name__)

BATCH_POSITIONS = 16_384
"""Positions of a batch of reviews side by side, padding included."""
FINAL_TOKENS = 2_000_000
"""Held-out tokens for the final figure, at most."""
HOPELESS = 1.0
"""Nats above uniform guessing at which the best validation loss, with a running loss no better, counts as diverged."""


def validation_nats(
    network: Network,
    stream: TokenStream,
    limit: int | None = None,
    positions: int = BATCH_POSITIONS,
    ranks: Ranks | None = None,
) -> tuple[float, int]:
    """Return the mean of −log p in nats per scored token, and the number of scored tokens.

    Equal arguments on the same device and thread count give the same number to the last bit. Afterwards the network is
    in the same mode (training or not) as before, and no random numbers are drawn.

    Args:
        network: Scored without dropout.
        stream: Held-out reviews.
        limit: Score only about this number of tokens: reviews evenly spaced over the whole stream.
        positions: Of a batch, one review or several side by side. At most so many are read at a time, fewer on the
            processor, and half as many if memory does not suffice. Does not change the result beyond rounding.
        ranks: Share the work; each returns the figure of all.

    Raises:
        RuntimeError: torch's, if the memory does not suffice for a single position.
    """
    ranks = ranks or Ranks()
    was_training = network.training
    return_freed()  # the tensors of a measurement do not fit into the gaps that updates leave
    network.eval()
    nats = 0.0
    tokens = 0
    at_once = min(positions, POSITIONS[network.output.weight.device.type])
    try:
        for x_BT, y_BT in islice(
            _batches(stream, _choose_reviews(stream, limit), positions),
            ranks.rank,
            None,
            ranks.size,
        ):
            part, at_once = _score_with_less(network, x_BT, y_BT, at_once)
            nats = nats + part
            tokens = tokens + int((y_BT != NOT_SCORED).sum())
    finally:
        network.train(was_training)
        return_freed()  # nor those of updates into its gaps

    nats, all_tokens = ranks.total([nats, tokens])
    return nats / max(1, all_tokens), round(all_tokens)


def validation_limit(total_tokens: int, evaluations: int) -> int:
    """Return the held-out tokens to score at each evaluation.

    Scoring a token takes about a third of the time of training on it, so 15 % of the training tokens between two
    evaluations make evaluations cost about 5 % of the time. The limits keep the figure precise for small fits and the
    time short for large ones.
    """
    return max(20_000, min(200_000, int(0.15 * total_tokens / evaluations)))


def _score_with_less(
    network: Network, x_BT: np.ndarray, y_BT: np.ndarray, positions: int
) -> tuple[float, int]:
    """Return the sum of nats, and the number of positions at a time for which memory sufficed."""
    while True:
        try:
            return _score(network, x_BT, y_BT, positions), positions
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or positions == 1:
                raise
            message = first_line(error)
        # The error keeps tensors in memory until the except block ends, so the cache is emptied here.
        if network.output.weight.is_cuda:
            torch.cuda.empty_cache()
        positions = -(-min(positions, x_BT.size) // 2)
        log.warning(
            "not enough memory for validation (%s): reading %d positions at a time",
            message,
            positions,
        )


@torch.no_grad()
def _score(network: Network, x_BT: np.ndarray, y_BT: np.ndarray, positions: int) -> float:
    """Return the sum of nats of some reviews; at most *positions* positions are read at a time.

    The reviews are cut before there are fewer of them side by side: with few, the products of a position are slow.
    """
    device = network.output.weight.device
    nats = torch.zeros((), dtype=torch.float64, device=device)
    rows = min(len(x_BT), positions)
    width = positions // rows
    for first in range(0, len(x_BT), rows):
        some = slice(first, first + rows)
        state = network.start(len(x_BT[some]), device)
        for begin in range(0, x_BT.shape[1], width):
            part = slice(begin, begin + width)
            features_BTE, state = network(
                to_device(torch.from_numpy(x_BT[some, part]), device), state
            )
            targets_N = torch.from_numpy(y_BT[some, part]).flatten()
            nats += network.output.nats(features_BTE.flatten(0, 1), targets_N).double().sum()

    return float(nats)


def _choose_reviews(stream: TokenStream, limit: int | None) -> np.ndarray:
    """Return the indices of the reviews to score, shortest first."""
    count = len(stream)
    if limit is not None and stream.tokens > limit:
        count = max(1, count * limit // stream.tokens)
    chosen = np.arange(count, dtype=np.int64) * len(stream) // max(1, count)
    lengths = np.diff(np.asarray(stream.offsets))[chosen]
    return chosen[np.argsort(lengths, kind="stable")]


def _batches(
    stream: TokenStream, chosen: np.ndarray, positions: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield tokens (padded with 0) and the tokens that follow (−1: given or padding), reviews of similar length."""
    group: list[np.ndarray] = []
    for index in chosen:
        document = np.asarray(stream.document(int(index)), dtype=np.int64)
        if group and (len(group) + 1) * (len(document) - 1) > positions:
            yield _pad(group)
            group = []
        group.append(document)
    if group:
        yield _pad(group)


def _pad(documents: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    shape = len(documents), max(len(document) for document in documents) - 1
    x_BT = np.zeros(shape, np.int64)
    y_BT = np.full(shape, NOT_SCORED, np.int64)
    for row, document in enumerate(documents):
        given_T = document[:-1]
        next_T = document[1:]
        x_BT[row, : len(given_T)] = given_T
        y_BT[row, : len(next_T)] = np.where(np.isin(next_T, CONTEXT_IDS), NOT_SCORED, next_T)

    return x_BT, y_BT


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
            a `pace`, the training stops before its decay; see `Pacing` in `callbacks.py`.

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
        identity = state.identity(train_stream, validation_stream)
        checkpointing = Checkpointing(
            state, Checkpoints(context.work / CHECKPOINTS), journal, identity
        )
        callbacks = _callbacks(state, plan, curves, checkpointing, context)
        torch.manual_seed(ranks.seed(training.seed))
        limit = validation_limit(0 if context.pace else plan.total_tokens, training.evaluations)
        step = TrainingStep(state, curves.write)
        try:
            make_updates(
                plan, state, step, callbacks, lambda: _evaluate(state, validation_stream, limit)
            )
        except Paused as paused:
            return _pause(paused, plan, checkpointing, context.work / PAUSED)
        if devices:
            network.zero_grad(set_to_none=True)
            free_cached_memory()  # that of the updates
        nats, tokens = validation_nats(network, validation_stream, FINAL_TOKENS, ranks=ranks)
        held_out = {
            "validation_nats": nats,
            "validation_perplexity": perplexity(nats),
            "validation_tokens": tokens,
        }
        figures = {**state.metrics.summary(state.reports_nats), **curves.machine_figures()}
        return {**figures, **held_out, "threads": torch.get_num_threads()}


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
    paused: Paused, plan: Plan, checkpointing: Checkpointing, folder: Path
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


def _evaluate(state: TrainingState, held_out: TokenStream, limit: int) -> ValidationResult:
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
