"""Re-run the gate if the champion changed while it was being scored."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tracking.registry.registry import ChampionChanged

log = logging.getLogger(__name__)
ATTEMPTS = 5
"""Maximum number of decisions. Each retry means that another gate promoted a model during one scoring."""
Judged = TypeVar("Judged")
Measured = TypeVar("Measured")


def judge_registered(
    measure: Callable[[], Measured], register: Callable[[Measured], int | None],
    decide: Callable[[Measured, int | None], Judged],
) -> Judged:  # fmt: skip
    """Return the result of *decide*; start again, with the new champion, if the champion changes.

    Args:
        measure: Returns the champion, measured on the challenger's test reviews.
        register: Registers the challenger and returns its version; None if it is the champion itself.
        decide: Decides about this version and carries it out.
    """
    registered: int | None = None

    def judge() -> Judged:
        nonlocal registered
        champion = measure()
        # In a second round, another gate may have made an equal bundle champion: then `register` returns None. Decide
        # on the version of the first round all the same, or it would keep the alias `challenger` for ever.
        registered = register(champion) or registered
        return decide(champion, registered)

    return retry_on_champion_change(judge)


def retry_on_champion_change(judge: Callable[[], Judged]) -> Judged:
    """Return the result of *judge*, which scores the current champion and decides; retry if the champion changes.

    Raises:
        ChampionChanged: The champion changed during each of `ATTEMPTS` decisions.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return judge()
        except ChampionChanged as error:
            if attempt == ATTEMPTS:
                raise
            log.warning("the champion has changed since it was scored (%s); running the gate again", error.value)
    raise AssertionError("unreachable")
