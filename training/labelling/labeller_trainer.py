"""Train a classifier or tagger: shuffled batches of whole sequences; keep the weights that are best on validation.

The order of an epoch follows from the seed and the epoch, rates from the number of the update, and torch's random
stream is in each checkpoint. So a training that was killed at any moment and is started again with the same work folder
gives the same weights, bit for bit, and the same journal, on the CPU and within one class of determinism
(see `determinism_class`). Checkpoints and the way back after a divergence are those of the language
models (`training/neural/callbacks/checkpointing.py`).

The gradient of an update is that of the mean loss over all targets of its batch: that of the sum of all losses, divided
by the number of targets. So a batch can be read in pieces whose gradients are added up: only rounding and the draws of
dropout change. A piece has at most `micro_batch` sequences and `PIECE_POSITIONS` positions.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.base import ModelError
from models.neural.device import first_line, is_out_of_memory, to_device
from models.neural.labelling.labelled_sequences import LabelledSequences
from models.neural.labelling.labeller import LOSS, Labeller, input_tensors
from models.neural.labelling.network import LabellingNetwork
from models.neural.labelling.rows import LabelledBatch
from models.neural.labelling.spec import LabellingOptions
from models.neural.output import NOT_SCORED
from models.neural.weights_file import fill_network, network_tensors
from training.context import CHECKPOINTS, FitProgress
from training.labelling.fine_tuning import FineTuning
from training.labelling.state import LabellerState
from training.neural.callbacks.callback import Callback, ValidationResult
from training.neural.callbacks.checkpointing import BackOff, Checkpointing
from training.neural.callbacks.reporting import JOURNAL_LINES, REPORT_SECONDS
from training.neural.checkpoint import SETTLED, Checkpoints, Journal, random_tensors, set_random
from training.neural.clipping import scale_and_clip
from training.neural.step import Divergence

PIECE_POSITIONS = 131_072
"""Padded positions that are read at a time, unless a single sequence is longer."""
log = logging.getLogger(__name__)


class LossSums(NamedTuple):
    """Sum of the losses of a batch, number of its targets and of the tokens or features read."""

    loss: float
    targets: int
    tokens: int


def update_once(state: LabellerState, examples: LabelledSequences, rows_B: np.ndarray) -> float:
    """Take one step along the mean gradient over all targets of some sequences; without targets take none.

    Args:
        state: Its optimiser has the rate of this update.
        examples: Training examples.
        rows_B: Numbers of the sequences.

    Returns:
        The norm of the gradient before clipping.

    Raises:
        Divergence: Loss or gradient is not finite; the weights are as before.
    """
    network, training = state.network.train(), state.training
    sums, norm = gradient(state, examples, rows_B), 0.0
    if sums.targets:
        norm = scale_and_clip(network.parameters(), 1 / sums.targets, training.clip, training.clip_value).norm
        if not (math.isfinite(norm) and math.isfinite(sums.loss)):
            mean, update = sums.loss / sums.targets, state.metrics.updates + 1
            raise Divergence(f"loss {mean:.4g}, gradient norm {norm:.4g} at update {update}")
        state.rates.optimizer.step()
        if state.average is not None:
            state.average.update()
    state.metrics.count(*sums)
    return norm


def gradient(state: LabellerState, examples: LabelledSequences, rows_B: np.ndarray) -> LossSums:
    """Compute the gradient of the summed loss; the arguments are those of `update_once`.

    If memory does not suffice, repeat with half as many sequences at a time, from the same random state.
    """
    random = random_tensors(state.device)
    while True:
        state.rates.optimizer.zero_grad(set_to_none=True)
        try:
            return add_gradients(state.network, examples, rows_B, state.spec, state.metrics.micro_batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or min(state.metrics.micro_batch, len(rows_B)) == 1:
                raise
            message = first_line(error)
        # The error keeps tensors in memory until the except block ends, so the cache is emptied here.
        if state.device.type == "cuda":
            torch.cuda.empty_cache()
        state.metrics.micro_batch = -(-min(state.metrics.micro_batch, len(rows_B)) // 2)
        log.warning(
            "out of memory (%s): gradients are now accumulated over micro-batches of %d sequences; results differ only "
            "by rounding and dropout draws. A smaller training.batch avoids this", message, state.metrics.micro_batch
        )  # fmt: skip
        set_random(random, state.device)


def add_gradients(
    network: LabellingNetwork, examples: LabelledSequences, rows_B: np.ndarray, spec: LabellingOptions, micro_batch: int
) -> LossSums:
    """Add the gradient of the summed loss of some sequences to that of the parameters, *micro_batch* at a time."""
    sums = LossSums(0.0, 0, 0)
    for piece in pieces(examples.sequences.lengths[rows_B], micro_batch):
        batch, targets = examples.sequences.batch(rows_B[piece]), examples.of_rows(spec, rows_B[piece])
        features_NF, targets_N = asked_features(network, batch, targets)
        loss_sum = 0.0
        if len(targets_N):
            loss = F.cross_entropy(network.head(features_NF), targets_N, reduction="sum")
            loss.backward()
            loss_sum = float(loss.detach())
        sums = LossSums(sums.loss + loss_sum, sums.targets + len(targets_N), sums.tokens + batch.size())
    return sums


def pieces(lengths_B: np.ndarray, most: int) -> Iterator[slice]:
    """Yield the sequences of a batch in their order, *most* or fewer at a time; see `PIECE_POSITIONS`."""
    first = 0
    while first < len(lengths_B):
        longest_R = np.maximum.accumulate(lengths_B[first : first + most])
        fits_R = longest_R * np.arange(1, len(longest_R) + 1) <= PIECE_POSITIONS
        last = first + max(1, int(fits_R.sum()))
        yield slice(first, last)
        first = last


def asked_features(
    network: LabellingNetwork, batch: LabelledBatch, targets: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Return the features that have a target, and the targets (int64)."""
    features_NF = network(*input_tensors(batch, network.device))
    scored = np.flatnonzero(targets != NOT_SCORED)  # chosen here: a mask on a GPU would make the host wait for it
    targets_N = to_device(torch.from_numpy(targets[scored].astype(np.int64)), network.device)
    if len(scored) < len(targets):
        features_NF = features_NF[to_device(torch.from_numpy(scored), network.device)]
    return features_NF, targets_N


