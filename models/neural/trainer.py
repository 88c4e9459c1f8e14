"""The training loop of all neural models: truncated back-propagation, AdamW, the best state on held-out reviews.

Read `Trainer.run` first: it is the whole course of a fit. One update: read a window with the carried state, sum the
nats of its scored tokens, divide by batch × window (so every token weighs the same, also in a window that is partly
padding), clip, step. Everything random is either torch's stream, whose state is in each checkpoint, or derived from
(seed, epoch, window); everything else is a function of the number of updates. Therefore a fit that was killed at any
moment and is started again with the same work folder gives the same weights, bit for bit, and the same journal.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..base import FitContext, ModelError
from ..specs import TrainingSpec
from .checkpoint import (
    Checkpoint,
    Checkpoints,
    Journal,
    fill_network,
    fill_optimizer,
    network_tensors,
    optimizer_tensors,
    prefixed,
    random_tensors,
    set_random,
    without_prefix,
)
from .course import Course, perplexity
from .network import Network
from .optim import learning_rate, make_optimizer, scale_and_clip
from .tbptt import Lanes
from .validation import validation_limit, validation_nats

if TYPE_CHECKING:
    from ..streams import TokenStream, Window

CHECKPOINTS = "checkpoints"
CHECKPOINT_SECONDS = 60.0
"""A restart point is also written when so much time has passed; does not change the result."""
REPORT_SECONDS = 0.5
JOURNAL_LINES = 200
"""Points of each training curve, at most."""
BACK_OFFS = 3
"""Times that a diverged training goes back to a good state with half the rate."""
FINAL_TOKENS = 2_000_000
"""Held-out tokens that the final figure is measured on, at most."""
RESET_STREAM = 7
"""Keeps the draws of state resets apart from other uses of the same seed."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What there is to say of a training; the network itself holds the best weights."""

    summary: Mapping[str, float]


class NotFinite(Exception):
    """The loss or the gradient is not a finite number."""


def train(
    network: Network,
    train_stream: TokenStream,
    validation_stream: TokenStream,
    training: TrainingSpec,
    context: FitContext,
) -> TrainResult:
    """Train a network in place; afterwards it is in evaluation mode and holds the best weights on validation.

    Goes on from the checkpoints in `context.work` where there are any of this very training.

    Args:
        network: With its initial weights, on `context.device`.
        train_stream: Training reviews.
        validation_stream: Held-out reviews; a part of them, evenly spaced, is scored at each evaluation.
        training: See `TrainingSpec`.
        context: Work folder (journal, checkpoints), device, listener.

    Returns:
        Numbers: updates, tokens, seconds, tokens_per_second, best_validation_nats (per token, on the part that is
        scored at each evaluation), best_validation_perplexity, best_tokens (seen when it was measured),
        validation_nats and validation_perplexity (of the best weights, on all held-out reviews), train_nats,
        clipped_share, divergences.

    Raises:
        ModelError: kind "diverged": not finite even at an eighth of the rate; kind "input": nothing to train on.
    """
    if train_stream.tokens == 0 or validation_stream.tokens == 0:
        raise ModelError("the training or the validation stream has no token to predict", "input")
    devices = [network.output.weight.device] if network.output.weight.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        return Trainer(network, train_stream, validation_stream, training, context).run()


