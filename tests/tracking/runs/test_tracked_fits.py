"""What the pipeline tells MLflow about a flow and its fits: taken up after a kill, told apart, in few requests."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import BundleError, InputError
from reviewlm.models.specs import spec_from_dict
from reviewlm.tasks.records.track import (
    JOURNAL,
    log_inputs,
    open_model_run,
    parent_run,
    show_passed_over,
)
from reviewlm.tracking.logged_models.bundles import bundle_in, has_bundle
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import (
    FIT_TAG,
    IN_USE,
    MODEL_URI_TAG,
    NOTE,
    PASSED_OVER,
    RUN_NAME,
    RUN_OUTCOME,
    RUNNING,
    outcome_in,
    value_of,
)

TINY = Path(__file__).parents[2] / "flows" / "tiny.toml"
SPEC = spec_from_dict(
    {
        "kind": "ngram",
        "name": "kn2",
        "order": 2,
    }
)


@pytest.fixture
def config(store_home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("REVIEWLM_HOME", str(store_home))
    return load_config(
        str(TINY), ["execution.tracking_patience=0", "execution.experiment=reviewlm"]
    )


@pytest.fixture
def prepared(tmp_path: Path) -> Any:
    """Artifacts with the files that tracking looks at."""

    def artifact(name: str, **files: pl.DataFrame) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        for file, frame in files.items():
            frame.write_parquet(folder / f"{file}.parquet")
        return SimpleNamespace(folder=folder, digest=f"{name} {'0' * 20}")

    rows = pl.DataFrame({"review_id": ["a", "b"], "stars": [1, 5]})
    streams = {split: artifact(split, documents=rows) for split in ("train", "validation", "test")}
    return SimpleNamespace(
        clean=artifact("clean", clean=rows),
        tokens={"word": streams},
        vocabularies={"word": artifact("vocabulary")},
    )


@pytest.fixture
def fitted(
    tmp_path: Path,
    stand_in: Any,
    light_models: None,
) -> Any:
    """An artifact of a fit: a journal and a bundle."""
    folder = tmp_path / "fit"
    stand_in.bundle(folder / "bundle", "w")
    write_curve(folder / JOURNAL, 20)
    return SimpleNamespace(
        folder=folder, facts={"name": "kn2", "summary": {"seconds": 2.0, "parameters": 10}}
    )


def write_curve(journal: Path, steps: int) -> None:
    lines = [
        {
            "step": step,
            "time": 1.0 + step,
            "train/nats": 0.5,
            "settled": True,
        }
        for step in range(1, steps + 1)
    ]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_model_run(
    config: Any,
    prepared: Any,
    fitted: Any,
    parent: str,
    there: bool = False,
) -> str:
    with open_model_run(
        config,
        SPEC,
        "d1",
        prepared,
        parent,
        there,
    ) as run:
        run.forward(fitted.folder / JOURNAL)
        run.complete(fitted, "bundle")
    return run.run_id


def runs(tracker: Tracker, **wanted: str) -> list[Any]:
    found = tracker.client.search_runs([tracker.experiment_id])
    return [
        run
        for run in found
        if all(value_of(run.data.tags, name) == value for name, value in wanted.items())
    ]


@pytest.fixture
def logged_fit(
    config: Any,
    prepared: Any,
    fitted: Any,
    tracker: Tracker,
) -> Any:
    """MLflow's runs of a fit and of the flow that it belongs to."""
    with parent_run(config, "retrain") as parent:
        log_inputs(config.workspace, prepared, parent)
        run_id = write_model_run(config, prepared, fitted, parent)
    return SimpleNamespace(
        run=tracker.client.get_run(run_id),
        above=tracker.client.get_run(parent),
        run_id=run_id,
    )


def test_the_runs_of_a_fit_are_finished(logged_fit: Any):
    assert (logged_fit.run.info.status, logged_fit.above.info.status) == ("FINISHED", "FINISHED")


def test_the_run_of_a_flow_is_named_by_its_data(logged_fit: Any):
    above = logged_fit.above
    name = r"retrain, embedded corpus, \d\d [A-Z][a-z]+ \d\d:\d\d"
    assert re.fullmatch(name, above.info.run_name)
    assert above.data.tags["reviewlm.flow"] == "retrain"
    assert above.data.tags["reviewlm.data"] == "embedded corpus"


