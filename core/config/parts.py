"""Check models that are made of other models: mixtures and caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.specs import (
    MixtureSpec,
    ModelSpec,
    NeuralCacheSpec,
    NGramSpec,
    NPLMSpec,
    RecurrentSpec,
    parts_of,
)


def require_parts(spec: ModelSpec, models: Sequence[ModelSpec]) -> None:
    """Check that the parts of a model come before it, have its vocabulary, and are of the kinds that it needs.

    Args:
        models: All models of the configuration, in order.

    Raises:
        ValueError: A part is missing or does not fit; pydantic turns it into an error that names the setting.
    """
    before = {one.name: one for one in models[: models.index(spec)]}
    for name in parts_of(spec):
        if name not in before:
            raise ValueError(
                f"model {spec.name!r} uses {name!r}, which must be one of the models before it: "
                f"{list(before)}"
            )
        if before[name].vocabulary != spec.vocabulary:
            raise ValueError(
                f"model {spec.name!r} has vocabulary {spec.vocabulary!r}, its part {name!r} "
                f"{before[name].vocabulary!r}; both must use the same vocabulary"
            )
    if isinstance(spec, MixtureSpec) and spec.method == "gated" and not _holds_ngram(spec, before):
        raise ValueError(
            f"model {spec.name!r} has method 'gated', which needs an n-gram model among its parts; add one, or "
            "use method 'linear'"
        )
    if not isinstance(spec, NeuralCacheSpec):
        return
    if not isinstance(part := before[spec.part], RecurrentSpec | NPLMSpec):
        raise ValueError(
            f"model {spec.name!r} of kind {spec.kind!r} needs a neural model; its part {part.name!r} is of kind "
            f"{part.kind!r}"
        )


def _holds_ngram(spec: ModelSpec, before: Mapping[str, ModelSpec]) -> bool:
    """Return whether a model is an n-gram model or contains one, at any depth."""
    return isinstance(spec, NGramSpec) or any(_holds_ngram(before[name], before) for name in parts_of(spec))
