"""Train a classifier or tagger: shuffled batches of whole sequences, the best of several states on held-out examples.

The order of an epoch follows from the seed and the epoch, rates from the number of the update, and torch's random
stream is in each checkpoint. So a training that was killed at any moment and is started again with the same work folder
gives the same weights, bit for bit, and the same journal, on the CPU and within one class of determinism
(`models/neural/training/determinism.py`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ...base import CHECKPOINTS, FitProgress, ModelError
from ...options import stored
from ..training.checkpoint import (
    Checkpoint,
    Checkpoints,
    Journal,
    fill_network,
    fill_optimizer,
    network_tensors,
    optimizer_tensors,
    prefixed,
    random_tensors,
    require_weights,
    set_random,
    without_prefix,
)
from ..training.determinism import determinism_class, in_words
from .fine_tuning import FineTuning, Rates
from .labelled_sequences import LabelledSequences
from .labeller import Labeller
from .step import Update, update_once

CHECKPOINT_SECONDS = 60.0
"""A checkpoint is also written when this time has passed; does not change the result."""
JOURNAL_LINES = 200
"""Points of each training curve, at most."""
log = logging.getLogger(__name__)


@dataclass
class LabellerProgress:
    """The numbers of a training that a checkpoint holds.

    Args:
        updates: Done so far.
        read: Tokens, or features, read by them.
        seconds: Spent on updates.
        loss: Sum of the losses since the last line of the journal.
        targets: Number of these.
        best: Figures of the best evaluation; empty before the first one with a finite loss.
        best_update: Updates done at that evaluation.
    """

    updates: int = 0
    read: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    targets: int = 0
    best: dict[str, float] = field(default_factory=dict)
    best_update: int = 0

    def count(self, update: Update, read: int, seconds: float) -> None:
        """Add one update."""
        self.updates += 1
        self.read += read
        self.seconds += seconds
        self.loss += update.loss
        self.targets += update.targets


class Trainer:
    """One training.

    Args:
        model: With its initial weights; the weights of the best evaluation are put into its network.
        train: Training examples.
        validation: Examples that choose the state.
        work: Folder of checkpoints and journal; None: neither is written.
        report: Called after each evaluation with its figures; steps are tokens read.
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
        self.rates = Rates(self.network, self.training, self.updates, self.per_epoch, tuning)
        self.progress, self.best, self.saved = LabellerProgress(), network_tensors(self.network), time.monotonic()
        self.journal = Journal(work) if work else None
        self.checkpoints = Checkpoints(work / CHECKPOINTS) if work else None
        self.identity = self._identity(tuning) if work else {}

    def run(self) -> dict[str, float]:
        """Make all updates that are left and put the best weights into the network; return the summary.

        Raises:
            ModelError: kind "diverged": a loss or gradient is not a finite number.
        """
        self._resume()
        while self.progress.updates < self.updates:
            for rows_B in self._rest_of_epoch():
                self._update(rows_B)
                if self.progress.updates in self.looks:
                    self._evaluate()
                    self._save()
                elif time.monotonic() - self.saved > CHECKPOINT_SECONDS:
                    self._save()
        self.network.requires_grad_(True)
        if not self.progress.best:
            raise ModelError("no evaluation had a finite loss: try a smaller training.learning_rate", "diverged")
        fill_network(self.network, self.best)
        self.network.eval()
        return self._summary()

    def _rest_of_epoch(self) -> Iterator[np.ndarray]:
        """Yield the numbers of the sequences of each update that is left of this epoch, or of the training."""
        epoch, done = divmod(self.progress.updates, self.per_epoch)
        draw = np.random.default_rng([self.training.seed, 2, epoch])
        groups = list(self.train.sequences.shuffled(draw, self.training.batch))
        yield from groups[done : done + self.updates - self.progress.updates]

    def _update(self, rows_B: np.ndarray) -> None:
        began, progress, spec = time.perf_counter(), self.progress, self.model.spec
        rate = self.rates.set(progress.updates)
        self.network.train()
        batch, targets = self.train.sequences.batch(rows_B), self.train.of_rows(spec, rows_B)
        found = update_once(self.network, self.rates.optimizer, batch, targets, spec, progress.updates)
        progress.count(found, batch.size(), time.perf_counter() - began)
        last = progress.updates == self.updates
        if progress.targets and (last or progress.updates % max(1, self.updates // JOURNAL_LINES) == 0):
            figures = {f"train/{spec.loss}": progress.loss / progress.targets, "learning_rate": rate,
                       "gradient_norm": found.norm, "tokens_per_second": progress.read / progress.seconds}  # fmt: skip
            progress.loss, progress.targets = 0.0, 0
            self._write(figures)

    def _evaluate(self) -> None:
        """Measure on validation, keep the weights if they are the best so far, and report."""
        self.network.eval()
        figures, progress = self.model.measure(self.validation), self.progress
        if math.isfinite(figures[self.model.spec.loss]) and self._rank(figures) < self._rank(progress.best):
            self.best, progress.best, progress.best_update = network_tensors(self.network), figures, progress.updates
        self._write({f"validation/{name}": value for name, value in figures.items() if math.isfinite(value)})
        self.report(FitProgress(progress.read, round(self.training.epochs * len(self.train.sequences.ids_P)), figures))

    def _rank(self, figures: Mapping[str, float]) -> tuple[float, ...]:
        """Return a key that is lower for a better state."""
        if not figures:
            return (math.inf,)
        loss = figures[self.model.spec.loss]
        return (-figures["macro_f1"], loss) if self.model.spec.choose_by == "macro_f1" else (loss,)

    def _write(self, figures: Mapping[str, float]) -> None:
        if self.journal:
            self.journal.write(self.progress.read, figures)

    def _summary(self) -> dict[str, float]:
        progress = self.progress
        return {
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "updates": self.updates,
            "best_update": progress.best_update,
            "seconds": progress.seconds,
            "seconds_per_epoch": progress.seconds * self.per_epoch / self.updates,
            **progress.best,
        }

    def _save(self) -> None:
        self.saved = time.monotonic()
        if self.checkpoints and self.journal:
            tensors = {
                **prefixed("network", network_tensors(self.network)),
                **prefixed("best", self.best),
                **prefixed("optimizer", optimizer_tensors(self.rates.optimizer)),
                **prefixed("random", random_tensors(self.network.device)),
            }
            facts = {"progress": asdict(self.progress), "journal": self.journal.length, "identity": self.identity,
                     "class": determinism_class(self.network.device)}  # fmt: skip
            self.checkpoints.save(tensors, facts, good=True)

    def _resume(self) -> None:
        """Restore the newest checkpoint of this training, if there is one; else begin a new journal."""
        if not (self.checkpoints and self.journal):
            return
        found = self.checkpoints.load(self._require_own)
        if found is None:
            self.journal.cut(0)
            return
        self.journal.cut(found.facts["journal"])
        self.progress = LabellerProgress(**found.facts["progress"])
        self.best = without_prefix("best", found.tensors)
        fill_network(self.network, without_prefix("network", found.tensors))
        fill_optimizer(self.rates.optimizer, without_prefix("optimizer", found.tensors))
        set_random(without_prefix("random", found.tensors), self.network.device)
        log.info("training resumes after %d of %d updates", self.progress.updates, self.updates)
        before, now = found.facts["class"], determinism_class(self.network.device)
        if before != now:
            log.warning("training resumes with %s after %s: the weights will match those of an uninterrupted training "
                        "up to rounding, not bit for bit", in_words(now), in_words(before))  # fmt: skip

    def _require_own(self, found: Checkpoint) -> None:
        if found.facts["identity"] != self.identity:
            raise ValueError("it belongs to another training")
        if self.journal and self.journal.size() < found.facts["journal"]:
            raise ValueError("the journal has become shorter since")
        for name in ("network", "best"):
            require_weights(self.network, without_prefix(name, found.tensors))

    def _identity(self, tuning: FineTuning | None) -> dict[str, Any]:
        """Return the values that must be equal in a checkpoint and this training, as JSON values."""
        options = {name: value for name, value in stored(self.model.spec).items() if name not in ("name", "vocabulary")}
        initial = hashlib.sha256()
        for name, tensor in sorted(self.best.items()):
            initial.update(name.encode() + tensor.numpy().tobytes())
        values = {"spec": options, "tuning": asdict(tuning) if tuning else None, "initial": initial.hexdigest(),
                  "data": [_digest(self.train), _digest(self.validation)]}  # fmt: skip
        return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def _digest(examples: LabelledSequences) -> str:
    """Return the SHA-256 of all numbers of labelled sequences."""
    found = hashlib.sha256()
    rows = examples.sequences
    for array in (*(getattr(rows, entry.name) for entry in fields(rows)), examples.targets):
        found.update(f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).data)
    return found.hexdigest()
