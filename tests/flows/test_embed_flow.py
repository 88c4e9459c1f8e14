"""Word vectors from the command's flow: stored once, with their figures in MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from reviewlm.core.config.presets import load_config
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


def test_vectors_are_stored_once_and_depend_on_their_options(
    prefect_server: None, migrated_home: Path
) -> None:
    with pytest.raises(ArtifactError, match="no word vectors in the store"):
        newest_vectors(load_config(TINY).home)
    first = embed(TINY, None, SETTINGS)
    vectors = load_vectors(Path(first["vectors"]))
    assert (len(vectors), vectors.vector_size) == (first["words"], 8)
    counts = vectors.expandos["count"].tolist()
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 3
    assert first["mean_cosine"] == pytest.approx(mean_cosine(vectors), abs=1e-6)
    run = tracker_of(load_config(TINY).workspace).ask(
        lambda client: client.get_run(first["mlflow_run_id"])
    )
    assert run.data.metrics["words"] == first["words"]
    assert run.data.params["embedding.dimensions"] == "8"
    assert "models" not in run.data.params, "it fits no language model"

    before = (Path(first["vectors"]) / HEADER).stat().st_mtime_ns
    again = embed(TINY, None, SETTINGS)
    assert (again["digest"], again["reused"]) == (first["digest"], True)
    assert (Path(first["vectors"]) / HEADER).stat().st_mtime_ns == before, "it was not built again"
    other = embed(TINY, None, [*SETTINGS, "embedding.kind=cbow"])
    assert other["digest"] != first["digest"]
    assert str(newest_vectors(load_config(TINY).home)) == other["vectors"]
    rebuilt = embed(TINY, None, [*SETTINGS, "execution.rebuild=['embed']"])
    assert load_vectors(Path(rebuilt["vectors"])).vectors.tobytes() == vectors.vectors.tobytes()
