"""Convert values to the form that MLflow accepts: flat parameter names, short values, legal metric names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

PARAM_LENGTH, TAG_LENGTH, NAME_LENGTH = 6000, 8000, 250
DETAILS = "x_"
"""Prefix of the groups of metrics that MLflow's chart page is to show after all others: it sorts them by name."""
GROUPS = {
    **{group: f"{DETAILS}{group}" for group in ("audit", "cost", "final_validation", "fit", "observed")},
    "gradient_norm": "training/gradient_norm", "step_seconds": "training/step_seconds",
}  # fmt: skip
"""Groups of metrics whose name would put them above "test", "train" and "validation", and the group in MLflow."""


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return `{"training.batch": "20", "models.0.kind": "lstm", …}`: dotted names, values as short text.

    Strings are not changed; all other values are written as JSON (`null`, `true`, `[1, 2]`). The names of entries in a
    list of sections contain the index.
    """
    return {legal_name(name): shorten(_text(value), PARAM_LENGTH) for name, value in _leaves(nested, prefix)}


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    elif hasattr(value, "model_dump"):
        value = value.model_dump()
    sections = isinstance(value, list | tuple) and value and all(_is_section(entry) for entry in value)
    if isinstance(value, Mapping) and value:
        children = value.items()
    elif sections:
        children = dict(enumerate(value)).items()
    else:
        yield name, value
        return
    for key, child in children:
        yield from _leaves(child, f"{name}.{key}" if name else str(key))


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) or is_dataclass(value) or hasattr(value, "model_dump")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def shorten(text: str, limit: int) -> str:
    """Cut *text* to *limit* characters, with a note at the end."""
    if len(text) <= limit:
        return text
    note = f" … (shortened, {len(text)} characters)"
    return text[: limit - len(note)] + note


def legal_name(name: str) -> str:
    """Return *name* with only the characters and path components that MLflow allows; "hit@1" becomes "hit_at_1"."""
    name = re.sub(r"[^\w\-. /:]", "_", name.replace("@", "_at_"))[:NAME_LENGTH]
    return "/".join(step for step in name.split("/") if step.strip(".")).lstrip(".") or "_"


def metric_name(name: str) -> str:
    """Return the name of a metric in MLflow: legal, and in a group that its chart page shows at the right place."""
    group, slash, rest = legal_name(name).partition("/")
    return f"{GROUPS.get(group, group)}/{rest}"[:NAME_LENGTH] if slash else group


def own_metric_name(stored: str) -> str:
    """Return our name of a metric from its name in MLflow; earlier releases stored all metrics under our names."""
    for ours, shown in GROUPS.items():
        if stored.startswith(f"{shown}/"):
            return ours + stored.removeprefix(shown)
    return stored