class Trainer:
    """One training.

    Args:
        model: With its initial weights; the weights of the best evaluation are put into its network.
        train: Training examples.
        validation: Examples that choose the state.
        work: Folder of checkpoints and journal; None: neither is written, so a divergence ends the training.
        report: Called after each evaluation and every `REPORT_SECONDS` with the latest figures; steps are tokens read.
        tuning: Options of fine-tuning; None trains all parts at the same rate.
    """

    def __init__(
        self, model: Labeller, train: LabelledSequences, validation: LabelledSequences, work: Path | None,
        report: Callable[[FitProgress], None], tuning: FineTuning | None,
    ) -> None:  # fmt: skip
        self.model, self.train, self.validation, self.report = model, train, validation, report
        self.network, self.training = model.network, model.spec.training
        self.per_epoch = math.ceil(len(train.sequences) / self.training.batch)
        self.updates = max(1, math.ceil(self.training.epochs * self.per_epoch))
        count = self.training.evaluations
        self.looks = {math.ceil((index + 1) * self.updates / count) for index in range(count)}
        self.state = LabellerState(model, self.updates, self.per_epoch, tuning)
        self.reported = time.monotonic()
        self.journal, self.callbacks = None, list[Callback[LabellerState]]()
        self.writer: AbstractContextManager[Any] = nullcontext()
        if work:
            self.journal, identity = Journal(work), self.state.identity(tuning, train, validation)
            checkpointing = Checkpointing(self.state, Checkpoints(work / CHECKPOINTS), self.journal, identity)
            self.callbacks, self.writer = [checkpointing, BackOff(self.state, checkpointing)], checkpointing.writer

    def run(self) -> dict[str, float]:
        """Make all updates that are left and put the best weights into the network; return the summary.

        Raises:
            ModelError: kind "diverged": loss or gradient is not a finite number, even at an eighth of the rate.
        """
        with self.writer:
            self._loop()
        self.network.requires_grad_(True)
        fill_network(self.network, self.state.best)
        self.network.eval()
        return self._summary()

    def _loop(self) -> None:
        for callback in self.callbacks:
            callback.on_start()
        while self.state.metrics.updates < self.updates:
            try:
                for rows_B in self._rest_of_epoch():
                    self._update(rows_B)
                    if self.state.metrics.updates in self.looks:
                        self._evaluate()
                    for callback in self.callbacks:
                        callback.on_window_end()
                    if time.monotonic() - self.reported > REPORT_SECONDS:
                        self._report()
            except Divergence as error:
                self._go_back(error)

    def _rest_of_epoch(self) -> Iterator[np.ndarray]:
        """Yield the numbers of the sequences of each update that is left of this epoch, or of the training."""
        made = self.state.metrics.updates
        epoch, done = divmod(made, self.per_epoch)
        draw = np.random.default_rng([self.training.seed, 2, epoch])
        groups = list(self.train.sequences.shuffled(draw, self.training.batch))
        yield from groups[done : done + self.updates - made]

    def _update(self, rows_B: np.ndarray) -> None:
        began, progress = time.perf_counter(), self.state.metrics
        rate = self.state.rates.set(progress.updates, progress.rate_factor)
        norm = update_once(self.state, self.train, rows_B)
        progress.seconds += time.perf_counter() - began
        last = progress.updates == self.updates
        if progress.targets and (last or progress.updates % max(1, self.updates // JOURNAL_LINES) == 0):
            figures = {f"train/{LOSS}": progress.loss / progress.targets, "learning_rate": rate,
                       "gradient_norm": norm, "tokens_per_second": progress.tokens / progress.seconds}  # fmt: skip
            progress.loss, progress.targets = 0.0, 0
            self._write(figures)

    def _evaluate(self) -> None:
        """Measure on validation, keep the weights if they are the best so far, save and report.

        Raises:
            Divergence: The loss is not finite.
        """
        state, progress = self.state, self.state.metrics
        with state.averaged():
            self.network.eval()
            figures = self.model.measure(self.validation)
            if not math.isfinite(loss := figures[LOSS]):
                raise Divergence(f"validation loss {loss}")
            progress.latest, improved = figures, self._rank(figures) < self._rank(progress.best)
            if improved:
                state.best, progress.best, progress.best_update = (
                    network_tensors(self.network), figures, progress.updates
                )  # fmt: skip
        self._write({f"validation/{name}": value for name, value in figures.items()} | {SETTLED: True})
        for callback in self.callbacks:
            callback.on_validation(ValidationResult(loss, improved, True))
        self._report()

    def _go_back(self, error: Divergence) -> None:
        """Go back to the last good state.

        Raises:
            ModelError: kind "diverged": there is none, or this was done too often.
        """
        if not self.callbacks:
            raise ModelError(f"training diverged: {error}; try a smaller training.learning_rate", "diverged") from error
        for callback in self.callbacks:
            callback.on_divergence(error)

    def _report(self) -> None:
        self.reported = time.monotonic()
        total = round(self.training.epochs * len(self.train.sequences.ids_P))
        self.report(FitProgress(self.state.metrics.tokens, total, self.state.metrics.latest))

    def _rank(self, figures: Mapping[str, float]) -> tuple[float, ...]:
        """Return a key that is lower for a better state."""
        if not figures:
            return (math.inf,)
        loss = figures[LOSS]
        return (-figures["macro_f1"], loss) if self.model.spec.choose_by == "macro_f1" else (loss,)

    def _write(self, figures: Mapping[str, float]) -> None:
        if self.journal:
            self.journal.write(self.state.metrics.tokens, figures)

    def _summary(self) -> dict[str, float]:
        progress = self.state.metrics
        return {
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "updates": self.updates,
            "best_update": progress.best_update,
            "seconds": progress.seconds,
            "seconds_per_epoch": progress.seconds * self.per_epoch / self.updates,
            "divergences": progress.divergences,
            **progress.best,
        }
