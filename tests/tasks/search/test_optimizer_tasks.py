"""The range test and the comparison on prepared data: what they write, and that they touch nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from core.config.neural_choice import with_only
from core.config.presets import parse_config
from core.config.run_config import RunConfig
from core.errors import InputError, NotWritable
from core.store import Artifact
from models.base import ModelError
from models.specs import NPLMSpec, RecurrentSpec, TrainingSpec, VocabularySpec
from models.streams import write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from tasks.data.prepare import VOCABULARY_FILE, Prepared
from tasks.search.optimizers import compare_optimizers, find_learning_rate, of_size

WORDS = ["the", "food", "was", "great", "and", "cheap", "but", "service", "slow", "we", "will", "never", "come", "back"]
TRAINING = TrainingSpec(batch=4, bptt_len=10, precision="float32", evaluations=2)
SPEC = RecurrentSpec(kind="gru", name="gru", hidden=8, embedding=8, layers=2, training=TRAINING)


def reviews(count: int, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(WORDS, random.integers(5, 20))) for _ in range(count)]
    return pl.DataFrame({
        "review_id": [f"r{i}" for i in range(count)], "text": texts, "stars": [1 + i % 5 for i in range(count)],
        "bytes": [len(text) + 1 for text in texts],
    })  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("store")
    vocabulary = Vocabulary.train([" ".join(WORDS)] * 3, VocabularySpec(min_count=1), NormalForm())
    (folder / "vocabulary").mkdir()
    vocabulary.save(folder / "vocabulary" / VOCABULARY_FILE)
    for split, count in (("train", 150), ("validation", 20)):
        write_stream(folder / split, vocabulary, [reviews(count, count)])
    streams = {split: Artifact("tokens", split, str(folder / split)) for split in ("train", "validation")}
    nothing = Artifact("none", "none", str(folder))
    return Prepared(
        nothing, nothing, {"word": Artifact("vocabulary", "v", str(folder / "vocabulary"))}, {"word": streams}
    )


@pytest.fixture
def config(migrated_home: Path) -> RunConfig:
    models: list[dict[str, Any]] = [{"kind": "ngram", "name": "kn5"}, {"kind": "gru", "name": "gru"}]
    return parse_config({"models": models, "baseline": "kn5", "execution": {"device": "cpu", "threads": 1}})


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_range_test_writes_numbers_and_a_picture_and_leaves_the_store_as_it_was(
    config: RunConfig, prepared: Prepared, tmp_path: Path
) -> None:
    before = contents(prepared.clean.folder)
    found = find_learning_rate.fn(config, SPEC, prepared, tmp_path / "out", 1e-4, 10.0, 60)
    assert contents(prepared.clean.folder) == before
    assert not (config.home / "store").exists()
    assert [Path(name).name for name in found["files"]] == ["lr_find.json", "lr_find.png"]
    written = json.loads((tmp_path / "out" / "lr_find.json").read_text())
    assert written["suggestion"] == found["suggestion"]
    assert len(written["nats"]) == found["updates"] <= 60
    assert found["learning_rate"] == TRAINING.learning_rate
    assert found["setting"] == "models.1.training.learning_rate"


@pytest.mark.slow
def test_a_range_test_can_be_a_run_with_its_losses_and_its_picture(
    config: RunConfig, prepared: Prepared, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    found = find_learning_rate.fn(config, SPEC, prepared, tmp_path, 1e-4, 10.0, 40, track=True)
    client = MlflowClient(tracking_uri=f"sqlite:///{config.home / 'mlflow.db'}")
    run = client.get_run(found["mlflow_run_id"])
    assert (run.info.status, run.data.tags["reviewlm.kind"]) == ("FINISHED", "lr-find")
    assert run.data.metrics["suggestion"] == found["suggestion"]
    written = json.loads((tmp_path / "lr_find.json").read_text())
    assert [point.value for point in client.get_metric_history(run.info.run_id, "curves/train_nats")] == written["nats"]
    assert {"lr_find.json", "plots"} <= {file.path for file in client.list_artifacts(run.info.run_id)}


def test_both_wait_for_a_slot_of_the_device_they_use(
    config: RunConfig, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.neural.optimization import comparison as optimizer_comparison
    from models.neural.optimization import rate_finder

    happened: list[str] = []

    @contextmanager
    def slot(device: str, here: bool) -> Iterator[tuple[int, ...]]:
        happened.append(f"slot of {device}")
        yield (1,)
        happened.append("given back")

    def work(*arguments: Any, **options: Any) -> Any:
        happened.append("work")
        raise ModelError("enough", "input")

    monkeypatch.setattr("tasks.search.optimizers.gpu_slot", slot)
    monkeypatch.setattr("tasks.search.optimizers.device_of", lambda config: "cuda")
    monkeypatch.setattr(rate_finder, "find_rate", work)
    monkeypatch.setattr(optimizer_comparison, "compare", work)
    with pytest.raises(InputError, match="enough"):
        find_learning_rate.fn(config, SPEC, prepared, tmp_path, None, None, 40)
    with pytest.raises(InputError, match="enough"):
        compare_optimizers.fn(config, SPEC, prepared, tmp_path, {"adam": [0.01]}, 300, 1.0, False)
    assert happened == ["slot of cuda", "work"] * 2


@pytest.mark.slow
def test_what_was_found_is_told_where_it_cannot_be_written(
    config: RunConfig, prepared: Prepared, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritable):
        find_learning_rate.fn(config, SPEC, prepared, tmp_path / "file" / "below", 1e-4, 10.0, 40)
    assert '"suggestion": ' in caplog.text
    with pytest.raises(NotWritable):
        compare_optimizers.fn(config, SPEC, prepared, tmp_path / "file", {"adam": [0.01]}, 300, 1.0, False)
    assert '"rate": 0.01' in caplog.text


def test_trials_that_were_finished_before_an_interruption_are_in_the_folder(
    config: RunConfig, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.neural.optimization import comparison as optimizer_comparison

    fit = optimizer_comparison._fit

    def interrupted(spec: Any, *arguments: Any) -> Any:
        if spec.training.learning_rate == 0.03:
            raise KeyboardInterrupt
        return fit(spec, *arguments)

    monkeypatch.setattr(optimizer_comparison, "_fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare_optimizers.fn(config, SPEC, prepared, tmp_path, {"adam": [0.01, 0.03]}, 300, 1.0, False)
    [trial] = json.loads((tmp_path / "optimizers.json").read_text())["trials"]
    assert (trial["optimizer"], trial["rate"]) == ("adam", 0.01)
    assert (tmp_path / "optimizers.csv").is_file()


def test_what_a_range_test_complains_of_has_the_name_of_the_model(
    config: RunConfig, prepared: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="sweep higher"):
        find_learning_rate.fn(config, SPEC, prepared, tmp_path, 1e-12, 1e-11, 30)
    assert not list(tmp_path.glob("lr_find*"))


@pytest.mark.slow
def test_a_comparison_is_written_and_every_trial_is_a_run_below_one_parent(
    config: RunConfig, prepared: Prepared, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    before = contents(prepared.clean.folder)
    spec, rates = of_size(SPEC, 8), {"adamw": [0.01, 0.03], "gd": [1.0]}
    found = compare_optimizers.fn(config, spec, prepared, tmp_path / "out", rates, 800, 1.0, True)
    assert contents(prepared.clean.folder) == before
    assert found["train_tokens"] <= 800
    assert [trial["optimizer"] for trial in found["trials"]] == ["adamw", "adamw", "gd"]
    assert json.loads((tmp_path / "out" / "optimizers.json").read_text())["trials"] == json.loads(
        json.dumps(found["trials"])
    )
    uri = f"sqlite:///{config.home / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    parent = client.get_run(found["mlflow_run_id"])
    assert parent.info.status == "FINISHED"
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )  # fmt: skip
    assert {child.info.run_name for child in children} == {"adamw 0.01", "adamw 0.03", "gd 1"}
    one = next(child for child in children if child.info.run_name == "adamw 0.03")
    history = client.get_metric_history(one.info.run_id, "curves/validation_nats")
    trial = found["trials"][1]
    assert [(metric.step, metric.value) for metric in history] == list(zip(trial["tokens"], trial["nats"], strict=True))
    assert {"optimizers.json", "comparison.json", "plots"} <= {
        artifact.path for artifact in client.list_artifacts(parent.info.run_id)
    }


@pytest.mark.slow
def test_without_rates_every_rule_is_tried_at_its_usual_ones(
    config: RunConfig, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.neural.optimization.comparison.GRID", {"sgd": (0.5,), "adam": (0.01,)})
    found = compare_optimizers.fn(config, SPEC, prepared, tmp_path, None, 300, 1.0, False)
    assert [(trial["optimizer"], trial["rate"]) for trial in found["trials"]] == [("sgd", 0.5), ("adam", 0.01)]
    assert "mlflow_run_id" not in found


def test_a_configuration_with_one_model_alone_is_valid(config: RunConfig) -> None:
    alone = with_only(config, SPEC)
    assert RunConfig.model_validate(alone.model_dump()).models[0].name == "gru"


def test_a_size_makes_one_layer_of_so_many_units_and_0_leaves_the_model(config: RunConfig) -> None:
    assert of_size(SPEC, 0) == SPEC
    assert of_size(SPEC, 5) == replace(SPEC, hidden=5, embedding=5, layers=1)
    assert of_size(NPLMSpec(context=3), 5) == NPLMSpec(context=3, hidden=5, embedding=5)
