"""Word vectors from the command's flow: stored once, with their figures in MLflow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.environment import other_home
from reviewlm.core.errors import ArtifactError
from reviewlm.flows.other_models import embed
from reviewlm.tasks.embed import newest_vectors
from reviewlm.tasks.records.track import tracker_of
from reviewlm.training.vectors.files import load_vectors
from reviewlm.training.vectors.neighbours import mean_cosine
from reviewlm.training.vectors.stored_rows import HEADER
from tests.flows.first_run import TINY

pytestmark = pytest.mark.slow
SETTINGS = ["embedding.dimensions=8", "embedding.epochs=30", "embedding.min_count=3"]


@pytest.fixture(scope="module")
def embedded_home(
    prefect_server: None,
    template_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """A home folder in which nothing was made yet."""
    folder = Path(shutil.copytree(template_home, tmp_path_factory.mktemp("embedded") / "home"))
    with other_home(folder):
        yield folder


@pytest.fixture(scope="module")
def first(embedded_home: Path) -> dict[str, Any]:
    """What the flow returns that has made the vectors."""
    with pytest.raises(ArtifactError, match="no word vectors in the store"):
        newest_vectors(load_config(TINY).home)
    return embed(TINY, None, SETTINGS)


def test_the_vectors_are_those_of_the_frequent_words(first: dict[str, Any]) -> None:
    vectors = load_vectors(Path(first["vectors"]))
    assert (len(vectors), vectors.vector_size) == (first["words"], 8)
    counts = vectors.expandos["count"].tolist()
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 3
    assert first["mean_cosine"] == pytest.approx(mean_cosine(vectors), abs=1e-6)


def test_the_figures_of_vectors_are_in_mlflow(first: dict[str, Any]) -> None:
    run = tracker_of(load_config(TINY).workspace).ask(
        lambda client: client.get_run(first["mlflow_run_id"])
    )
    assert run.data.metrics["words"] == first["words"]
    assert run.data.params["embedding.dimensions"] == "8"
    assert "models" not in run.data.params, "it fits no language model"


def test_vectors_are_stored_once(first: dict[str, Any]) -> None:
    before = (Path(first["vectors"]) / HEADER).stat().st_mtime_ns
    again = embed(TINY, None, SETTINGS)
    assert (again["digest"], again["reused"]) == (first["digest"], True)
    assert (Path(first["vectors"]) / HEADER).stat().st_mtime_ns == before, "it was not built again"


def test_vectors_with_other_options_are_others(first: dict[str, Any]) -> None:
    other = embed(TINY, None, [*SETTINGS, "embedding.kind=cbow"])
    assert other["digest"] != first["digest"]
    assert str(newest_vectors(load_config(TINY).home)) == other["vectors"]


def test_vectors_that_are_built_again_have_the_same_bytes(first: dict[str, Any]) -> None:
    before = load_vectors(Path(first["vectors"])).vectors.tobytes()
    rebuilt = embed(TINY, None, [*SETTINGS, "execution.rebuild=['embed']"])
    assert load_vectors(Path(rebuilt["vectors"])).vectors.tobytes() == before
