"""Show the stages of a finished run: its steps, their times, and how much was re-used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reviewlm import terminal
from reviewlm.shown.layout import for_stdout

if TYPE_CHECKING:
    from tasks.stage import RunRecord, StageRun

TOGETHER = "\u00a0"
"""Space where no line break may be."""
NAMED = frozenset({"fit"})
"""Stages of which each one is shown by its label, not their sum."""


def show_stages(record: RunRecord, seconds: float) -> None:
    """Write how many results were re-used and how long the run took; if any was built, also each step with its stages.

    A result is what one stage made of one thing, e.g. the scores of a model; it counts in the step that asked first.

    Args:
        seconds: From the start of the command, with the time in which libraries and servers start.
    """
    from tasks.progress import duration

    results = list({(one.stage, one.label): one for one in reversed(record.stages)}.values())[::-1]
    built = [one for one in results if not one.reused]
    if not results:
        return
    reused = len(results) - len(built)
    count = f"{reused} of {len(results)} results re-used" if reused else f"{len(results)} results"
    terminal.say(f"{count}, {duration(seconds)}")
    if not built:
        return
    rest = max(0.0, seconds - sum(record.steps.values()))
    rows = [(name, took, _parts(results, name)) for name, took in record.steps.items()]
    alone = _parts(results, "")  # stages that no step has asked for
    rows.append(("other", rest, f"{alone}{', ' if alone else ''}libraries and servers start, MLflow is written"))
    for place, (name, took, parts) in enumerate(rows):
        branch = "└─" if place == len(rows) - 1 else "├─"
        head = f"{branch} {name:<9} {duration(took):>12}  "
        line = for_stdout((head + parts).rstrip(), len(head) - len(branch) - 1)
        terminal.say(line.replace(TOGETHER, " "), whole=True)


def _parts(stages: Sequence[StageRun], step: str) -> str:
    """Return the stages of a step that were built, with their seconds, and the number of those that were re-used."""
    from tasks.progress import duration

    own = [one for one in stages if one.step == step]
    sums: dict[str, list[float]] = {}
    for one in own:
        if not one.reused:
            sums.setdefault(one.label if one.stage in NAMED else one.stage, []).append(one.seconds)
    parts = [
        f"{name}{f' ×{len(took)}' if len(took) > 1 else ''} {_short(sum(took)) or duration(sum(took))}"
        for name, took in sums.items()
    ]
    if reused := sum(one.reused for one in own):
        parts.append(f"{reused} re-used")
    return ", ".join(part.replace(" ", TOGETHER) for part in parts)


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else ""
