"""A champion among word vectors as the gate finds it: whole, damaged, of another family of models."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from core.config.presets import load_config
from core.errors import ConfigError
from models.vectors.bundle import VectorsBundle, save_vectors
from models.vectors.word_vectors import WordVectors
from tasks.embedding import champion as module
from tasks.embedding.champion import cut_of, open_champion_vectors, require_name_of_vectors

WORDS = ["tea", "cake", "pie", "soup"]


def bundle_in(folder: Path, seed: int = 1, **facts: Any) -> Path:
    rng = np.random.default_rng(seed)
    vectors = WordVectors(WORDS, rng.normal(size=(4, 3)), [4, 3, 2, 1], {}, rng.normal(size=(4, 3)).astype(np.float32))
    save_vectors(folder, vectors, {"kind": "skipgram", "name": "vectors", "unit": "word", "lowercase": True}, facts)
    return folder


def registered(monkeypatch: pytest.MonkeyPatch, folder: Path, champion: bool = True, **tags: str) -> None:
    """Register a folder as version 4 of any model that is asked for."""
    version = SimpleNamespace(version=4, tags=tags, name="shelf")
    shelf = SimpleNamespace(
        alias=lambda name: version if champion else None, bundle_folder=lambda version: folder,
        versions=lambda: [version],
    )  # fmt: skip
    monkeypatch.setattr(module, "registry_of", lambda config: shelf)
    monkeypatch.setattr(module, "family_of_version", lambda *given: "reviews")


@pytest.mark.parametrize(("told", "family"), [({"format": 1}, "language model"), ({"task": "classification"}, "class")])
@pytest.mark.parametrize("champion", [True, False])
def test_a_registered_model_of_another_family_is_refused_before_anything_is_trained(
    told: dict[str, Any], family: str, champion: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(told), encoding="utf-8")
    registered(monkeypatch, tmp_path, champion)
    config = load_config("small", ["embedding.model_name=mine", "embedding.promotion.replace_lost_champion=true"])
    with pytest.raises(ConfigError, match=rf"holds no word vectors: version 4 is of another family \({family}"):
        require_name_of_vectors.fn(config)
    if champion:
        with pytest.raises(ConfigError, match="holds no word vectors"):
            open_champion_vectors.fn(config)


@pytest.mark.parametrize("settings", [
    ["promotion.model_name=mine"], ["classification.promotion.model_name=mine"],
])  # fmt: skip
def test_the_name_of_another_model_of_the_same_configuration_is_refused(settings: list[str]) -> None:
    with pytest.raises(ConfigError, match="have the same registered model"):
        require_name_of_vectors.fn(load_config("small", ["embedding.model_name=mine", *settings]))


@pytest.mark.parametrize(("spec", "cut"), [
    ({"unit": "word", "lowercase": True}, "word, lower case"),
    ({"unit": "word", "lowercase": False}, "word, case kept"), ({"unit": "bpe", "lowercase": True}, "bpe"), ({}, ""),
])  # fmt: skip
def test_the_description_of_vectors_says_how_a_text_is_cut(spec: dict[str, Any], cut: str) -> None:
    assert cut_of(VectorsBundle(WordVectors(["tea"], np.ones((1, 2))), spec, "")) == cut


def test_vectors_are_opened_and_damaged_ones_are_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, bundle_in(tmp_path))
    config = load_config("small")
    require_name_of_vectors.fn(config)
    found = open_champion_vectors.fn(config)
    assert found is not None
    assert found.vectors is not None
    assert (found.vectors.words, found.cut) == (WORDS, "word, lower case")
    (tmp_path / "spec.json").write_text("changed", encoding="utf-8")
    require_name_of_vectors.fn(config)
    lost = open_champion_vectors.fn(config)
    assert lost is not None
    assert lost.problem.startswith("the champion, version 4, cannot be opened")
