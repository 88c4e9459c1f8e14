"""Compare the recorded steps of a version with the rebuilt ones, and conclude a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from core.lineage.record import Lineage, Step
from core.manifest import canonical, flat, to_json
from core.provenance import made_with

FIGURES = {"score": ("open_bits_per_byte", "bits_per_byte", "perplexity"), "predict": ("accuracy",)}
"""Figures among the facts of a stage that measures a model."""
EQUAL, CLOSE, DIFFERENT = "bit-equal", "figures agree", "differs"


@dataclass(frozen=True)
class StepComparison:
    """A step as recorded and as made again.

    Args:
        stage: Its stage.
        label: Distinguishes it from other steps of the stage.
        digest: As recorded.
        files: Names of the files that differ; empty if the step is bit-equal.
        identity: Differences of version, options and inputs, one sentence each.
        seconds_then: Recorded duration.
        seconds_now: Duration of the step made again.
        figures: Of a stage that measures the model: name to recorded and new figure.
    """

    stage: str
    label: str
    digest: str
    files: tuple[str, ...]
    identity: tuple[str, ...]
    seconds_then: float
    seconds_now: float
    figures: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether the bytes are the same."""
        return not self.files


def compare(then: Step, now: Step, label: str = "") -> StepComparison:
    """Compare a step that was made again with the record of it."""
    figures = {
        name: (float(then.facts[name]), float(now.facts[name]))
        for name in FIGURES.get(then.stage, ())
        if name in then.facts and name in now.facts
    }
    return StepComparison(
        then.stage, label, then.digest, changed_files(then, now), changed_identity(then, now), then.seconds,
        now.seconds, figures,
    )


def changed_files(then: Step, now: Step) -> tuple[str, ...]:
    """Return the names of files of the result that differ, are new or are missing."""
    before, after = then.hashes, now.hashes
    return tuple(name for name in sorted({*before, *after}) if before.get(name) != after.get(name))


def changed_identity(then: Step, now: Step) -> tuple[str, ...]:
    """Return the differences of version, options and inputs between two steps of one stage, one sentence each."""
    differences = [f"version {then.version} then, {now.version} now"] if then.version != now.version else []
    for what in ("options", "inputs"):
        before, after = (flat(to_json(getattr(step, what))) for step in (then, now))
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                differences.append(f"{what}: {name} {_shown(before, name)} then, {_shown(after, name)} now")
    return tuple(differences)


def _shown(values: Mapping[str, Any], name: str) -> str:
    return canonical(values[name])[:60] if name in values else "none"


def code_then(lineage: Lineage) -> dict[str, Any]:
    """Return the commit of the recorded code, and whether the present code is the same."""
    then = lineage.step(lineage.fit).environment
    return {"git_commit": then.get("git_commit", ""), "same_code": then.get("code") == made_with()["code"]}


def conclude(
    lineage: Lineage, compared: Sequence[StepComparison], platform: Sequence[str], tolerance: float
) -> dict[str, Any]:
    """Return the verdict and the evidence for it.

    The verdict is "bit-equal", "figures agree" (only on another platform) or "differs".

    Args:
        compared: The steps that were made again, in order; on the same platform, none after the first that differs.
        platform: Differences of the platforms, one sentence each; empty if there are none.
        tolerance: Largest relative difference of a figure that counts as agreement on another platform.
    """
    first = next((step for step in compared if not step.equal), None)
    figures: list[dict[str, Any]] = [
        {"split": step.label, "figure": name, "then": then, "now": now}
        for step in compared
        for name, (then, now) in step.figures.items()
    ]
    verdict = EQUAL if first is None and len(compared) == len(lineage.steps) else DIFFERENT
    close = [abs(row["now"] - row["then"]) <= tolerance * abs(row["then"]) for row in figures]
    if first is not None and platform and close and all(close):
        verdict = CLOSE
    return {
        "verdict": verdict, "model": lineage.model, "bundle": lineage.bundle, "root": lineage.root,
        "first_difference": None if first is None else {**asdict(first), "file": first.files[0]},
        "platform": list(platform), **code_then(lineage), "tolerance": tolerance, "figures": figures,
        "steps": [{**asdict(step), "equal": step.equal} for step in compared],
    }
