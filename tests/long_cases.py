"""Mark some cases of a parametrised test as `long`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def long_but(cases: Iterable[Any], kept: Collection[Any]) -> list[Any]:
    """Return all cases, those that are not *kept* marked `long`; a tuple holds several parameters."""
    return [case if case in kept else _long(case) for case in cases]


def _long(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.long)