def test_a_fit_has_tags_to_choose_by(logged_fit: Any, config: Any):
    tags = logged_fit.run.data.tags
    assert {name: tags[f"reviewlm.{name}"] for name in ("kind", "unit", "preset")} == {
        "kind": "ngram",
        "unit": "word",
        "preset": config.preset,
    }
    assert value_of(logged_fit.above.data.tags, "reviewlm.child.kn2") == logged_fit.run_id


def test_a_fit_names_its_data(logged_fit: Any, prepared: Any):
    assert sorted(entry.dataset.name for entry in logged_fit.run.inputs.dataset_inputs) == [
        "word-test",
        "word-train",
        "word-validation",
    ]
    inputs = logged_fit.above.inputs.dataset_inputs
    assert {entry.dataset.name: entry.dataset.digest for entry in inputs} == {
        "reviews": prepared.clean.digest,
        **{f"word-{name}": s.digest for name, s in prepared.tokens["word"].items()},
    }


def test_a_fit_has_its_curves(logged_fit: Any, tracker: Tracker):
    assert len(tracker.client.get_metric_history(logged_fit.run_id, "train/nats")) == 20
    assert logged_fit.run.data.metrics["x_fit/parameters"] == 10


def test_a_fit_has_its_model(logged_fit: Any, tracker: Tracker):
    model_id = logged_fit.run.outputs.model_outputs[0].model_id
    model = tracker.client.get_logged_model(model_id)
    assert (model.name, str(model.status)) == ("kn2", "READY")
    assert value_of(logged_fit.run.data.tags, "reviewlm.model_uri") == f"models:/{model_id}"


def test_a_fit_that_was_killed_gets_a_new_run_with_each_point_once(
    config: Any,
    prepared: Any,
    fitted: Any,
    tracker: Tracker,
):
    killed = tracker.start_run("kn2", {FIT_TAG: "d1"})
    tracker.log_journal(killed, fitted.folder / JOURNAL, settled=True)
    tracker.end_run(killed, "KILLED")
    run_id = write_model_run(config, prepared, fitted, tracker.start_run("retrain"))
    assert sorted(run.info.status for run in runs(tracker, **{FIT_TAG: "d1"})) == [
        "FINISHED",
        "KILLED",
    ]
    steps = [point.step for point in tracker.client.get_metric_history(run_id, "train/nats")]
    assert steps == list(range(1, 21))


@pytest.fixture
def lost_fit(
    config: Any,
    prepared: Any,
    fitted: Any,
    tracker: Tracker,
) -> Any:
    """A stored fit whose registered model has lost its files: linked to the old run it could never be scored."""
    parent = tracker.start_run("retrain")
    first = write_model_run(config, prepared, fitted, parent)
    registry = Registry(tracker, "reviews")
    lost = registry.register(tracker.tag(first, MODEL_URI_TAG), first)
    shutil.rmtree(registry.bundle_folder(lost))

    def log_again() -> str:
        return write_model_run(
            config,
            prepared,
            fitted,
            parent,
            there=True,
        )

    return SimpleNamespace(
        first=first,
        lost=lost,
        parent=parent,
        registry=registry,
        log_again=log_again,
    )


def test_a_version_whose_logged_files_are_gone_is_an_error(lost_fit: Any) -> None:
    with pytest.raises(BundleError, match="is logged and registered again"):
        lost_fit.registry.bundle_folder(lost_fit.lost)


