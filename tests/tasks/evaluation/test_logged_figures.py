"""Which figures a model's own run in MLflow gets: those of all test reviews apart from those of the observed ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from reviewlm.evaluation.scoring.metrics import figures_of
from reviewlm.tasks.evaluation.evaluate import FIGURES_FILE, _log_figures
from reviewlm.tasks.evaluation.observed import RELIABILITY_FILE, SAMPLES_FILE, SUGGESTIONS_FILE

ROWS = {
    "review_id": ["a"],
    "stars": [5],
    "bytes": [9],
    "words": [2],
    "tokens": [3],
    "oov": [0],
    "spelling_nats": [0.0],
    "nats": [6.0],
}


@pytest.fixture
def evaluated(tmp_path: Path) -> Any:
    """A model with the artifacts of its evaluation, whose facts differ from part to part."""
    for file in (SAMPLES_FILE, SUGGESTIONS_FILE, RELIABILITY_FILE):
        pl.DataFrame({"a": [1]}).write_parquet(tmp_path / file)
    (tmp_path / FIGURES_FILE).write_text("{}")
    pl.DataFrame(ROWS).write_parquet(tmp_path / "scores.parquet")

    def artifact(**facts: Any) -> Any:
        manifest = {"inputs": {"tokens": "digest"}}
        return SimpleNamespace(
            folder=tmp_path,
            facts=facts,
            manifest=manifest,
        )

    return SimpleNamespace(
        fitted=SimpleNamespace(run_id="run", spec=SimpleNamespace(vocabulary="word")),
        test=artifact(reviews=680, perplexity=30.0),
        validation=artifact(perplexity=31.0),
        observed=artifact(
            reviews=200,
            nll=3.5,
            **{"hit@1": 0.3},
        ),
        samples=artifact(),
        audit=artifact(),
    )


def test_figures_of_the_observed_reviews_do_not_stand_among_those_of_all(
    evaluated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: dict[str, float] = {}
    tracker: Any = SimpleNamespace(
        log_metrics=lambda run, numbers, dataset: logged.update(numbers),
        log_table=lambda *given: None,
        log_text=lambda *given: None,
    )
    monkeypatch.setattr(
        "reviewlm.tasks.evaluation.evaluate.figures_of_artifact",
        lambda test: figures_of(pl.DataFrame(ROWS)),
    )
    monkeypatch.setattr("reviewlm.tasks.evaluation.evaluate.log_audit", lambda *given: None)
    _log_figures(tracker, evaluated)
    assert logged == {
        "test/reviews": 680,
        "test/perplexity": 30.0,
        "observed/reviews": 200,
        "observed/nll": 3.5,
        "observed/hit@1": 0.3,
        "final_validation/perplexity": 31.0,
    }
