"""`reviewlm compare A B`: what the names mean, and what MLflow is told."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.sections.evaluation import OWN_MODEL
from reviewlm.core.errors import ConfigError
from reviewlm.evaluation.scoring.metrics import figures_of
from reviewlm.tasks.evaluation import compare_two as comparison
from reviewlm.tasks.evaluation.compare_two import compare_two, side_of, write_markdown

TINY = Path(__file__).parents[2] / "flows" / "tiny.toml"
LABELS = {
    "unit": "word",
    "vocabulary": "v1",
    "boundary": "eos",
    "adaptation": "static",
}


@pytest.fixture
def config(store_home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("REVIEWLM_HOME", str(store_home))
    return load_config(str(TINY), [f"promotion.model_name={OWN_MODEL}"])


@pytest.fixture
def prepared() -> Any:
    return SimpleNamespace(clean=SimpleNamespace(digest="c1", folder=Path("unused")))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A version whose word is "w2" needs half the nats; samples say the word."""

    def built(
        folder: Path,
        name: str,
        frame: pl.DataFrame,
        facts: dict[str, Any],
    ) -> Any:
        target = tmp_path / f"{name} of {folder.parts[-4]}"
        target.mkdir(exist_ok=True)
        frame.write_parquet(target / f"{name}.parquet")
        return SimpleNamespace(artifact=SimpleNamespace(folder=target, facts=facts))

    def word(folder: Path) -> str:
        return str(json.loads((folder / "spec.json").read_text())["word"])

    def score(
        workspace: Any,
        evaluation: Any,
        folder: Path,
        tokens: Any,
        label: str,
    ) -> Any:
        nats = (
            [10.0 + n % 3 for n in range(40)]
            if word(folder) == "w1"
            else [5.0 + n % 3 / 2 for n in range(40)]
        )
        same = {
            "stars": 5,
            "bytes": 60,
            "words": 9,
            "tokens": 10,
            "oov": 0,
            "spelling_nats": 0.0,
        }
        rows = pl.DataFrame({"review_id": [f"r{n}" for n in range(40)], "nats": nats}).with_columns(
            pl.lit(value).alias(name) for name, value in same.items()
        )
        return built(
            folder, "scores", rows, {**asdict(figures_of(rows, **LABELS)), "score_seconds": 2.0}
        )

    def write(
        workspace: Any,
        evaluation: Any,
        folder: Path,
        label: str,
    ) -> Any:
        frame = pl.DataFrame(
            {
                "stars": [5],
                "number": [0],
                "text": [word(folder)],
                "ended": [True],
                "seed": [1],
            }
        )
        return built(folder, "samples", frame, {})

    monkeypatch.setattr(comparison, "tokens_for", lambda config, folder, prepared: None)
    monkeypatch.setattr(comparison, "entries_of", lambda folder: 96)
    monkeypatch.setattr(comparison, "score_bundle", score)
    monkeypatch.setattr(comparison, "draw_samples", write)


@pytest.mark.usefixtures("light_models", "measured")
def test_a_version_is_compared_by_its_number_or_its_alias(
    config: Any,
    prepared: Any,
    store: Any,
):
    store.registry.promote(store.version("w1"), None)
    one = side_of(config, prepared, "1")
    champion = side_of(config, prepared, "champion")
    assert (one.name, champion.name) == ("version 1", "champion (version 1)")
    assert one.bundle == champion.bundle


@pytest.mark.usefixtures("light_models", "measured")
def test_a_compared_version_has_its_cost(
    config: Any,
    prepared: Any,
    store: Any,
):
    store.version("w1")
    side = side_of(config, prepared, "1")
    assert side.cost["megabytes"] > 0
    assert (side.cost["score_seconds"], side.cost["tokens_per_second"]) == (2.0, 200.0)
    assert side.problems  # this bundle says nothing of its data


@pytest.mark.parametrize("name", ["7", "nobody"])
@pytest.mark.usefixtures("light_models", "measured")
def test_a_wrong_name_is_told_the_models_there_are(
    config: Any,
    prepared: Any,
    store: Any,
    name: str,
):
    store.version("w1")
    with pytest.raises(ConfigError) as caught:
        side_of(config, prepared, name)
    assert caught.value.value == name
    assert "kn2, lstm" in caught.value.remedy


@pytest.fixture
def compared(
    config: Any,
    prepared: Any,
    store: Any,
    light_models: None,
    measured: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """The comparison of versions 1 and 2, and the run in MLflow that has it."""
    documents = pl.DataFrame(
        {
            "review_id": [f"r{n}" for n in range(40)],
            "date": ["2024-01-01"] * 40,
            "categories": ["Food"] * 40,
        }
    ).with_columns(pl.col("date").str.to_date())
    monkeypatch.setattr(comparison, "documents_of", lambda clean: documents)
    store.version("w1")
    store.version("w2")
    run_id = store.tracker.start_run("compare 1 2")
    found = compare_two.fn(
        config,
        prepared,
        "1",
        "2",
        run_id,
    )
    return SimpleNamespace(found=found, run_id=run_id)


def test_the_figures_say_which_version_is_better(compared: Any):
    figures = compared.found.figures
    row = figures.row(by_predicate=pl.col("figure") == "open bits per byte", named=True)
    assert row["gain"] == pytest.approx(0.5)
    assert row["verdict"] == "B is better"


def test_mlflow_gets_every_table_of_a_comparison(compared: Any, store: Any):
    folder = store.tracker.artifact_root / compared.run_id / "artifacts"
    assert {path.name for path in folder.iterdir()} >= {
        "figures.json",
        "slices.json",
        "samples.json",
        "costs.json",
        "comparison.md",
    }


def test_mlflow_gets_the_figures_of_a_comparison(compared: Any, store: Any):
    metrics = store.tracker.metrics(compared.run_id)
    assert metrics["compared/open_bits_per_byte_gain"] == pytest.approx(50.0)  # per cent
    difference = metrics["compared/open_bits_per_byte_difference"]
    assert metrics["compared/open_bits_per_byte_lo"] <= difference
    assert "version 2 is better" in store.tracker.tag(compared.run_id, "mlflow.note.content")


def test_a_comparison_is_written_as_a_document(compared: Any, tmp_path: Path):
    file = write_markdown(compared.found, tmp_path / "comparisons")
    assert file.name == "version-1-and-version-2.md"
    assert "> w1" in file.read_text()
