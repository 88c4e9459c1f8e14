"""Open the fitted models that a model combines, and report the tuning of its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.base import ModelError
from models.bundles.bundle import load_bundle
from models.mixture.parts import Part
from training.context import FitContext, journal

if TYPE_CHECKING:
    from models.tokens.vocabulary import Vocabulary


def open_parts(names: Sequence[str], vocabulary: Vocabulary, context: FitContext) -> list[Part]:
    """Open the fitted models that `context.parts` names.

    Raises:
        ModelError: kind "input": a part is missing or has another vocabulary; kind "bundle": a part is damaged.
    """
    parts = []
    for name in names:
        if name not in context.parts:
            available = ", ".join(context.parts) or "none"
            raise ModelError(f"the part '{name}' is not a fitted model; fitted models: {available}", "input")
        bundle = load_bundle(context.parts[name], context.device)
        if bundle.vocabulary.digest != vocabulary.digest:
            raise ModelError(f"the part '{name}' has another vocabulary than the model that uses it", "input")
        parts.append(Part(name, bundle.spec, bundle.model, Path(context.parts[name])))
    return parts


def journal_tuning(context: FitContext, summary: Mapping[str, float]) -> None:
    """Write the progress line of a fit that tunes weights; figures that are not finite are left out."""
    figures = {name: summary[name] for name in ("validation/nats", "validation/perplexity")}
    finite = {name: value for name, value in figures.items() if math.isfinite(value)}
    journal(context, int(summary["tokens"]), finite)
