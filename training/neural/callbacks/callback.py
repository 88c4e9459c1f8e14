"""Define the moments of a training at which callbacks act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from training.neural.step import Divergence

if TYPE_CHECKING:
    from training.neural.batches import Window

State = TypeVar("State")


@dataclass(frozen=True)
class ValidationResult:
    """The result of one evaluation on held-out reviews.

    Args:
        nats: Per scored token.
        improved: It is the lowest so far.
        good: Training may go back to these weights after a divergence.
    """

    nats: float
    improved: bool
    good: bool


class Callback(Generic[State]):
    """Base class: does nothing at any moment.

    Args:
        state: Of the training; all its callbacks act on this one object.
    """

    def __init__(self, state: State) -> None:
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
