"""Find the Pareto front of models by quality, size and time: those that no other model beats in everything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from models.base import STATIC

PARETO = ("open_bits_per_byte", "megabytes", "score_seconds")
"""Columns of the comparison table for quality, size and cost; less is better. The seconds are of the same text for
all models: seconds per token would favour vocabularies that cut the text into more tokens.
"""
QUALITY, COSTS = PARETO[0], PARETO[1:]


def pareto_front(rows: Sequence[Mapping[str, Any]], measures: Sequence[str] = PARETO) -> list[bool | None]:
    """Return which rows are on the Pareto front: no other row is at least as good in every measure and better in one.

    Static models are compared with static ones only, and adaptive models with adaptive ones.

    Args:
        rows: Each with a number under every name of *measures*, and `adaptation`; without it a model is static.
        measures: Names of the columns to minimise.

    Returns:
        True or False by row; None for a row that lacks a finite number: it is not placed and dominates no other row.
    """
    points = [tuple(row.get(name) for name in measures) for row in rows]
    placed = [point if all(map(_finite, point)) else None for point in points]
    adapts = [row.get("adaptation", STATIC) != STATIC for row in rows]
    rivals = [[other for other, way in zip(placed, adapts, strict=True) if way == adapting] for adapting in adapts]
    return [
        None if point is None else not any(_dominates(other, point) for other in others)
        for point, others in zip(placed, rivals, strict=True)
    ]


def known_costs(table: pl.DataFrame) -> list[str]:
    """Return the costs for which some model has a positive figure and a finite quality; others cannot be drawn."""
    costs = [name for name in COSTS if name in table.columns]
    return [name for name in costs if any(is_placed(row, name) for row in table.to_dicts())]


def on_front(table: pl.DataFrame) -> list[str]:
    """Return the models that no other of their group (static, adaptive) beats in quality and all known costs."""
    marks = pareto_front(table.to_dicts(), (QUALITY, *known_costs(table)))
    return [name for name, mark in zip(table["model"], marks, strict=True) if mark]


def is_placed(row: Mapping[str, Any], cost: str) -> bool:
    """Return whether a model has a finite quality and a positive cost, so that it can be drawn."""
    return _positive(row[cost]) and _positive(row[QUALITY])


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _dominates(other: tuple[Any, ...] | None, point: tuple[Any, ...]) -> bool:
    if other is None:
        return False
    pairs = list(zip(other, point, strict=True))
    return all(theirs <= ours for theirs, ours in pairs) and any(theirs < ours for theirs, ours in pairs)


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0
