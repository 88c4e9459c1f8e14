"""The configuration of a registered version is read as it was recorded, before any of its steps is made again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import ConfigError
from models.specs import RecurrentSpec, VocabularySpec, identity
from tasks.lineage import reproduce
from tasks.lineage.reproduce import Reproduction, configuration_of


def record(**training: Any) -> Any:
    """Return what is asked of a lineage, of an LSTM with these options of training."""
    spec = asdict(RecurrentSpec())
    spec["training"] |= training
    fit = SimpleNamespace(stage="fit", facts={"spec": spec}, environment={"git_commit": "c0ffee"})
    vocabulary = SimpleNamespace(stage="vocabulary", options={"spec": asdict(VocabularySpec())})
    return SimpleNamespace(configuration={"seed": 3}, steps=[vocabulary, fit], fit="fit/1", step=lambda key: fit)


def test_an_option_without_a_part_that_was_taken_then_is_kept_so_that_the_fit_has_its_digest() -> None:
    (spec,) = configuration_of(record(momentum=0.5, clip=None)).models
    assert isinstance(spec, RecurrentSpec)
    assert (spec.training.momentum, spec.training.clip, spec.training.seed) == (0.5, None, 1)
    assert identity(spec)["training"]["momentum"] == 0.5


def test_a_setting_that_this_code_does_not_know_names_the_commit_that_did() -> None:
    with pytest.raises(ConfigError, match="check out commit c0ffee"):
        configuration_of(record(no_such_option=1))


def test_reused_vectors_are_made_again_with_the_threads_and_the_vocabulary_that_made_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    made = SimpleNamespace(artifact=None)
    monkeypatch.setattr(reproduce, "build_vectors", lambda *given: asked.append(given) or made)
    names = {"train": "tokens/1", "validation": "tokens/2"}
    fit = SimpleNamespace(
        stage="embed", facts={"spec": {"vocabulary": "old name"}, "threads": 3}, environment={}, made_by=names
    )
    vocabulary = SimpleNamespace(stage="vocabulary", options={"spec": asdict(VocabularySpec())})
    lineage: Any = SimpleNamespace(
        configuration={"embedding": {"vocabulary": "word", "threads": 2, "dimensions": 7}}, steps=[vocabulary, fit]
    )
    again = Reproduction(lineage, {}, Path())
    again.made = {stage: SimpleNamespace(stage=stage) for stage in ("prepare", "vocabulary", *names.values())}
    again._embed(again.config, fit)  # type: ignore[arg-type]
    [(config, prepared)] = asked
    assert (config.embedding.vocabulary, config.embedding.threads, config.embedding.dimensions) == ("old name", 3, 7)
    assert list(prepared.tokens) == list(prepared.vocabularies) == ["old name"]
