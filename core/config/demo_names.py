"""Name registered models of the embedded corpus, so that none becomes a version of a model of real reviews."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.config.sections.classification import ClassificationConfig
from core.config.sections.embedding import OWN_VECTORS, EmbeddingConfig
from core.config.sections.promotion import DEMO_MODEL, OWN_MODEL, PromotionConfig


def demo_names(
    promotion: PromotionConfig, classification: ClassificationConfig, embedding: EmbeddingConfig
) -> dict[str, Any]:
    """Return the sections whose models have the default name of the user's, with that of the demo; others stay."""
    changes: dict[str, Any] = {}
    if promotion.model_name == OWN_MODEL:
        changes["promotion"] = promotion.model_copy(update={"model_name": DEMO_MODEL})
    policy = classification.promotion
    if policy.model_name in ("", OWN_MODEL, f"{OWN_MODEL}-{classification.label}"):
        demo = {"promotion": policy.model_copy(update={"model_name": DEMO_MODEL})}
        changes["classification"] = classification.model_copy(update=demo)
    if embedding.model_name == OWN_VECTORS:
        changes["embedding"] = replace(embedding, model_name=f"{DEMO_MODEL}-vectors")
    return changes
