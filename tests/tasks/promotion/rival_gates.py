"""A gate in a process of its own: challengers are numbers, and the better one has the larger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reviewlm.tasks.promotion.promote import retry_on_champion_change
from reviewlm.tracking.registry.versions import CHAMPION
from tests.tracking.registry.registry_drill import opened


def judge_challenger(
    home: Path,
    machine: str,
    version: int,
    worth: dict[int, int],
    barrier: Any,
) -> None:
    """Hold a challenger against the champion until a decision stands.

    Args:
        home: With the registry's database.
        machine: Whose lock file to use.
        version: The challenger.
        worth: Of each version.
        barrier: Makes both gates compare with the same champion first.
    """
    registry, attempts = opened(home, machine), []

    def judge() -> None:
        champion = registry.alias(CHAMPION)
        assert champion is not None
        if not attempts:
            barrier.wait(60)
        attempts.append(champion.version)
        promote = worth[version] > worth[champion.version]
        tags = {
            "gate/outcome": "promoted" if promote else "refused",
            "gate/reason": f"against {champion.version}",
        }
        registry.settle(
            version,
            champion.version,
            promote,
            "",
            tags,
            run_id=f"run of {version}",
        )

    retry_on_champion_change(judge)
