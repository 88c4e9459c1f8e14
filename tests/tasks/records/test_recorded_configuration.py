"""The configuration of a registered version is read as it was recorded, before any of its steps is made again."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.errors import ConfigError
from reviewlm.models.specs import RecurrentSpec, VocabularySpec
from reviewlm.tasks.records.reproduce import configuration_of


def record(**training: Any) -> Any:
    """Return what is asked of a lineage, of an LSTM with these options of training."""
    spec = asdict(RecurrentSpec())
    spec["training"] |= training
    fit = SimpleNamespace(
        stage="fit",
        facts={"spec": spec},
        environment={"git_commit": "c0ffee"},
    )
    vocabulary = SimpleNamespace(stage="vocabulary", options={"spec": asdict(VocabularySpec())})
    return SimpleNamespace(
        configuration={"seed": 3},
        steps=[vocabulary, fit],
        fit="fit/1",
        step=lambda key: fit,
    )


def test_a_setting_that_this_code_does_not_know_names_the_commit_that_did() -> None:
    with pytest.raises(ConfigError, match="check out commit c0ffee"):
        configuration_of(record(no_such_option=1))
