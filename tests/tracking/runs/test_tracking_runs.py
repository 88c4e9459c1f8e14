"""Runs in MLflow: what is logged can be read back, twice changes nothing, an outage is named."""

from __future__ import annotations

import json
import multiprocessing
import os
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import polars as pl
import pytest

from reviewlm.core.errors import Damaged, NotWritable, StoreFull, TrackingUnavailable
from reviewlm.tracking import tags as tag
from reviewlm.tracking.client import VIEW_TAG
from reviewlm.tracking.runs.runs import Tracker


def artifact(
    tracker: Tracker,
    run_id: str,
    path: str,
) -> Path:
    return tracker.artifact_root / run_id / "artifacts" / path


def history(
    tracker: Tracker,
    run_id: str,
    name: str,
) -> list[tuple[int, float]]:
    return [
        (metric.step, metric.value) for metric in tracker.client.get_metric_history(run_id, name)
    ]


def test_a_figure_logged_again_is_there_once(tracker: Tracker):
    run_id = tracker.start_run("a")
    for step in (0, 10, 0, 10):
        tracker.log_metrics(run_id, {"curve": 0.5}, step)
    assert [step for step, _ in history(tracker, run_id, "curve")] == [0, 10]


def test_a_new_value_of_a_figure_is_the_latest(tracker: Tracker):
    run_id = tracker.start_run("a")
    for value in (1.0, 1.0, 2.0, 2.0, 1.0):
        tracker.log_metrics(run_id, {"test/nats": value})
    assert [value for _, value in history(tracker, run_id, "x_test/nats")] == [1.0, 2.0, 1.0]
    assert tracker.metrics(run_id) == {"test/nats": 1.0}
    assert tracker.ask(lambda client: client.get_run(run_id)).data.metrics == {"x_test/nats": 1.0}


def test_the_links_to_mlflow_name_views_that_the_experiment_has(tracker: Tracker):
    tags = tracker.client.get_experiment(tracker.experiment_id).tags
    pages = (tracker.runs_page, tracker.models_page)
    keys = [parse_qs(page.partition("?")[2])["viewStateShareKey"][0] for page in pages]
    views = [json.loads(tags[f"mlflow.sharedViewState.{key}"]) for key in keys]
    assert tags["mlflow.note.content"]
    for view in views:
        assert any(column.startswith("metrics.") for column in view["selectedColumns"])
    first = ["attributes.`Run Name`", f"tags.`{tag.RUN_REASON}`"]
    assert views[0]["columnOrder"][:2] == first, "a narrow page shows only these"
    made = [tracker.start_run(name, {tag.RUN_OUTCOME: tag.RUNNING}) for name in "ab"]
    assert shown_by(tracker, views[0]) == made[::-1], "the newest first: of other test reviews"


def test_every_link_opens_mlflow_in_its_view_for_trained_models(tracker: Tracker):
    links = (
        tracker.runs_page,
        tracker.models_page,
        tracker.registry_page("reviewlm"),
        tracker.version_page("reviewlm", 1),
        tracker.link(tracker.start_run("a")),
    )
    for link in links:
        assert parse_qs(link.partition("?")[2])["workflowType"] == ["machine_learning"], link


def test_the_page_of_runs_leaves_comparisons_out(tracker: Tracker):
    retrain = tracker.start_run("lstm", {tag.RUN_OUTCOME: tag.TURNED_DOWN})
    tracker.start_run("1 with 2", {tag.RUN_OUTCOME: tag.COMPARISON})
    tags = tracker.client.get_experiment(tracker.experiment_id).tags
    view = json.loads(tags[f"{VIEW_TAG}runs"])
    assert shown_by(tracker, view) == [retrain]


