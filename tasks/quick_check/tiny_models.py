"""Shrink a configuration so that its stages take seconds on a few hundred reviews."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.config.sections.data import SplitConfig
from models.specs import ModelSpec, NGramSpec, NPLMSpec, RecurrentSpec, TrainingSpec, VocabularySpec, parts_of

WIDTH, BATCH, WINDOW, ENTRIES, TUNING = 16, 8, 20, 600, 500
EVALUATION = {
    "resamples": 100, "observed_reviews": 4, "samples_per_star": 1,
    "max_tokens": 12, "sample_stars": (1, 5), "suggestions": 2,
}
AUDIT = {"samples": 10, "max_words": 12, "candidates": 100, "copies": (1,), "max_canary_share": 0.05}
SHARES = 0.2
"""Share of the validation and of the test split, so that few reviews suffice for all splits."""


def tiny(config: RunConfig, sample: Path) -> RunConfig:
    """Return the configuration with *sample* as its input and with tiny models, one of each kind.

    Reviews are split at random, because a few hundred may all be of one month or business.
    """
    models = tuple(_tiny_model(spec) for spec in one_of_each_kind(config))
    used = {spec.vocabulary for spec in models}
    changes: dict[str, Any] = {
        "source": config.source.model_copy(update={"input": (str(sample),), "fields": type(config.source.fields)()}),
        "split": SplitConfig(salt=config.split.salt, validation=SHARES, test=SHARES),
        "vocabulary": {name: _tiny_vocabulary(spec) for name, spec in config.vocabulary.items() if name in used},
        "models": models,
        "evaluation": config.evaluation.model_copy(update=EVALUATION),
        "audit": config.audit.model_copy(update={**AUDIT, "canaries": min(config.audit.canaries, 1)}),
        "execution": config.execution.model_copy(
            update={"device": "cpu", "threads": 1, "ranks": 1, "rebuild": (), "engine": "threads",
                    "tracking_uri": "", "remote_store": "", "system_metrics_seconds": 0.0}
        ),
    }
    return config.model_copy(update=changes)


def one_of_each_kind(config: RunConfig) -> list[ModelSpec]:
    """Return the baseline, the first model of each kind and vocabulary, and the models that these combine."""
    wanted, kinds = {config.baseline}, set[tuple[str, str]]()
    for spec in config.models:
        if (kind := (spec.kind, spec.vocabulary)) not in kinds:
            kinds.add(kind)
            wanted.add(spec.name)
    for spec in reversed(config.models):  # a model comes after its parts
        wanted |= set(parts_of(spec)) if spec.name in wanted else set()
    return [spec for spec in config.models if spec.name in wanted]


def _tiny_model(spec: ModelSpec) -> ModelSpec:
    if isinstance(spec, NPLMSpec | RecurrentSpec):
        small: dict[str, Any] = {"hidden": min(spec.hidden, WIDTH)}
        if not spec.vectors:  # word vectors keep their size
            small["embedding"] = min(spec.embedding, WIDTH)
        if isinstance(spec, RecurrentSpec):
            small["layers"] = min(spec.layers, 2)
        return replace(spec, training=_short(spec.training), **small)
    if isinstance(spec, NGramSpec):
        return spec
    tuned: Any = spec
    return replace(tuned, tuning_tokens=TUNING) if hasattr(tuned, "tuning_tokens") else spec


def _short(training: TrainingSpec) -> TrainingSpec:
    return replace(
        training, epochs=min(training.epochs, 0.5), batch=min(training.batch, BATCH), micro_batch=None,
        bptt_len=min(training.bptt_len, WINDOW), bptt_grad_len=None, evaluations=1, start="fresh", precision="float32",
    )


def _tiny_vocabulary(spec: VocabularySpec) -> VocabularySpec:
    return replace(spec, size=min(spec.size, ENTRIES), min_count=1)
