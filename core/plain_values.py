"""Convert values of a preset: "none" becomes None, and true or false is refused where a number is needed.

TOML has no null. pydantic would read `hidden = true` as 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from types import NoneType
from typing import Any, get_args, get_type_hints

from models.specs import KINDS, VocabularySpec

NONE = "none"


def model_options(options: Any) -> Any:
    """Return the options of a model with None for every "none" of an option that may be None.

    Values that are no table, or have an unknown kind, are returned unchanged.

    Raises:
        ValueError: true or false is given for a number, or an option that may be None is neither a number nor "none".
    """
    kind = options.get("kind") if isinstance(options, Mapping) else None
    return _read(KINDS[kind][0], options) if isinstance(kind, str) and kind in KINDS else options


def vocabulary_options(options: Any) -> Any:
    """Return the options of a vocabulary; see `model_options`."""
    return _read(VocabularySpec, options) if isinstance(options, Mapping) else options


def refuse_truth_value(name: str, annotation: Any, value: Any) -> None:
    """Raise ValueError if *value*, or an entry of it, is true or false although the annotation requires a number."""
    kinds = _kinds(annotation)
    if {int, float} & kinds and bool not in kinds:
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, bool):
                raise ValueError(f"{name} is {str(one).lower()}; it must be a number")


def _read(spec: type, options: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    known, read = get_type_hints(spec), dict(options)
    for name, value in options.items():
        if name not in known:
            continue
        if is_dataclass(known[name]) and isinstance(value, Mapping):
            read[name] = _read(known[name], value, f"{section}{name}.")  # type: ignore[arg-type]
        elif isinstance(value, str) and NoneType in _kinds(known[name]):
            read[name] = _number_or_none(f"{section}{name}", value)
        else:
            refuse_truth_value(f"{section}{name}", known[name], value)
    return read


def _number_or_none(name: str, text: str) -> str | None:
    if text == NONE:
        return None
    try:
        float(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}; it must be a number, or {NONE!r} to do without") from None
    return text


def _kinds(annotation: Any) -> set[Any]:
    """Return all types in an annotation: `tuple[float, ...] | None` has float and NoneType."""
    inside = get_args(annotation)
    return {annotation} if not inside else set().union(*(_kinds(one) for one in inside))
