"""Pause a training when the time left is just enough for its learning rate to decay, so that it ends on time.

A trapezoid's rate does not depend on the number of updates before its decay begins. So the training may decide there,
by the clock, how many updates it will have: those made so far and the decay that belongs to them. `shorten_training`
gives the options of exactly that training. A training with these options from the first update on makes the same
weights, bit for bit, and so does one that resumes from the state at which the paced one stopped.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from reviewlm.training.context import Pace
from reviewlm.training.neural.batches import Plan
from reviewlm.training.neural.learning_rates import DECAY, decay_start
from reviewlm.training.neural.state import TrainingState

if TYPE_CHECKING:
    from reviewlm.models.neural.spec import TrainingSpec
    from reviewlm.training.neural.batches import Window
from reviewlm.training.neural.callbacks import Callback, ValidationResult

EVALUATION_SHARE = 0.05
"""Share of the time that evaluations may take."""
WARM_UPDATES = 20
"""Updates before the speed is judged; the first ones are slower."""
MOST_SLOWNESS = 2.5
"""What follows is never planned to take more than this many times as long as expected, nor this many times less."""
NOTICE = 0.005
"""Rise of the validation loss, in nats per token, that counts as no improvement."""


class Paused(Exception):
    """Raised when the decay has to begin; `why` is "time", "validation" or "end" (of the longest training allowed)."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Pacing(Callback):
    """Raise `Paused` when the time left is what decay and final evaluation need, or validation improves no more.

    Args:
        state: Of a training with the schedule "trapezoid".
        plan: Its windows; evaluations are spread over the time instead of over the updates.
        pace: Time, and evaluations without improvement after which the decay begins.
    """

    def __init__(
        self,
        state: TrainingState,
        plan: Plan,
        pace: Pace,
    ) -> None:
        super().__init__(state)
        self.plan = plan
        self.pace = pace
        self.begun = time.monotonic()
        self.evaluated = 0.0
        self.nats = [float("inf")]
        self.made = 0
        self.first = 0.0
        self.updated = 0.0
        self.evaluation_seconds = 0.0

    def on_start(self) -> None:
        """Continue the clock of an earlier process where its updates ended."""
        self.plan.evaluations.clear()
        self.begun = time.monotonic() - self.state.metrics.seconds
        self.evaluated = self.state.metrics.seconds

    @property
    def elapsed_seconds(self) -> float:
        """Seconds of this training so far."""
        return time.monotonic() - self.begun

    def on_update(self, window: Window) -> None:
        """Note when the update was done."""
        self.updated = self.elapsed_seconds

    def on_validation(self, measured: ValidationResult) -> None:
        """Note the loss, and what the evaluation took."""
        self.evaluated = self.elapsed_seconds
        self.evaluation_seconds = self.evaluated - self.updated
        self.nats.append(measured.nats)

    def on_window_end(self) -> None:
        """Decide whether the next update may still have the full rate."""
        done = self.state.metrics.updates
        elapsed = self.elapsed_seconds
        ranks = self.state.ranks
        self.made += 1
        if self.made == 1:  # slower than the others
            self.first = elapsed
            return

        # The seconds of an update include its share of the evaluations.
        update_seconds = (elapsed - self.first) / (self.made - 1)
        if ranks.decide(done >= decay_start(self.state.training, self.state.total_updates)):
            self._pause("end")

        if ranks.decide(self.made < WARM_UPDATES and elapsed < self.pace.seconds / 2):
            return  # too early to know the speed

        after = (updates_with_decay(done) - done) * update_seconds + self._afterwards()
        if ranks.decide(elapsed + after >= self.pace.seconds):
            self._pause("time")

        if ranks.decide(self._stuck()):
            self._pause("validation")

        pause = max(
            self.pace.seconds / self.pace.evaluations, self.evaluation_seconds / EVALUATION_SHARE
        )
        if ranks.decide(elapsed - self.evaluated >= pause):
            self.plan.evaluations.add(done + 1)

    def _pause(self, why: str) -> NoReturn:
        self.state.settle()  # a divergence comes first
        raise Paused(why)

    def _afterwards(self) -> float:
        """Return the seconds of what follows the training, if the machine stays as busy as it was in the updates."""
        metrics = self.state.metrics
        # Tokens per second of the median update.
        speed = metrics.tokens / max(1, metrics.updates) / max(metrics.step_seconds(0.5), 1e-9)
        slowness = self.pace.tokens_per_second / max(speed, 1e-9) or 1.0
        likely = slowness if slowness > 1 else slowness**0.5  # the quiet may not last
        return self.pace.after * min(MOST_SLOWNESS, max(1 / MOST_SLOWNESS, likely))

    def _stuck(self) -> bool:
        since = len(self.nats) - 1 - self.nats.index(min(self.nats))
        return since >= self.pace.patience and self.nats[-1] > min(self.nats) + NOTICE

    def expected_updates(self) -> int:
        """Return the number of updates of the whole training at the speed so far."""
        done = max(1, self.state.metrics.updates)
        seconds = self.pace.seconds - self._afterwards()
        return min(
            self.state.total_updates,
            max(done + 1, round(done * seconds / max(self.elapsed_seconds, 1e-3))),
        )


def updates_with_decay(steady: int) -> int:
    """Return the smallest number of updates of a trapezoid whose decay begins after *steady* updates or later."""
    total = max(steady + 1, int((steady - 0.5) / (1 - DECAY)))
    while total - round(DECAY * total) < steady:
        total += 1
    return total


def shorten_training(
    training: TrainingSpec,
    plan: Plan,
    steady: int,
) -> TrainingSpec:
    """Return the options of the training whose first *steady* updates are those of *training*, and then decays.

    Args:
        training: Trapezoid.
        plan: Its windows.
        steady: Number of updates made, none of them in its decay.
    """
    warm = round(training.warmup * plan.updates)
    updates = min(plan.updates, updates_with_decay(max(steady, warm)))
    return replace(training, epochs=plan.epochs_of(updates), warmup=warm / updates)
