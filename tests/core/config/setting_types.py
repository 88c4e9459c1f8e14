"""Walk the types of settings."""

from __future__ import annotations

from typing import Any, get_args


def types_in(annotation: Any) -> set[Any]:
    """All types in an annotation: `tuple[float, ...] | None` has float and NoneType."""
    inside = get_args(annotation)
    return {annotation} if not inside else set().union(*(types_in(one) for one in inside))
