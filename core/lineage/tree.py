"""Draw a lineage as a text tree, from the version down to the raw files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from core.lineage.record import Lineage, RecordedSource, Step

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
SHORT = 12
"""Number of digits shown of a hash."""


def tree_lines(lineage: Lineage, states: Mapping[str, str] | None = None) -> list[str]:
    """Return the lines of the tree; a step that several others depend on is drawn in full only once.

    Args:
        states: State of steps and sources ("gone", "changed"), by key and by hash; shown in capitals.
    """
    made_of = {name for step in lineage.steps for name in step.made_by.values()}
    drawn: set[str] = set()
    roots = [lineage.fit, *(step.key for step in lineage.steps if step.key not in made_of and step.key != lineage.fit)]
    lines: list[str] = []
    for place, key in enumerate(roots):
        lines += _drawn(lineage, key, "", place == len(roots) - 1, drawn, states or {}, "")
    return lines


def _drawn(
    lineage: Lineage, key: str, indent: str, last: bool, drawn: set[str], states: Mapping[str, str], role: str
) -> Iterator[str]:
    step = lineage.step(key)
    again = key in drawn
    drawn.add(key)
    line = f"{step.stage} {lineage.label(step)}".strip() + f"  {step.digest}"
    yield _line(indent, last, role, f"{line}  (see above)" if again else f"{line}  {_about(step)}", states.get(key, ""))
    if again:
        return
    below = indent + ("   " if last else "│  ")
    for place, (name, value) in enumerate(step.inputs.items()):
        final = place == len(step.inputs) - 1
        if name in step.made_by:
            yield from _drawn(lineage, step.made_by[name], below, final, drawn, states, _role(name))
        else:
            source = lineage.source(value) or RecordedSource("unknown", name, value)
            yield _line(below, final, "", _described(source), states.get(source.sha256, ""))


def _line(indent: str, last: bool, role: str, text: str, state: str) -> str:
    name = f"{role}: " if role else ""
    return f"{indent}{'└─ ' if last else '├─ '}{name}{text}" + (f"  {state.upper()}" if state else "")


def _role(name: str) -> str:
    """Return the name of an input if it is more informative than the name of its stage, else ""."""
    return name if name.startswith("part ") or name == "start" else ""


def _about(step: Step) -> str:
    commit = step.environment.get("git_commit") or step.environment.get("code", "")
    code = f"  code {commit[:7]}" if commit else ""
    return f"content {step.content[:SHORT]}  {size_of(step.bytes)}  {moment(step.created)}  {step.seconds:.1f} s{code}"


def _described(source: RecordedSource) -> str:
    size = f"  {size_of(source.bytes)}" if source.bytes else ""
    return f"{source.kind} {source.name}  sha256 {source.sha256[:SHORT]}{size}"


def size_of(count: int) -> str:
    """Return a number of bytes with a suitable unit."""
    value = float(count)
    for unit in UNITS:
        if value < 1024 or unit == UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def moment(seconds: float) -> str:
    """Return a time as UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def step_rows(lineage: Lineage) -> list[dict[str, Any]]:
    """Return one row of plain values per step, for JSON."""
    links = lineage.links()
    return [
        {
            "stage": step.stage, "label": lineage.label(step), "digest": step.digest, "version": step.version,
            "content": step.content, "link": links[step.key], "bytes": step.bytes, "files": len(step.files),
            "created": moment(step.created), "seconds": step.seconds,
            "git_commit": step.environment.get("git_commit", ""), "inputs": step.inputs,
        }
        for step in lineage.steps
    ]