class Trainer:
    """One training; see `train`."""

    def __init__(
        self,
        network: Network,
        train_stream: TokenStream,
        validation_stream: TokenStream,
        training: TrainingSpec,
        context: FitContext,
    ) -> None:
        from ..streams import TBPTTBatches

        self.network, self.training, self.context = network, training, context
        self.train_stream, self.validation_stream = train_stream, validation_stream
        self.device = network.output.weight.device
        self.batches = TBPTTBatches(train_stream, training.batch, training.window, training.seed)
        self.updates = max(1, round(training.epochs * self.batches.windows_per_epoch))
        evaluations = training.evaluations
        self.evaluations = {math.ceil(self.updates * (i + 1) / evaluations) for i in range(evaluations)}
        self.total_tokens = round(train_stream.tokens * self.updates / self.batches.windows_per_epoch)
        self.limit = validation_limit(self.total_tokens, evaluations)
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(network, training)
        past = (training.backprop or training.window) - training.window
        self.lanes = Lanes(network, training.batch, past, self.device)
        self.checkpoints, self.journal = Checkpoints(context.work / CHECKPOINTS), Journal(context.work)
        self.course, self.best = Course(), network_tensors(network)
        self.saved = self.reported = time.monotonic()

    def run(self) -> TrainResult:
        """Train to the end, wherever that starts, and leave the best weights in the network."""
        self._begin()
        while self.course.updates < self.updates:
            try:
                self._epoch(*divmod(self.course.updates, self.batches.windows_per_epoch))
            except NotFinite as error:
                self._back_off(error)
        fill_network(self.network, self.best)
        self.network.eval()
        return TrainResult(self._summary())

    def _begin(self) -> None:
        """Go on from the newest checkpoint, or start and write the first one."""
        self.network.train()
        torch.manual_seed(self.training.seed)
        if found := self.checkpoints.load(self._require_own):
            self._restore(found)
            log.info("training goes on after %d of %d updates", self.course.updates, self.updates)
        else:
            self.journal.cut(0)
            self._save(good=True)

    def _epoch(self, epoch: int, start: int) -> None:
        """Train from window *start* of an epoch to its end, or to the last update."""
        if start == 0:
            self.lanes.restart()
        for window in self.batches.epoch(epoch, start):
            started = time.perf_counter()
            self._update(window, self._kept(epoch, window.index))
            self.course.clock(time.perf_counter() - started)
            self.course.updates += 1
            self._observe(window.index + 1 == window.of)
            if self.course.updates == self.updates:
                return

    def _kept(self, epoch: int, index: int) -> Tensor | None:
        """Return False for the streams whose state is put back to the start before this window (None: for none)."""
        if index == 0 or self.training.reset == 0:
            return None
        draws_B = np.random.default_rng([self.training.seed, epoch, index, RESET_STREAM]).random(self.training.batch)
        kept_B = draws_B >= self.training.reset
        return None if kept_B.all() else torch.from_numpy(kept_B).to(self.device)

    def _update(self, window: Window, keep_B: Tensor | None) -> None:
        """Read one window and take one step; a window without a scored token only moves the state on."""
        x_BT, y_BT = (torch.from_numpy(ids).to(self.device) for ids in (window.x_BT, window.y_BT))
        features_BTE = self.lanes.read(x_BT, keep_B)
        nats, count = self.network.output.loss(features_BTE.flatten(0, 1), y_BT.flatten(), self.training.precision)
        if count == 0:
            return
        self.optimizer.zero_grad(set_to_none=True)
        nats.backward()
        norm = scale_and_clip(self.parameters, 1 / y_BT.numel(), self.training.clip)
        sum_of_nats = float(nats.detach())
        if not (math.isfinite(norm) and math.isfinite(sum_of_nats)):
            raise NotFinite(f"loss {sum_of_nats / count:.4g} nats per token, gradient norm {norm:.4g}")
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(self.course.updates)
        self.optimizer.step()
        clipped = self.training.clip is not None and norm > self.training.clip
        self.course.count(sum_of_nats, count, norm, clipped)

    def _rate(self, update: int) -> float:
        return learning_rate(self.training, update, self.updates) * self.course.rate_factor

    def _observe(self, epoch_ends: bool) -> None:
        """After an update: journal, evaluation, restart point and news, each where it is due."""
        done, last = self.course.updates, self.course.updates == self.updates
        if last or done % max(1, self.updates // JOURNAL_LINES) == 0:
            self._write(self.course.train_figures(self._rate(done - 1)))
        if last or epoch_ends:
            self._write(self.course.norm_figures())
        if done in self.evaluations:
            self._save(good=self._evaluate())
        elif time.monotonic() - self.saved > CHECKPOINT_SECONDS:
            self._save(good=False)
        if done in self.evaluations or time.monotonic() - self.reported > REPORT_SECONDS:
            self.reported = time.monotonic()
            self.context.report(self.course.progress(self.updates, self.total_tokens))

    def _write(self, figures: Mapping[str, float]) -> None:
        if figures:
            self.journal.write(self.course.tokens, figures)

    def _evaluate(self) -> bool:
        """Measure on validation and keep the weights if they are the best; False if they are no good to go back to."""
        nats, _ = validation_nats(self.network, self.validation_stream, self.limit)
        if not math.isfinite(nats):
            raise NotFinite(f"validation loss {nats}")
        self._write({"validation/nats": nats, "validation/perplexity": perplexity(nats)})
        self.course.validation_nats = nats
        bearable = min(self.course.best_nats, math.log(len(self.network.output.bias))) + 1
        if nats < self.course.best_nats:
            self.course.best_nats, self.course.best_tokens = nats, self.course.tokens
            self.best = network_tensors(self.network)
        return nats < bearable

    def _save(self, good: bool) -> None:
        tensors = {
            **prefixed("network", network_tensors(self.network)),
            **prefixed("best", self.best),
            **prefixed("optimizer", optimizer_tensors(self.optimizer)),
            **prefixed("lanes", self.lanes.tensors()),
            **prefixed("random", random_tensors(self.device)),
        }
        facts = {"course": asdict(self.course), "journal": self.journal.length, "identity": self.identity}
        self.checkpoints.save(tensors, facts, good)
        self.saved = time.monotonic()

    def _restore(self, found: Checkpoint) -> None:
        tensors = found.tensors
        self.course = Course(**found.facts["course"])
        self.journal.cut(found.facts["journal"])
        self.best = without_prefix("best", tensors)
        fill_network(self.network, without_prefix("network", tensors))
        fill_optimizer(self.optimizer, without_prefix("optimizer", tensors))
        self.lanes.fill(without_prefix("lanes", tensors))
        set_random(without_prefix("random", tensors), self.device)

    def _require_own(self, found: Checkpoint) -> None:
        if found.facts["identity"] != self.identity:
            raise ValueError("it belongs to another training")
        if self.journal.size() < found.facts["journal"]:
            raise ValueError("the journal has become shorter since")

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree in with this training."""
        streams = self.train_stream, self.validation_stream
        return {
            "training": asdict(self.training),
            "shapes": [list(parameter.shape) for parameter in self.parameters],
            "streams": [[stream.vocabulary_digest, stream.facts["sha256"]] for stream in streams],
        }

    def _back_off(self, error: NotFinite) -> None:
        """Go back to the last good state with half the rate, a few times; then give up."""
        times, rate = self.course.divergences + 1, self.training.learning_rate * self.course.rate_factor
        found = self.checkpoints.load(self._require_own, good=True)
        if times > BACK_OFFS or found is None:
            raise ModelError(
                f"Training diverged after {self.course.tokens} tokens ({error}), {times} times in all, at last with a "
                f"peak learning rate of {rate:g}. Set training.learning_rate (now {self.training.learning_rate:g}) "
                f"below that, or training.clip (now {self.training.clip}) lower",
                "diverged",
            )
        log.warning("%s; back to the last good state with half the learning rate", error)
        self._restore(found)
        self.course.divergences, self.course.rate_factor = times, 0.5**times
        self._save(good=True)

    def _summary(self) -> dict[str, float]:
        nats, tokens = validation_nats(self.network, self.validation_stream, FINAL_TOKENS)
        held_out = {"validation_nats": nats, "validation_perplexity": perplexity(nats), "validation_tokens": tokens}
        return {**self.course.summary(), **held_out}