def shown_by(tracker: Tracker, view: dict[str, Any]) -> list[str]:
    """The runs that a view of MLflow's page lists."""
    order = [f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"]
    found = tracker.client.search_runs(
        [tracker.experiment_id], view["searchFilter"], order_by=order
    )
    return [run.info.run_id for run in found]


def test_the_page_of_models_shows_those_of_the_newest_retrain_the_best_first(tracker: Tracker):
    runs = {}
    for retrain, bits in (("2026-11-23 09:00", (0.4, 0.3)), ("2026-11-30 09:00", (0.6, 0.5))):
        for name, figure in zip("ab", bits, strict=True):
            run_id = tracker.start_run(name, {"reviewlm.kind": "lstm", "retrain": retrain})
            tracker.log_metrics(run_id, {"test/open_bits_per_byte": figure})
            runs[retrain, name] = run_id
        tracker.show_models_of(retrain)
    again = Tracker(tracker.uri, tracker.experiment, tracker.artifact_root)  # keeps the view
    tags = again.client.get_experiment(again.experiment_id).tags
    view = json.loads(tags["mlflow.sharedViewState.models"])
    assert shown_by(again, view) == [runs["2026-11-30 09:00", name] for name in "ba"]
    tracker.show_models_of("2026-11-30 09:00", most_bits=0.55)
    tags = again.client.get_experiment(again.experiment_id).tags
    view = json.loads(tags["mlflow.sharedViewState.models"])
    assert shown_by(again, view) == [runs["2026-11-30 09:00", "b"]]


@pytest.mark.parametrize(("adaptation", "shown"), [("static", "a"), ("cache", "b"), ("", "ab")])
def test_the_page_of_models_shows_those_that_adapt_alike(
    tracker: Tracker,
    adaptation: str,
    shown: str,
) -> None:
    retrain = "2026-11-30 09:00"
    runs = {}
    for name, way in (("a", "static"), ("b", "cache")):
        tags = {
            tag.KIND: "lstm",
            tag.RETRAIN: retrain,
            tag.ADAPTATION: way,
        }
        runs[name] = tracker.start_run(name, tags)
        tracker.log_metrics(runs[name], {"test/open_bits_per_byte": 0.3})

    tracker.show_models_of(retrain, adaptation=adaptation)
    tags = tracker.client.get_experiment(tracker.experiment_id).tags
    view = json.loads(tags["mlflow.sharedViewState.models"])
    assert set(shown_by(tracker, view)) == {runs[name] for name in shown}


def append(journal: Path, *steps: int) -> None:
    with journal.open("a") as file:
        file.writelines(
            json.dumps(
                {
                    "step": step,
                    "train/nats": step / 10,
                    "rate": 1.0,
                }
            )
            + "\n"
            for step in steps
        )


def test_a_journal_is_forwarded_once_by_however_many_processes(tracker: Tracker, tmp_path: Path):
    run_id, journal = tracker.start_run("a"), tmp_path / "metrics.jsonl"
    append(journal, 1, 2)
    tracker.log_journal(run_id, journal)
    append(journal, 3)
    another_process = Tracker(tracker.uri, tracker.experiment, tracker.artifact_root)
    for each in (another_process, tracker, tracker):
        each.log_journal(run_id, journal)
        assert history(tracker, run_id, "train/nats") == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_what_a_divergence_or_a_kill_may_take_back_is_not_forwarded_before_it_is_settled(
    tracker: Tracker, tmp_path: Path
):
    """The trainer cuts its journal at a checkpoint, which it writes after the mark; MLflow could not forget a point."""
    run_id, journal = tracker.start_run("a"), tmp_path / "metrics.jsonl"

    def forwarded() -> list[tuple[int, float]]:
        tracker.log_journal(run_id, journal, settled=True)
        return history(tracker, run_id, "train/nats")

    def measure(
        step: int,
        nats: float,
        good: bool = True,
    ) -> None:
        with journal.open("a") as file:
            file.write(
                json.dumps(
                    {
                        "step": step,
                        "validation/nats": nats,
                        "settled": good,
                    }
                )
                + "\n"
            )

    append(journal, 1, 2)
    assert forwarded() == []
    measure(2, 0.5)
    assert forwarded() == []
    append(journal, 3)
    measure(3, 0.4)
    checkpoint = journal.stat().st_size
    append(journal, 4)
    measure(4, 9.5, good=False)
    assert forwarded() == [(1, 0.1), (2, 0.2)]
    os.truncate(journal, checkpoint)
    append(journal, 5)
    assert forwarded() == [(1, 0.1), (2, 0.2)]
    tracker.log_journal(run_id, journal)
    assert history(tracker, run_id, "train/nats") == [(1, 0.1), (2, 0.2), (3, 0.3), (5, 0.5)]
    assert history(tracker, run_id, "validation/nats") == [(2, 0.5), (3, 0.4)]


def test_a_request_that_arrived_but_was_not_answered_is_not_sent_twice(
    tracker: Tracker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    run_id, journal = tracker.start_run("a"), tmp_path / "metrics.jsonl"
    append(journal, *range(600))
    store = tracker.client._tracking_client.store  # it gets one batch at a time
    real = store.log_batch

    def answer_is_lost(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)
        raise TrackingUnavailable("connection reset")

    monkeypatch.setattr(store, "log_batch", answer_is_lost)
    with pytest.raises(TrackingUnavailable):
        tracker.log_journal(run_id, journal)
    monkeypatch.undo()
    tracker.log_journal(run_id, journal)  # the first batch of 1000 of the 1200 points had arrived
    assert [step for step, _ in history(tracker, run_id, "train/nats")] == list(range(600))


def test_a_table_that_is_logged_again_replaces_itself(tracker: Tracker):
    run_id = tracker.start_run("a")
    frame = pl.DataFrame(
        {
            "text": ['said "hi", é\nbye'],
            "stars": [5],
            "when": [datetime(2024, 1, 2)],
        }
    )
    for _ in range(2):
        tracker.log_table(run_id, frame, "samples.json")
    table = json.loads(artifact(tracker, run_id, "samples.json").read_text())
    assert table == {
        "columns": ["text", "stars", "when"],
        "data": [['said "hi", é\nbye', 5, "2024-01-02 00:00:00"]],
    }
    assert json.loads(tracker.tag(run_id, "mlflow.loggedArtifacts")) == [
        {"path": "samples.json", "type": "table"}
    ]


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    file = tmp_path / "documents.parquet"
    pl.DataFrame({"review_id": ["a", "b"], "stars": [1, 5]}).write_parquet(file)
    return file


@pytest.fixture
def recorded_data(tracker: Tracker, data_file: Path) -> Any:
    """What a run says of a data set that it was trained on."""
    run_id = tracker.start_run("a")
    tracker.log_datasets(run_id, [(data_file, "word-train", "0123456789abcdef", "training")])
    [entry] = tracker.client.get_run(run_id).inputs.dataset_inputs
    return entry


def test_a_data_set_is_recorded_with_our_digest(recorded_data: Any):
    assert recorded_data.dataset.name == "word-train"
    assert recorded_data.dataset.digest == "0123456789abcdef"


def test_a_data_set_is_recorded_with_its_place(recorded_data: Any, data_file: Path):
    assert json.loads(recorded_data.dataset.source) == {"uri": data_file.as_uri()}


def test_a_data_set_is_recorded_with_its_columns(recorded_data: Any):
    profile = json.loads(recorded_data.dataset.profile)
    assert profile == {"num_rows": 2, "columns": ["review_id", "stars"]}


def test_a_data_set_is_recorded_with_its_use(recorded_data: Any):
    assert recorded_data.tags[0].value == "training"


def _log_some(
    uri: str,
    root: Path,
    number: int,
) -> None:
    tracker = Tracker(uri, "reviewlm", root)
    run_id = tracker.start_run(f"process {number}", {"number": number})
    for step in range(20):
        tracker.log_metrics(run_id, {"n": step}, step)


@pytest.mark.long
def test_processes_that_begin_at_once_share_a_new_database(tmp_path: Path):
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "reviewlm", tmp_path / "mlartifacts")
    context = multiprocessing.get_context("spawn")
    store = tracker.uri, tracker.artifact_root
    workers = [context.Process(target=_log_some, args=(*store, number)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    runs = tracker.client.search_runs([tracker.experiment_id])
    assert sorted(run.data.tags["number"] for run in runs) == ["0", "1"]
    assert all(len(tracker.client.get_metric_history(run.info.run_id, "n")) == 20 for run in runs)


def test_a_folder_that_cannot_hold_the_database_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    tracker = Tracker(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", "reviewlm", tmp_path)
    with pytest.raises(NotWritable, match=str(tmp_path / "file")):
        tracker.start_run("a")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("(sqlite3.OperationalError) database or disk is full", StoreFull),
        ("(sqlite3.OperationalError) attempt to write a readonly database", NotWritable),
        ("(sqlite3.OperationalError) malformed database schema", Damaged),
    ],
)
def test_what_waiting_cannot_cure_is_told_at_once(
    tracker: Tracker,
    monkeypatch,
    message: str,
    kind: type[Exception],
):
    from mlflow.exceptions import MlflowException

    def refuse(*args: object, **kwargs: object) -> None:
        raise MlflowException(message)

    run_id = tracker.start_run("a")
    monkeypatch.setattr(tracker.client, "log_batch", refuse)
    with pytest.raises(kind):
        tracker.log_metrics(run_id, {"a": 1.0})
