"""Measure the memory of a model's state, for caches with a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch


def size_of(value: Any) -> int:
    """Return the bytes of all arrays in a state, of whatever model."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return int(value.nbytes)
    if is_dataclass(value):
        return sum(size_of(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    return sum(map(size_of, value)) if isinstance(value, list | tuple) else 0
