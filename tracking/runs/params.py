"""Convert values to the form that MLflow accepts: flat parameter names, short values, legal metric names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

PARAM_LENGTH, TAG_LENGTH, NAME_LENGTH = 6000, 8000, 250
DECIDING = (
    "open_bits_per_byte", "perplexity", "word_perplexity", "bits_per_character", "gain", "gap",
    "zero_probability_events", "accuracy", "macro_f1", "log_loss", "mean_absolute_error", "ranked",
)  # fmt: skip
"""Figures of the test reviews that a reader decides by; all others are details."""
CURVES_OF_TRAINING = (
    "clipped_share", "gradient_norm", "learning_rate", "peak_memory_megabytes", "tokens_per_second",
)
SHOWN = {
    "train/": "curves/train_", "validation/": "curves/validation_",
    **{f"test/{figure}": f"test/{figure}" for figure in DECIDING}, "test/": "x_test/",
    **{name: f"training/{name}" for name in CURVES_OF_TRAINING},
    "step_seconds/": "training/step_seconds/",
    **{f"{group}/": f"x_{group}/" for group in ("audit", "cost", "final_validation", "fit", "observed")},
}  # fmt: skip
"""Our names of metrics (whole, or the beginning up to a slash), and the names in MLflow. Its chart page makes a section
of each group and sorts the sections by name: learning curves, deciding figures, course of training, then details."""


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
    return _renamed(legal_name(name), SHOWN)[:NAME_LENGTH]


def own_metric_name(stored: str) -> str:
    """Return our name of a metric from its name in MLflow."""
    return _renamed(stored, {shown: ours for ours, shown in SHOWN.items()})


def _renamed(name: str, names: Mapping[str, str]) -> str:
    """Replace the first entry of *names* that is the whole name or a beginning of it that ends its group."""
    for old, new in names.items():
        if name == old or (old.endswith(("/", "_")) and name.startswith(old)):
            return new + name.removeprefix(old)
    return name
