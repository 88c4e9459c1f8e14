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
