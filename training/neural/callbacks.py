"""Define the moments of a training at which callbacks act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reviewlm.training.neural.state import TrainingState
from reviewlm.training.neural.step import Divergence

if TYPE_CHECKING:
    from reviewlm.training.neural.batches import Window


@dataclass(frozen=True)
class ValidationResult:
    """The result of one evaluation on held-out reviews.

    Args:
        nats: Per scored token, or what else chooses the best state: lower is better.
        improved: It is the lowest so far.
        good: Training may go back to these weights after a divergence.
        figures: For the journal.
    """

    nats: float
    improved: bool
    good: bool
    figures: Mapping[str, float] = field(default_factory=dict)


class Callback:
    """Base class: does nothing at any moment.

    Args:
        state: Of the training; all its callbacks act on this one object.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state = state

    def on_start(self) -> None:
        """Act before the first window, of a new training and of a resumed one."""

    def on_update(self, window: Window) -> None:
        """Act after an update by *window*."""

    def on_validation(self, measured: ValidationResult) -> None:
        """Act after an evaluation, which follows the update."""

    def on_window_end(self) -> None:
        """Act when update and evaluation are done: all that changes is in the state, so it can be saved."""

    def on_divergence(self, error: Divergence) -> None:
        """Act after an update or an evaluation that failed; the state may be unusable."""

    def on_end(self) -> None:
        """Act after the last window."""
