"""Save a training, resume it, and go back to the last good state after a divergence."""

from __future__ import annotations

import logging
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from models.base import ModelError
from models.neural.training_spec import TrainingSpec
from training.neural.callbacks.callback import Callback, ValidationResult
from training.neural.callbacks.checkpoint_writer import CheckpointWriter
from training.neural.checkpoint import Checkpoint, Checkpoints, Journal
from training.neural.determinism import announcement, determinism_class, in_words
from training.neural.parallel.data_parallel import Ranks
from training.neural.step import Divergence

CHECKPOINT_SECONDS = 60.0
"""A checkpoint is also written when this time has passed; does not change the result."""
BACK_OFFS = 3
"""Times that a diverged training goes back to a good state with half the rate."""
log = logging.getLogger(__name__)


class ResumableNumbers(Protocol):
    """The numbers of a training that saving and going back need."""

    updates: int
    tokens: int
    divergences: int
    rate_factor: float
    class_changes: int

    def keep_machine(self, before: Any) -> None:
        """Take over what describes this machine from the numbers before a divergence."""


class ResumableState(Protocol):
    """The state of a training that can be saved: see `TrainingState`, and `LabellerState` of classifiers."""

    device: torch.device
    ranks: Ranks
    total_updates: int
    training: TrainingSpec

    @property
    def metrics(self) -> ResumableNumbers:
        """The numbers that the functions of this module read and write."""

    def settle(self) -> None:
        """Count the last update if its figures have not been read yet."""

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name."""

    def facts(self) -> dict[str, Any]:
        """Return all numbers as JSON values."""

    def require_weights(self, found: Checkpoint) -> None:
        """Raise ValueError unless a checkpoint holds all weights."""

    def fill(self, found: Checkpoint) -> None:
        """Restore the results of `tensors` and `facts`."""


AnyState = TypeVar("AnyState", bound=ResumableState)


class Checkpointing(Callback[AnyState]):
    """Save the state after each evaluation and every `CHECKPOINT_SECONDS`; resume from the newest checkpoint.

    On a GPU a thread writes the checkpoints (`checkpoint_writer.py`), so a training must be within the writer's block.

    Args:
        state: Saved and restored. All ranks take part; only the leading rank reads and writes files.
        checkpoints: Of this training, and perhaps of others in the same folder.
        journal: Cut where it ended when the restored state was saved.
        identity: Equal in all checkpoints of this training (JSON values).

    Attributes:
        writer: Writes the checkpoints.
    """

    def __init__(
        self, state: AnyState, checkpoints: Checkpoints, journal: Journal, identity: dict[str, Any]
    ) -> None:
        super().__init__(state)
        self.checkpoints, self.journal, self.identity = checkpoints, journal, identity
        self.writer = CheckpointWriter(checkpoints)
        self.saved, self.saved_update = state.ranks.clock(), -1

    def on_start(self) -> None:
        """Resume from the newest checkpoint, or write the first one."""
        log.debug("%s", announcement(self._class()))
        if found := self.load():
            self.restore(found)
            self._compare_class(found.facts["class"])
            if updates := self.state.metrics.updates:
                log.info("training resumes after %d of %d updates", updates, self.state.total_updates)
            else:
                log.info("training starts from the beginning: there is no checkpoint")
        else:
            self._cut(0)
            self.save(good=True)
            # On a GPU the first update captures a CUDA graph, and no other thread may call CUDA meanwhile.
            self.writer.finish()

    def on_validation(self, measured: ValidationResult) -> None:
        """Save; this callback comes after those that change the state."""
        self.save(measured.good)

    def on_window_end(self) -> None:
        """Save if enough time has passed on the leading rank, unless it was done after the evaluation."""
        self.writer.look()
        fresh = self.saved_update == self.state.metrics.updates
        if not fresh and self.state.ranks.clock() - self.saved > CHECKPOINT_SECONDS:
            self.save(good=False)

    def save(self, good: bool) -> None:
        """Write a checkpoint, after the one before; training may go back to a *good* one."""
        self.state.settle()
        tensors = self.state.tensors()
        if self.state.ranks.leads:
            own = {"journal": self.journal.length, "identity": self.identity, "class": self._class()}
            self.writer.write(tensors, self.state.facts() | own, good, self.state.device)
        self.saved, self.saved_update = self.state.ranks.clock(), self.state.metrics.updates

    def load(self, good: bool = False) -> Checkpoint | None:
        """Return the newest checkpoint of this training (with *good*: the newest good one), or None."""
        ranks = self.state.ranks
        self.writer.finish()
        return ranks.same(self.checkpoints.load(self._require_own, good) if ranks.leads else None)

    def restore(self, found: Checkpoint) -> None:
        """Make state and journal what they were when the checkpoint was written."""
        self._cut(found.facts["journal"])
        self.state.fill(found)

    def _cut(self, length: int) -> None:
        if self.state.ranks.leads:
            self.journal.cut(length)

    def _require_own(self, found: Checkpoint) -> None:
        if found.facts["identity"] != self.identity:
            raise ValueError("it belongs to another training")
        if self.journal.size() < found.facts["journal"]:
            raise ValueError("the journal has become shorter since")
        self.state.require_weights(found)

    def _class(self) -> dict[str, str | int]:
        return determinism_class(self.state.device, self.state.ranks.size)

    def _compare_class(self, before: dict[str, str | int]) -> None:
        """Warn if the bits of the result may differ from those of an uninterrupted training."""
        if before != (now := self._class()):
            self.state.metrics.class_changes += 1
            log.warning("training resumes with %s after %s: the weights will match those of an uninterrupted training "
                        "up to rounding, not bit for bit", in_words(now), in_words(before))


class BackOff(Callback[AnyState]):
    """Go back to the last good state with half the learning rate after a divergence, a few times."""

    def __init__(self, state: AnyState, checkpointing: Checkpointing[AnyState]) -> None:
        super().__init__(state)
        self.checkpointing = checkpointing

    def on_divergence(self, error: Divergence) -> None:
        """Go back.

        Raises:
            ModelError: kind "diverged": it has gone back `BACK_OFFS` times before.
        """
        before, training = self.state.metrics, self.state.training
        times, rate = before.divergences + 1, training.learning_rate * before.rate_factor
        found = self.checkpointing.load(good=True)
        if times > BACK_OFFS or found is None:
            raise ModelError(
                f"Training diverged after {before.tokens} tokens ({error}), {times} times in all; the last peak "
                f"learning rate was {rate:g}. Set training.learning_rate (now {training.learning_rate:g}) lower "
                f"than that, or training.clip (now {training.clip}) lower",
                "diverged",
            )
        log.warning("%s; back to the last good state with half the learning rate. If this happens again, set "
                    "training.learning_rate (now %g) lower", error, training.learning_rate)  # fmt: skip
        self.checkpointing.restore(found)
        metrics = self.state.metrics
        metrics.divergences, metrics.rate_factor = times, 0.5**times
        metrics.keep_machine(before)
        self.checkpointing.save(good=True)
