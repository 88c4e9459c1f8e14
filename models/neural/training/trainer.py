"""Run the training loop of all neural models: truncated BPTT, keeping the best state on held-out reviews.

Read `Trainer.run` first: it is the whole course of a fit; one update is in `step.py`. All randomness is either torch's
random stream, whose state is in each checkpoint, or derived from (seed, epoch, window). Everything else is a function
of the number of updates. Therefore a fit that was killed at any moment and started again with the same work folder
gives the same weights, bit for bit, and the same journal. That holds on the CPU, within one class of determinism
(`determinism.py`); on a GPU the weights are the same to rounding.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...base import FitContext, ModelError
from ...specs import TrainingSpec
from ..network import Network
from ..optimization.schedule import PLATEAU_FACTOR
from ..parallel.data_parallel import Ranks, joined
from .checkpoint import SETTLED, Checkpoint, Checkpoints, Journal, fill_network, network_tensors
from .determinism import announcement, determinism_class, in_words
from .state import TrainingState
from .step import Divergence, TrainingStep
from .throughput import Meter
from .training_metrics import Course, perplexity
from .validation import validation_limit, validation_nats

if TYPE_CHECKING:
    from ...streams import TokenStream

CHECKPOINTS = "checkpoints"
CHECKPOINT_SECONDS = 60.0
"""A checkpoint is also written when this time has passed; does not change the result."""
REPORT_SECONDS = 0.5
JOURNAL_LINES = 200
"""Points of each training curve, at most."""
BACK_OFFS = 3
"""Times that a diverged training goes back to a good state with half the rate."""
FINAL_TOKENS = 2_000_000
"""Held-out tokens for the final figure, at most."""
HOPELESS = 1.0
"""Nats above uniform guessing at which the best validation loss, with a running loss no better, counts as diverged."""
RESET_STREAM = 7
"""Part of the seed of state resets, so that their draws differ from other uses of the same seed."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """The figures of a training; the network itself holds the best weights."""

    summary: Mapping[str, float]


def train(
    network: Network,
    train_stream: TokenStream,
    validation_stream: TokenStream,
    training: TrainingSpec,
    context: FitContext,
) -> TrainResult:
    """Train a network in place; afterwards it is in evaluation mode and holds the best weights on validation.

    Resumes from the checkpoints in `context.work` if there are any of this same training.

    Args:
        network: With its initial weights, on `context.device`.
        train_stream: Training reviews.
        validation_stream: Held-out reviews; a part of them, evenly spaced, is scored at each evaluation.
        training: See `TrainingSpec`.
        context: Work folder (journal, checkpoints), device, listener, this process's rank and the number of ranks.

    Returns:
        Numbers: updates, tokens, seconds and cpu_seconds (spent on updates), tokens_per_second, best_validation_nats
        (per token, on the part that is scored at each evaluation), best_validation_perplexity, best_tokens (seen when
        it was measured), validation_nats and validation_perplexity (of the best weights, on all reviews), train_nats
        (train_estimator_loss if the training loss is an estimator's), clipped_share, value_clipped_share, divergences,
        quantiles of the updates' times, peak memory and share of the matrix-product peak (`Course.machine_figures`),
        micro_batch (streams read at a time at the end), threads (bit-equality depends on it) and class_changes (times
        that it resumed under another class of determinism).

    Raises:
        ModelError: kind "diverged": not finite, or worse than guessing, even at an eighth of the rate;
            kind "input": nothing to train on, or fewer rows in a batch than ranks; kind "peer": another rank is gone.
        RuntimeError: torch's, if the memory does not suffice for a single stream.
    """
    if train_stream.tokens == 0 or validation_stream.tokens == 0:
        raise ModelError("the training or the validation stream has no token to predict", "input")
    devices = [network.output.weight.device] if network.output.weight.is_cuda else []
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with torch.random.fork_rng(devices=devices), joined(context, trained, training.batch) as ranks:
        return Trainer(network, train_stream, validation_stream, training, context, ranks).run()


class Trainer:
    """The training loop and its state; see `train`."""

    def __init__(
        self,
        network: Network,
        train_stream: TokenStream,
        validation_stream: TokenStream,
        training: TrainingSpec,
        context: FitContext,
        ranks: Ranks,
    ) -> None:
        from ...batches import count_updates, make_batches

        self.network, self.training, self.context, self.ranks = network, training, context, ranks
        self.train_stream, self.validation_stream = train_stream, validation_stream
        self.device = network.output.weight.device
        network.train()
        self.nats, self.meter = network.output.reports_nats, Meter(network, ranks.size)
        self.batches = make_batches(train_stream, training)
        windows = self.batches.windows(math.ceil(training.epochs))
        self.starts = np.concatenate([[0], np.cumsum(windows)])
        self.updates = count_updates(windows, training.epochs)
        evaluations = training.evaluations
        self.evaluations = {math.ceil(self.updates * (i + 1) / evaluations) for i in range(evaluations)}
        passes = float(np.interp(self.updates, self.starts, np.arange(len(self.starts))))
        self.total_tokens = round(train_stream.tokens * passes)
        self.limit = validation_limit(self.total_tokens, evaluations)
        self.state = TrainingState(network, training, ranks)
        self.identity = self.state.identity(train_stream, validation_stream)
        self.checkpoints, self.journal = Checkpoints(context.work / CHECKPOINTS), Journal(context.work)
        self.step = TrainingStep(self.state, training, self.updates, self._write)
        self.saved = self.reported = time.monotonic()

    @property
    def course(self) -> Course:
        """The numbers of the training so far."""
        return self.state.course

    def run(self) -> TrainResult:
        """Train to the end, from the start or a checkpoint, and leave the best weights in the network."""
        self._begin()
        while self.course.updates < self.updates:
            try:
                self._epoch()
            except Divergence as error:
                self._back_off(error)
        fill_network(self.network, self.state.best)
        self.network.eval()
        return TrainResult(self._summary())

    def _begin(self) -> None:
        """Resume from the newest checkpoint, or start and write the first one."""
        torch.manual_seed(self.ranks.seed(self.training.seed))
        log.info("%s", announcement(determinism_class(self.device, self.ranks.size)))
        if found := self._load():
            self._restore(found)
            self._compare_class(found.facts["class"])
            log.info("training resumes after %d of %d updates", self.course.updates, self.updates)
        else:
            self._cut(0)
            self._save(good=True)

    def _compare_class(self, before: dict[str, str | int]) -> None:
        """Warn if the bits of the result may differ from those of an uninterrupted training."""
        now = determinism_class(self.device, self.ranks.size)
        if before != now:
            self.course.class_changes += 1
            log.warning("training resumes with %s after %s: the weights will match those of an uninterrupted training "
                        "up to rounding, not bit for bit", in_words(now), in_words(before))

    def _epoch(self) -> None:
        """Train from the next window to the end of its epoch, or to the last update."""
        epoch = int(np.searchsorted(self.starts, self.course.updates, "right")) - 1
        start = self.course.updates - int(self.starts[epoch])
        if start == 0:
            self.state.forget()
        for window in self.batches.epoch(epoch, start):
            started, cpu_started = time.perf_counter(), time.process_time()
            self.step(window, self._kept(epoch, window.index))
            self.course.clock(time.perf_counter() - started, time.process_time() - cpu_started)
            self.course.updates += 1
            self._observe(window.index + 1 == window.of)
            if self.course.updates == self.updates:
                return

    def _kept(self, epoch: int, index: int) -> Tensor | None:
        """Return False for the streams whose state is reset before this window (None: for none)."""
        if index == 0 or self.training.state_reset_prob == 0 or not self.training.stateful:
            return None
        draws_B = np.random.default_rng([self.training.seed, epoch, index, RESET_STREAM]).random(self.training.batch)
        kept_B = draws_B >= self.training.state_reset_prob
        return None if kept_B.all() else torch.from_numpy(kept_B).to(self.device)

    def _observe(self, epoch_ends: bool) -> None:
        """Write journal, evaluation, checkpoint and progress report after an update, each if it is due."""
        done, last = self.course.updates, self.course.updates == self.updates
        if last or done % max(1, self.updates // JOURNAL_LINES) == 0:
            by_value = self.training.clip_value is not None
            self._write(self.course.train_figures(self.step.rate(done - 1), by_value, self.nats))
        if last or epoch_ends:
            self._write(self.course.norm_figures() | self._machine_figures())
        if done in self.evaluations:
            self._save(good=self._evaluate())
        elif self.ranks.decided(time.monotonic() - self.saved > CHECKPOINT_SECONDS):
            self._save(good=False)
        news = done in self.evaluations or time.monotonic() - self.reported > REPORT_SECONDS
        if news and self.ranks.leads:
            self.reported = time.monotonic()
            self.context.report(self.course.progress(self.updates, self.total_tokens, self.nats))

    def _write(self, figures: Mapping[str, float]) -> None:
        if figures and self.ranks.leads:
            self.journal.write(self.course.tokens, figures)

    def _machine_figures(self) -> dict[str, float]:
        return self.course.machine_figures(self.meter.peak_memory(), self.meter.highest_tokens_per_second())

    def _evaluate(self) -> bool:
        """Measure on validation and keep the weights if they are the best; return whether training may go back to them.

        If the weights are averaged, the average is measured and kept.
        """
        with self.state.averaged():
            nats, _ = validation_nats(self.network, self.validation_stream, self.limit, ranks=self.ranks)
            if not math.isfinite(nats):
                raise Divergence(f"validation loss {nats}")
            over_fits = self.course.running_nats < (guess := math.log(self.network.output.entries)) and self.nats
            if not over_fits and min(nats, self.course.best_nats) > guess + HOPELESS:
                raise Divergence(f"validation loss {nats:.4g} nats per token, where guessing costs {guess:.4g}")
            if improved := nats < self.course.best_nats:
                self.state.best = network_tensors(self.network)
        good = nats < min(self.course.best_nats, guess) + HOPELESS
        self._write({"validation/nats": nats, "validation/perplexity": perplexity(nats), SETTLED: good})
        self.course.validation_nats = nats
        if improved:
            self.course.best_nats, self.course.best_tokens = nats, self.course.tokens
        self._adapt(nats, improved)
        return good

    def _adapt(self, nats: float, improved: bool) -> None:
        """Update the schedule and the averaging after an evaluation."""
        if self.training.schedule == "plateau" and not improved:
            self.course.plateau *= PLATEAU_FACTOR
        if self.state.trigger is not None and self.state.trigger.observe(nats):
            log.info("the validation loss no longer improves: averaging the weights from here on")

    def _save(self, good: bool) -> None:
        tensors = self.state.tensors()
        if self.ranks.leads:
            kind = determinism_class(self.device, self.ranks.size)
            own = {"journal": self.journal.length, "identity": self.identity, "class": kind}
            self.checkpoints.save(tensors, self.state.facts() | own, good)
        self.saved = time.monotonic()

    def _load(self, good: bool = False) -> Checkpoint | None:
        return self.ranks.same(self.checkpoints.load(self._require_own, good) if self.ranks.leads else None)

    def _restore(self, found: Checkpoint) -> None:
        self._cut(found.facts["journal"])
        self.state.fill(found)

    def _cut(self, length: int) -> None:
        if self.ranks.leads:
            self.journal.cut(length)

    def _require_own(self, found: Checkpoint) -> None:
        if found.facts["identity"] != self.identity:
            raise ValueError("it belongs to another training")
        if self.journal.size() < found.facts["journal"]:
            raise ValueError("the journal has become shorter since")
        self.state.require_weights(found)

    def _back_off(self, error: Divergence) -> None:
        """Go back to the last good state with half the rate, a few times; then fail."""
        times, rate = self.course.divergences + 1, self.training.learning_rate * self.course.rate_factor
        found = self._load(good=True)
        if times > BACK_OFFS or found is None:
            raise ModelError(
                f"Training diverged after {self.course.tokens} tokens ({error}), {times} times in all; the last peak "
                f"learning rate was {rate:g}. Set training.learning_rate (now {self.training.learning_rate:g}) lower "
                f"than that, or training.clip (now {self.training.clip}) lower",
                "diverged",
            )
        log.warning("%s; back to the last good state with half the learning rate", error)
        before = self.course
        self._restore(found)
        self.course.divergences, self.course.rate_factor = times, 0.5**times
        # Keep the values that describe this machine.
        self.course.micro_batch = min(before.micro_batch, self.course.micro_batch)
        self.course.class_changes, self.course.peaks = before.class_changes, before.peaks
        self._save(good=True)

    def _summary(self) -> dict[str, float]:
        nats, tokens = validation_nats(self.network, self.validation_stream, FINAL_TOKENS, ranks=self.ranks)
        held_out = {"validation_nats": nats, "validation_perplexity": perplexity(nats), "validation_tokens": tokens}
        own = {**self.course.summary(self.nats), **self._machine_figures()}
        return {**own, **held_out, "threads": torch.get_num_threads()}
