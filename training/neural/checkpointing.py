"""Save a training, resume it, and go back to the last good state after a divergence.

A checkpoint names the conditions under which two fits can be equal to the last bit. On the CPU, equal options, data and
seeds give equal weights as long as the kernels sum in the same order. That order depends on the release of torch, the
kind of CPU, the number of threads and the number of ranks. Fits with the same values of these are in one class of
determinism. Between classes, weights agree only to rounding; between numbers of ranks, only to rounding and the draws
of dropout.

On a GPU there is no fixed order: the gradients of a row that is read or drawn several times are added in the order in
which the threads finish (`index_add_`, the embedding's gradient). A class names the GPU; fits agree to rounding.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from reviewlm.models.base import ModelError
from reviewlm.training.neural.callbacks import Callback, ValidationResult
from reviewlm.training.neural.checkpoint import Checkpoint, Checkpoints, Journal
from reviewlm.training.neural.state import TrainingState
from reviewlm.training.neural.step import Divergence

log = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 60.0
"""A checkpoint is also written when this time has passed; does not change the result."""
BACK_OFFS = 3
"""Times that a diverged training goes back to a good state with half the rate."""


def determinism_class(device: torch.device, ranks: int = 1) -> dict[str, str | int]:
    """Return the conditions for bit-equal fits: torch, device, instructions, threads, ranks."""
    facts: dict[str, str | int] = {}
    if ranks > 1:
        facts["ranks"] = ranks

    facts["torch"] = torch.__version__
    facts["device"] = device.type
    if device.type == "cuda":
        facts["device"] = torch.cuda.get_device_name(device)

    facts["instructions"] = torch.backends.cpu.get_cpu_capability()
    facts["threads"] = torch.get_num_threads()
    return facts


def in_words(facts: dict[str, str | int]) -> str:
    """Return a class as one line of text."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())


class Checkpointing(Callback):
    """Save the state after each evaluation and every `CHECKPOINT_SECONDS`; resume from the newest checkpoint.

    Args:
        state: Saved and restored. All ranks take part; only the leading rank reads and writes files.
        checkpoints: Of this training, and perhaps of others in the same folder.
        journal: Cut where it ended when the restored state was saved.
        identity: Equal in all checkpoints of this training (JSON values).
    """

    def __init__(
        self,
        state: TrainingState,
        checkpoints: Checkpoints,
        journal: Journal,
        identity: dict[str, Any],
    ) -> None:
        super().__init__(state)
        self.checkpoints = checkpoints
        self.journal = journal
        self.identity = identity
        self.saved = state.ranks.clock()
        self.saved_update = -1

    def on_start(self) -> None:
        """Resume from the newest checkpoint, or write the first one."""
        if saved := self.load():
            self.restore(saved)
            self._compare_class(saved.facts["class"])
            if updates := self.state.metrics.updates:
                log.info(
                    "training goes on after %d of %d updates", updates, self.state.total_updates
                )
            else:
                log.info("training starts from the beginning: there is no checkpoint")
        else:
            self._cut(0)
            self.save(good=True)

    def on_validation(self, measured: ValidationResult) -> None:
        """Save; this callback comes after those that change the state."""
        self.save(measured.good)

    def on_window_end(self) -> None:
        """Save if enough time has passed on the leading rank, unless it was done after the evaluation."""
        fresh = self.saved_update == self.state.metrics.updates
        if not fresh and self.state.ranks.clock() - self.saved > CHECKPOINT_SECONDS:
            self.save(good=False)

    def save(self, good: bool) -> None:
        """Write a checkpoint, after the one before; training may go back to a *good* one."""
        self.state.settle()
        tensors = self.state.tensors()
        if self.state.ranks.leads:
            facts = {
                "journal": self.journal.length,
                "identity": self.identity,
                "class": self._class(),
            }
            self.checkpoints.save(tensors, self.state.facts() | facts, good)

        self.saved = self.state.ranks.clock()
        self.saved_update = self.state.metrics.updates

    def load(self, good: bool = False) -> Checkpoint | None:
        """Return the newest checkpoint of this training (with *good*: the newest good one), or None."""
        ranks = self.state.ranks
        return ranks.same(self.checkpoints.load(self._require_own, good) if ranks.leads else None)

    def restore(self, saved: Checkpoint) -> None:
        """Make state and journal what they were when the checkpoint was written."""
        self._cut(saved.facts["journal"])
        self.state.fill(saved)

    def _cut(self, length: int) -> None:
        if self.state.ranks.leads:
            self.journal.cut(length)

    def _require_own(self, saved: Checkpoint) -> None:
        if saved.facts["identity"] != self.identity:
            raise ValueError("it belongs to another training")
        if self.journal.size() < saved.facts["journal"]:
            raise ValueError("the journal has become shorter since")
        self.state.require_weights(saved)

    def _class(self) -> dict[str, str | int]:
        return determinism_class(self.state.device, self.state.ranks.size)

    def _compare_class(self, before: dict[str, str | int]) -> None:
        """Warn if the bits of the result may differ from those of an uninterrupted training."""
        if before != (now := self._class()):
            self.state.metrics.class_changes += 1
            log.warning(
                "training goes on with %s after %s: the weights will match those of an uninterrupted training "
                "up to rounding, not bit for bit",
                in_words(now),
                in_words(before),
            )


class BackOff(Callback):
    """Go back to the last good state with half the learning rate after a divergence, a few times."""

    def __init__(self, state: TrainingState, checkpointing: Checkpointing) -> None:
        super().__init__(state)
        self.checkpointing = checkpointing

    def on_divergence(self, error: Divergence) -> None:
        """Go back.

        Raises:
            ModelError: kind "diverged": it has gone back `BACK_OFFS` times before.
        """
        before = self.state.metrics
        training = self.state.training
        times = before.divergences + 1
        rate = training.learning_rate * before.rate_factor
        saved = self.checkpointing.load(good=True)
        if times > BACK_OFFS or saved is None:
            raise ModelError(
                f"Training diverged after {before.tokens} tokens ({error}), {times} times in all; the last peak "
                f"learning rate was {rate:g}. Set training.learning_rate (now {training.learning_rate:g}) lower "
                f"than that, or training.clip (now {training.clip}) lower",
                "diverged",
            )

        log.warning(
            "%s; back to the last good state with half the learning rate. If this happens again, set "
            "training.learning_rate (now %g) lower",
            error,
            training.learning_rate,
        )
        self.checkpointing.restore(saved)
        metrics = self.state.metrics
        metrics.divergences = times
        metrics.rate_factor = 0.5**times
        metrics.keep_machine(before)
        self.checkpointing.save(good=True)