def test_a_fit_whose_logged_files_are_gone_is_logged_anew_once(
    lost_fit: Any,
    tracker: Tracker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("WARNING"):
        second = lost_fit.log_again()
    assert second != lost_fit.first
    assert f"(MLflow run {lost_fit.first}) are gone or damaged" in caplog.text
    assert "`reviewlm history`" in caplog.text
    assert tracker.tag(lost_fit.parent, "reviewlm.child.kn2") == second
    assert lost_fit.log_again() == second


def test_a_fit_that_was_logged_anew_can_be_registered(lost_fit: Any, tracker: Tracker) -> None:
    second = lost_fit.log_again()
    version = lost_fit.registry.register(tracker.tag(second, MODEL_URI_TAG), second)
    assert version != lost_fit.lost
    assert (lost_fit.registry.bundle_folder(version) / "spec.json").is_file()


def test_a_logged_model_that_was_deleted_is_gone_too(
    config: Any,
    prepared: Any,
    fitted: Any,
    tracker: Tracker,
) -> None:
    parent = tracker.start_run("retrain")
    first = write_model_run(config, prepared, fitted, parent)
    uri = tracker.tag(first, MODEL_URI_TAG)
    assert has_bundle(tracker, uri)
    tracker.client.delete_logged_model(uri.removeprefix("models:/"))
    assert not has_bundle(tracker, uri)
    assert not has_bundle(tracker, "")
    assert (
        write_model_run(
            config,
            prepared,
            fitted,
            parent,
            there=True,
        )
        != first
    )


def test_a_logged_model_with_a_changed_file_is_logged_anew(
    config: Any,
    prepared: Any,
    fitted: Any,
    tracker: Tracker,
) -> None:
    weights = fitted.folder / "bundle" / "weights.bin"
    weights.write_bytes(b"weights")
    told = {"files": {weights.name: hashlib.sha256(b"weights").hexdigest()}}
    (fitted.folder / "bundle" / "spec.json").write_text(json.dumps(told))
    parent = tracker.start_run("retrain")
    first = write_model_run(config, prepared, fitted, parent)
    assert (
        write_model_run(
            config,
            prepared,
            fitted,
            parent,
            there=True,
        )
        == first
    )
    model = tracker.client.get_logged_model(
        tracker.tag(first, MODEL_URI_TAG).removeprefix("models:/")
    )
    folder = bundle_in(tracker, model.artifact_location)
    assert folder
    (folder / weights.name).unlink()  # it may be a link to the store's file
    (folder / weights.name).write_bytes(b"weighty")
    second = write_model_run(
        config,
        prepared,
        fitted,
        parent,
        there=True,
    )
    assert second != first
    assert (
        write_model_run(
            config,
            prepared,
            fitted,
            parent,
            there=True,
        )
        == second
    )


def test_of_files_that_are_not_on_this_machine_mlflow_is_asked(
    config: Any,
    prepared: Any,
    fitted: Any,
    tracker: Tracker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_id = write_model_run(config, prepared, fitted, tracker.start_run("retrain"))
    uri = tracker.tag(run_id, MODEL_URI_TAG)
    folder = bundle_in(
        tracker, tracker.client.get_logged_model(uri.removeprefix("models:/")).artifact_location
    )
    assert folder
    monkeypatch.setattr(
        "reviewlm.tracking.logged_models.bundles.bundle_in", lambda tracker, address: None
    )
    assert has_bundle(tracker, uri)
    shutil.rmtree(folder)
    assert not has_bundle(tracker, uri)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://me:secret@host/db", "PGPASSWORD"),
        ("https://me:secret@host", "MLFLOW_TRACKING_PASSWORD"),
        ("postgres://me@host/db", "postgresql://"),
    ],
)
def test_an_address_that_would_spread_a_password_or_cannot_work_is_refused(
    own_home: Path,
    address: str,
    said: str,
):
    from reviewlm.core.errors import ConfigError

    with pytest.raises(ConfigError) as caught:
        load_config(str(TINY), [f"execution.tracking_uri={address}"])
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_run_of_a_model_that_was_passed_over_says_so_until_the_next_retrain(tracker: Tracker):
    run_id = tracker.start_run("kn5+lstm, 30 Nov 18:31", {NOTE: "A mixture."})
    for _ in range(2):  # a retry changes nothing
        show_passed_over(tracker, run_id, "it saves only 0.91% of its part")
    assert outcome_in(tracker.tag(run_id, RUN_NAME)) == PASSED_OVER
    first, _, rest = tracker.tag(run_id, NOTE).partition("\n\n")
    assert ("0.91%" in first, rest) == (True, "A mixture.")

    show_passed_over(tracker, run_id, "")
    assert tracker.tag(run_id, RUN_NAME) == "kn5+lstm, 30 Nov 18:31"
    assert tracker.tag(run_id, NOTE) == "A mixture."


def test_what_has_become_of_a_registered_model_is_not_hidden(tracker: Tracker):
    run_id = tracker.start_run("★ lstm in use, 30 Nov 18:31")
    show_passed_over(tracker, run_id, "it is too large")
    assert outcome_in(tracker.tag(run_id, RUN_NAME)) == IN_USE


def test_a_retrain_is_running_until_it_ends_or_is_decided(config: Any, tracker: Tracker):
    context = parent_run(config, "retrain", outcome=RUNNING)
    run_id = context.__enter__()
    assert tracker.tag(run_id, RUN_OUTCOME) == RUNNING

    error = InputError("no reviews")
    assert not context.__exit__(InputError, error, None)
    assert tracker.tag(run_id, RUN_OUTCOME) == "failed"
