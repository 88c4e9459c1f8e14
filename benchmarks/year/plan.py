"""Schedule the planted failures of the year in fast motion: which failure happens in which week."""

from __future__ import annotations

from dataclasses import dataclass

CRASH = "crash"
CRASH_WITH_WORKER = "crash with worker"
POISON = "poison"
FULL_DISK = "full disk"
BAD_MODEL = "bad model"
OTHER_CITY = "other city"
CHECKED_EVERY = 4
"""Weeks between two runs of the deployment `drift`."""


@dataclass(frozen=True)
class YearPlan:
    """What is planted in which week; weeks count from 1.

    Args:
        weeks: Number of weeks.
        reviews: New reviews of each week.
        archive: Older reviews, which are there from the start.
    """

    weeks: int = 52
    reviews: int = 150
    archive: int = 4_000

    def planted(self, week: int) -> str:
        """Return what is planted in a week; empty: nothing.

        Every fourth week from the third on the process of the run is killed, every second time with its worker.
        """
        once = {
            17: POISON,
            24: FULL_DISK,
            29: OTHER_CITY,
            37: BAD_MODEL,
        }
        if week in once:
            return once[week]
        return "" if week % 4 != 3 else (CRASH_WITH_WORKER if week % 8 == 7 else CRASH)

    def is_checked(self, week: int) -> bool:
        """Return whether the new reviews of a week are tested for drift before the retrain."""
        return week > 1 and week % CHECKED_EVERY == 1
