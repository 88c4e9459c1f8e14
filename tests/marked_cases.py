"""Mark some cases of a parametrised test as `slow` or `long`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(cases: Iterable[Any], kept: Collection[Any]) -> list[Any]:
    """Return all cases, those that are not *kept* marked `slow`; a tuple holds several parameters."""
    return _marked(cases, kept, pytest.mark.slow)


def long_but(cases: Iterable[Any], kept: Collection[Any]) -> list[Any]:
    """Return all cases, those that are not *kept* marked `long`; a tuple holds several parameters."""
    return _marked(cases, kept, pytest.mark.long)


def _marked(
    cases: Iterable[Any],
    kept: Collection[Any],
    mark: pytest.MarkDecorator,
) -> list[Any]:
    return [
        case if case in kept else pytest.param(*_parameters(case), marks=mark) for case in cases
    ]


def _parameters(case: Any) -> tuple[Any, ...]:
    return case if isinstance(case, tuple) else (case,)
