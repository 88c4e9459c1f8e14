"""Read the names of MLflow runs of models."""

from __future__ import annotations

from reviewlm.tracking.tags import MODEL_RUN


def model_of(name: str) -> str:
    """Return the model that the name of a run names, without what has become of it, day and time."""
    parts = MODEL_RUN.fullmatch(name)
    return parts["model"] if parts else name
