"""Word vectors from the command's flow: one stored result, taken again when nothing changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.config.presets import load_config
from core.errors import ArtifactError, ConfigError
from flows.other_models.embed import embed
from models.vectors.word_vectors import HEADER, WordVectors
from tasks.embedding.embed import newest_vectors
from tests.flows.first_run import TINY

pytestmark = pytest.mark.slow
SETTINGS = ["embedding.dimensions=8", "embedding.epochs=10", "embedding.min_count=3", "embedding.learning_rate=0.1"]


def test_vectors_are_stored_once_and_depend_on_their_options(prefect_server: None, own_home: Path) -> None:
    with pytest.raises(ArtifactError, match="no word vectors in the store"):
        newest_vectors(load_config(TINY))
    first = embed(TINY, None, SETTINGS)
    vectors = WordVectors.load(Path(first["vectors"]))
    assert (len(vectors), vectors.dimensions) == (first["words"], 8)
    assert vectors.counts == sorted(vectors.counts, reverse=True)
    assert vectors.counts[-1] >= 3
    assert first["validation"]["ranked"] > 0.6, "a held-out word is told from a noise word"
    before = (Path(first["vectors"]) / HEADER).stat().st_mtime_ns
    assert embed(TINY, None, [*SETTINGS, "embedding.threads=2"])["digest"] == first["digest"]
    assert (Path(first["vectors"]) / HEADER).stat().st_mtime_ns == before, "it was not built again"
    other = embed(TINY, None, [*SETTINGS, "embedding.kind=cbow"])
    assert other["digest"] != first["digest"]
    assert newest_vectors(load_config(TINY)).digest == other["digest"]
    again = embed(TINY, None, [*SETTINGS, "execution.rebuild=['embed']"])
    assert np.array_equal(WordVectors.load(Path(again["vectors"])).matrix_ND, vectors.matrix_ND)


def test_an_unknown_vocabulary_is_refused(prefect_server: None, own_home: Path) -> None:
    with pytest.raises(ConfigError, match="no such vocabulary"):
        embed(TINY, None, ["embedding.vocabulary=phrases"])
