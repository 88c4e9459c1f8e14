"""Runs in MLflow: what is logged can be read back, twice changes nothing, an outage is named."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import pickle
import threading
import time
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from core.errors import Damaged, NotWritable, ReviewLMError, StoreFull, TrackingUnavailable
from core.services.service_list import address_of
from tracking.runs.runs import Tracker, run_tags


def artifact(tracker: Tracker, run_id: str, path: str) -> Path:
    return tracker.artifact_root / run_id / "artifacts" / path


def history(tracker: Tracker, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in tracker.client.get_metric_history(run_id, name)]


def test_nothing_happens_before_first_use(tmp_path: Path):
    Tracker(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}", "reviewlm", tmp_path / "home" / "mlartifacts")
    assert not list(tmp_path.iterdir())


def test_a_child_run_is_nested_below_its_parent(tracker: Tracker):
    parent = tracker.start_run("retrain")
    child = tracker.start_run("kn5", {"kind": "ngram"}, parent)
    run = tracker.client.get_run(child)
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.tags["kind"] == "ngram"
    assert run.info.run_name == "kn5"


def test_prefect_and_mlflow_find_each_other_in_one_step(tracker: Tracker):
    tags = run_tags("flow-1", "http://prefect/runs/flow-run/flow-1", "abc123", "**why**")
    run_id = tracker.start_run("retrain", tags)
    assert tracker.find_run("prefect.flow_run_id", "flow-1") == run_id
    assert tracker.tag(run_id, "prefect.flow_run_url").endswith("flow-1")
    assert tracker.tag(run_id, "mlflow.source.git.commit") == "abc123"
    assert tracker.tag(run_id, "mlflow.note.content") == "**why**"
    page = f"{address_of(tracker.artifact_root.parent, 'mlflow')}/#/experiments/{tracker.experiment_id}/runs/{run_id}"
    assert tracker.link(run_id) == f"{page}?workflowType=machine_learning"
    assert tracker.link(run_id, "report.html") == f"{page}/artifacts/report.html?workflowType=machine_learning"
    assert tracker.runs_page == f"{page.rpartition('/')[0]}?workflowType=machine_learning"


def test_links_follow_the_setting_and_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert Tracker("http://mlflow:5000/", "x", tmp_path).ui == "http://mlflow:5000"
    monkeypatch.setenv("REVIEWLM_MLFLOW_URL", "https://ui.example/")
    assert Tracker("http://mlflow:5000", "x", tmp_path).ui == "https://ui.example"
    assert Tracker("http://mlflow:5000", "x", tmp_path, ui="http://mine").ui == "http://mine"


def test_the_newest_run_with_a_tag_and_status_is_found_and_a_quote_in_it_is_harmless(tracker: Tracker):
    assert tracker.find_run("fit", "it's") is None
    first = tracker.start_run("a", {"fit": "it's"})
    tracker.end_run(first)
    time.sleep(0.002)
    second = tracker.start_run("b", {"fit": "it's"})
    assert tracker.find_run("fit", "it's") == second
    assert tracker.find_run("fit", "it's", "FINISHED") == first


def test_parameters_arrive_flat_and_logging_them_again_is_fine(tracker: Tracker):
    run_id = tracker.start_run("a")
    settings = {"optimisation": {"batch": 20}, "many": {f"p{i}": i for i in range(250)}}
    tracker.log_params(run_id, settings)
    tracker.log_params(run_id, settings)
    params = tracker.client.get_run(run_id).data.params
    assert params["optimisation.batch"] == "20"
    assert len(params) == 251


def test_a_parameter_that_changes_is_refused(tracker: Tracker):
    run_id = tracker.start_run("a")
    tracker.log_params(run_id, {"batch": 20})
    with pytest.raises(ReviewLMError, match="MLflow refused") as caught:
        tracker.log_params(run_id, {"batch": 21})
    assert not isinstance(caught.value, TrackingUnavailable)


def test_metrics_arrive_with_step_and_legal_names(tracker: Tracker):
    run_id = tracker.start_run("a")
    tracker.log_metrics(run_id, {"test/bits_per_byte": 1.25, "hit@1": 0.5}, step=7)
    assert history(tracker, run_id, "x_test/bits_per_byte") == [(7, 1.25)]
    assert history(tracker, run_id, "hit_at_1") == [(7, 0.5)]


def test_a_figure_logged_again_is_there_once_and_a_new_value_is_the_latest(tracker: Tracker):
    run_id = tracker.start_run("a")
    for value in (1.0, 1.0 + 1e-15, 2.0, 2.0, 1.0):
        tracker.log_metrics(run_id, {"test/nats": value})
    assert [value for _, value in history(tracker, run_id, "x_test/nats")] == [1.0, 2.0, 1.0]
    assert tracker.metrics(run_id) == {"test/nats": 1.0}
    for _ in range(2):
        tracker.log_curves(run_id, [("curve", 0.5, 0), ("curve", 0.25, 10), ("curve", float("nan"), 20)])
    assert [step for step, _ in history(tracker, run_id, "curve")] == [0, 10, 20]


def append(journal: Path, *steps: int) -> None:
    with journal.open("a") as file:
        file.writelines(json.dumps({"step": step, "train/nats": step / 10, "rate": 1.0}) + "\n" for step in steps)


def test_a_journal_is_forwarded_once_by_however_many_calls_and_processes(tracker: Tracker, tmp_path: Path):
    run_id, journal = tracker.start_run("a"), tmp_path / "metrics.jsonl"
    append(journal, 1, 2)
    assert tracker.log_journal(run_id, journal) == 4
    assert tracker.log_journal(run_id, journal) == 0
    append(journal, 3)
    another_process = pickle.loads(pickle.dumps(tracker))
    assert another_process.log_journal(run_id, journal) == 2
    assert tracker.log_journal(run_id, journal) == 2  # its memory is older; asked again below
    fresh = pickle.loads(pickle.dumps(tracker))
    assert fresh.log_journal(run_id, journal) == 0


def test_what_a_divergence_may_take_back_is_not_forwarded_before_it_is_settled(tracker: Tracker, tmp_path: Path):
    """The trainer cuts its journal at its last good state; MLflow could not forget what it was sent."""
    run_id, journal = tracker.start_run("a"), tmp_path / "metrics.jsonl"
    append(journal, 1, 2)
    assert tracker.log_journal(run_id, journal, settled=True) == 0
    with journal.open("a") as file:
        file.write('{"step": 2, "validation/nats": 0.5, "settled": true}\n')
    good = journal.stat().st_size
    append(journal, 3)
    with journal.open("a") as file:
        file.write('{"step": 3, "validation/nats": 9.5, "settled": false}\n')
    assert tracker.log_journal(run_id, journal, settled=True) == 5
    os.truncate(journal, good)
    append(journal, 4)
    assert tracker.log_journal(run_id, journal, settled=True) == 0
    assert tracker.log_journal(run_id, journal) == 2
    assert history(tracker, run_id, "curves/train_nats") == [(1, 0.1), (2, 0.2), (4, 0.4)]
    assert history(tracker, run_id, "curves/validation_nats") == [(2, 0.5)]


def test_a_request_that_arrived_but_was_not_answered_is_not_sent_twice(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run_id, journal = tracker.start_run("a"), tmp_path / "metrics.jsonl"
    append(journal, *range(600))
    real = tracker.client.log_batch

    def answer_is_lost(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)
        raise TrackingUnavailable("connection reset")

    monkeypatch.setattr(tracker.client, "log_batch", answer_is_lost)
    with pytest.raises(TrackingUnavailable):
        tracker.log_journal(run_id, journal)
    monkeypatch.undo()
    assert tracker.log_journal(run_id, journal) == 200  # the first batch of 1000 of the 1200 points had arrived
    assert [step for step, _ in history(tracker, run_id, "curves/train_nats")] == list(range(600))


def test_a_table_can_be_read_back_and_logging_it_again_replaces_it(tracker: Tracker):
    run_id = tracker.start_run("a")
    frame = pl.DataFrame({"text": ['said "hi", é\nbye'], "stars": [5], "when": [datetime(2024, 1, 2)]})
    for _ in range(2):
        tracker.log_table(run_id, frame, "samples.json")
    table = json.loads(artifact(tracker, run_id, "samples.json").read_text())
    assert table == {"columns": ["text", "stars", "when"], "data": [['said "hi", é\nbye', 5, "2024-01-02 00:00:00"]]}
    rows = list(csv.DictReader(io.StringIO(artifact(tracker, run_id, "samples.csv").read_text())))
    assert rows[0]["text"] == 'said "hi", é\nbye'
    assert json.loads(tracker.tag(run_id, "mlflow.loggedArtifacts")) == [{"path": "samples.json", "type": "table"}]


def test_mlflow_itself_reads_our_table(tracker: Tracker):
    run_id = tracker.start_run("a")
    tracker.log_table(run_id, pl.DataFrame({"text": ["x", "y"], "stars": [1, 2]}), "samples.json")
    table = tracker.client._read_from_file(str(artifact(tracker, run_id, "samples.json")))
    assert table.to_dict("list") == {"text": ["x", "y"], "stars": [1, 2]}


def test_figures_texts_and_folders_lie_below_the_run(tracker: Tracker, tmp_path: Path):
    from matplotlib.figure import Figure

    (tmp_path / "docs" / "static").mkdir(parents=True)
    (tmp_path / "docs" / "static" / "index.html").write_text("<p>")
    run_id = tracker.start_run("a")
    figure = Figure()
    figure.subplots().plot([1, 2])
    tracker.log_figure(run_id, figure, "plots/loss.png")
    tracker.log_text(run_id, "é", "decision.md")
    tracker.log_folder(run_id, tmp_path / "docs", "data_docs")
    assert artifact(tracker, run_id, "plots/loss.png").read_bytes().startswith(b"\x89PNG")
    assert artifact(tracker, run_id, "decision.md").read_text(encoding="utf-8") == "é"
    assert artifact(tracker, run_id, "data_docs/static/index.html").is_file()


def test_a_data_set_is_recorded_with_our_digest_and_its_columns(tracker: Tracker, tmp_path: Path):
    run_id, file = tracker.start_run("a"), tmp_path / "documents.parquet"
    frame = pl.DataFrame({"review_id": ["a", "b"], "stars": pl.Series([1, 5], dtype=pl.Int8)})
    frame.write_parquet(file)
    tracker.log_datasets(run_id, [
        (file, "word-train", "0123456789abcdef", "training"), (frame, "in memory", "f" * 64, "test"),
        (tmp_path, "folder", "00", "raw"),
    ])
    inputs = {entry.dataset.name: entry for entry in tracker.client.get_run(run_id).inputs.dataset_inputs}
    stored = inputs["word-train"].dataset
    assert stored.digest == "0123456789abcdef"
    assert json.loads(stored.source) == {"uri": file.as_uri()}
    assert json.loads(stored.profile) == {"num_rows": 2, "columns": ["review_id", "stars"]}
    assert inputs["word-train"].tags[0].value == "training"
    assert set(inputs) == {"word-train", "in memory", "folder"}


def test_tags_that_are_too_long_are_cut_and_end_states_arrive(tracker: Tracker):
    run_id = tracker.start_run("a" * 300)  # PostgreSQL refuses more than 250
    tracker.set_tags(run_id, {"reason": "x" * 9000, "n": 3})
    tracker.end_run(run_id, "FAILED")
    run = tracker.client.get_run(run_id)
    assert len(run.info.run_name) == 250
    assert run.data.tags["reason"].endswith("(shortened, 9000 characters)")
    assert run.data.tags["n"] == "3"
    assert run.info.status == "FAILED"
    assert run.info.end_time


def test_writes_wait_for_their_answer_whatever_the_environment_says(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.tracking.abstract_store import AbstractStore

    for method in ("log_batch_async", "set_tag_async"):
        monkeypatch.setattr(AbstractStore, method, lambda *_, **__: pytest.fail("sent by a thread"), raising=False)
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    again = pickle.loads(pickle.dumps(tracker))  # as in another process
    run_id = again.start_run("one")
    again.log_metrics(run_id, {"loss": 1.0})
    again.log_params(run_id, {"seed": 1})
    again.set_tags(run_id, {"reason": "x"})
    assert history(again, run_id, "loss") == [(0, 1.0)]
    assert again.tag(run_id, "reason") == "x"


def test_variables_of_mlflow_that_name_another_place_have_no_effect(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("TRACKING_URI", "REGISTRY_URI", "TRACKING_DIR", "EXPERIMENT_NAME", "EXPERIMENT_ID", "RUN_ID",
                 "ACTIVE_MODEL_ID"):  # fmt: skip
        monkeypatch.setenv(f"MLFLOW_{name}", f"{tmp_path}/elsewhere")
    again = pickle.loads(pickle.dumps(tracker))
    run_id = again.start_run("one")
    again.log_text(run_id, "text", "a.txt")
    assert tracker.client.get_run(run_id).info.experiment_id == tracker.experiment_id
    assert artifact(tracker, run_id, "a.txt").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_a_server_that_is_not_there_is_tracking_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = Tracker("http://127.0.0.1:9", "reviewlm", tmp_path)
    with pytest.raises(TrackingUnavailable, match=r"http://127\.0\.0\.1:9") as caught:
        tracker.wait()
    assert caught.value.exit_code == 8


def test_an_experiment_in_the_bin_comes_back(tracker: Tracker):
    tracker.client.delete_experiment(tracker.experiment_id)
    again = pickle.loads(pickle.dumps(tracker))
    run_id = again.start_run("a")
    assert again.client.get_run(run_id).info.experiment_id == tracker.experiment_id
    assert again.client.get_experiment(tracker.experiment_id).lifecycle_stage == "active"


def test_the_ui_shows_an_experiment_as_model_training_also_one_that_was_made_before(tracker: Tracker):
    kind = "mlflow.experimentKind"
    old = tracker.client.create_experiment("made by an older version")
    before = Tracker(tracker.uri, "made by an older version", tracker.artifact_root)
    for each in (tracker, before):
        assert each.client.get_experiment(each.experiment_id).tags[kind] == "custom_model_development"
    assert before.experiment_id == old


def test_threads_share_a_tracker(tracker: Tracker):
    runs: list[str] = []

    def work(number: int) -> None:
        run_id = tracker.start_run(f"run {number}")
        tracker.log_metrics(run_id, {"n": number})
        runs.append(run_id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = sorted(tracker.client.get_run(run_id).data.metrics["n"] for run_id in runs)
    assert values == [0, 1, 2, 3]


def _log_some(tracker: Tracker, number: int) -> None:
    run_id = tracker.start_run(f"process {number}", {"number": number})
    for step in range(20):
        tracker.log_metrics(run_id, {"n": step}, step)


@pytest.mark.long
def test_processes_create_and_share_a_new_database(tmp_path: Path):
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "reviewlm", tmp_path / "mlartifacts")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_log_some, args=(tracker, number)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    runs = tracker.client.search_runs([tracker.experiment_id])
    assert sorted(run.data.tags["number"] for run in runs) == ["0", "1"]
    assert all(len(tracker.client.get_metric_history(run.info.run_id, "n")) == 20 for run in runs)


def test_a_folder_that_cannot_hold_the_database_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    tracker = Tracker(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", "reviewlm", tmp_path)
    with pytest.raises(NotWritable, match=str(tmp_path / "file")):
        tracker.start_run("a")


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path):
    file = tmp_path / "mlflow.db"
    file.write_text("dear diary, " * 100)
    with pytest.raises(Damaged, match="not a database"):
        Tracker(f"sqlite:///{file}", "reviewlm", tmp_path).start_run("a")
    assert file.read_text() == "dear diary, " * 100


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("(sqlite3.OperationalError) database or disk is full", StoreFull),
        ("(sqlite3.OperationalError) attempt to write a readonly database", NotWritable),
        ("(sqlite3.OperationalError) malformed database schema", Damaged),
    ],
)
def test_what_waiting_cannot_cure_is_told_at_once(tracker: Tracker, monkeypatch, message: str, kind: type[Exception]):
    from mlflow.exceptions import MlflowException

    def refuse(*args: object, **kwargs: object) -> None:
        raise MlflowException(message)

    run_id = tracker.start_run("a")
    monkeypatch.setattr(tracker.client, "log_batch", refuse)
    with pytest.raises(kind):
        tracker.log_metrics(run_id, {"a": 1.0})
