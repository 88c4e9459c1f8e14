"""Estimate when a full queue takes new work, so that refused clients come back neither too soon nor all at once."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

LONGEST = 60.0
"""Most seconds of a Retry-After: OpenAI's client takes a longer time for a mistake and comes back after half a second.
So long, too, lie the requests refused before that are counted: nobody knows whether their clients come back."""
SHORTEST = 1.0
"""Least seconds: Retry-After has no fractions."""
WEIGHT = 1 / 16
"""Share of the newest measurement in a mean."""


class Mean:
    """A mean in which every new measurement has the same weight, so that old ones are forgotten.

    Args:
        value: What is assumed until the first measurement.
    """

    def __init__(self, value: float) -> None:
        self.value = value
        self._measured = False

    def add(self, value: float) -> None:
        """Take a measurement in; the first one replaces what was assumed."""
        if self._measured:
            self.value += (value - self.value) * WEIGHT
        else:
            self.value = value
            self._measured = True


class Appointments:
    """Give each refused request the time when the queue and the requests refused before it will be done.

    Without the second part, all that were refused would come back at the same moment, and most be refused again.

    Args:
        clock: Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._next = 0.0

    def seconds(self, queue: float, own: float) -> float:
        """Return the seconds after which there will be room for a refused request; they may exceed `LONGEST`.

        Args:
            queue: Seconds that the work in the queue takes.
            own: Seconds that the refused request takes.
        """
        now = self._clock()
        begin = max(now + queue, self._next)
        self._next = min(begin + own, now + LONGEST)
        return max(begin - now, SHORTEST)
