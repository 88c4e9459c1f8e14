"""An MLflow that is away for a while: nothing that was written meanwhile is lost, and nothing stands there twice."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reviewlm.cli import app
from reviewlm.core.errors import BundleError, Damaged, TrackingUnavailable
from reviewlm.tracking.logged_models.bundles import log_bundle
from reviewlm.tracking.runs import publish
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import value_of
from tests.marked_cases import long_but
from tests.tracking.runs.written_runs import state, write_runs

ALWAYS = 10**9


class Line:
    """Stands before MLflow's client: *length* requests from number *cut* on fail, before or after they arrive."""

    def __init__(
        self,
        client: Any,
        cut: int = ALWAYS,
        length: int = 1,
        arrives: bool = False,
    ) -> None:
        self.client, self.cut, self.length, self.arrives = client, cut, length, arrives
        self.requests: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self.client, name)

        def request(*args: Any, **kwargs: Any) -> Any:
            from mlflow.exceptions import MlflowException

            number = len(self.requests)
            self.requests.append(name)
            dead = self.cut <= number < self.cut + self.length
            if dead and not self.arrives:
                raise MlflowException("(sqlite3.OperationalError) database is locked")
            answer = real(*args, **kwargs)
            if dead:
                raise MlflowException("(sqlite3.OperationalError) database is locked")
            return answer

        return request


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write tries MLflow again, and no one waits in between."""
    monkeypatch.setattr(publish, "PAUSE", 0.0)
    monkeypatch.setattr("reviewlm.tracking.client.READ_PAUSES", ())


def line_of(tracker: Tracker, **how: Any) -> Line:
    tracker.client  # noqa: B018  connects
    tracker._client = Line(tracker._client, **how)  # type: ignore[assignment]
    return tracker._client  # type: ignore[return-value]


@pytest.fixture
def whole(
    tracker: Tracker,
    pieces: Path,
    light_models: None,
) -> tuple[dict[str, Any], list[str]]:
    """What MLflow holds after an undisturbed run, and the names of the requests that it took."""
    other = Tracker(tracker.uri, "undisturbed", tracker.artifact_root)
    line = line_of(other)
    write_runs(other, pieces)
    requests = list(line.requests)
    return state(other, other.artifact_root), requests


def test_an_undisturbed_run_has_its_child(whole: Any):
    found, _ = whole
    assert found["runs"] == ["kn5", "retrain"]
    assert found["kn5"]["status"] == "FINISHED"
    assert found["kn5"]["tags"]["mlflow.parentRunId"] == "retrain"
    assert value_of(found["retrain"]["tags"], "reviewlm.child.kn5") == "kn5"


def test_an_undisturbed_run_has_each_point_once(whole: Any):
    points = whole[0]["kn5"]["points"]
    assert points["train/nats"] == [(step, step / 7) for step in range(5)]
    assert points["test/perplexity"] == [(0, 12.5)]


def test_an_undisturbed_run_has_its_parameters(whole: Any):
    assert len(whole[0]["kn5"]["params"]) == 121


def test_an_undisturbed_run_has_its_files(whole: Any):
    files = set(whole[0]["kn5"]["files"])
    assert files == {"docs/index.html", "note.md", "tables/samples.json"}


def test_an_undisturbed_run_has_its_model_once(whole: Any):
    [model] = whole[0]["models"]
    assert model["status"] == "READY"
    assert model["figures"] == [
        ("hit_at_1", 0.25, "word-test"),
        ("test/perplexity", 12.5, "word-test"),
    ]


def test_an_undisturbed_run_leaves_no_record(whole: Any, tracker: Tracker):
    assert list(tracker.records.folder.glob("*/")) == []


@pytest.mark.slow
@pytest.mark.drill(
    "database connection cut", "SQLite locked at each request of a run", "everything is there, once"
)
@pytest.mark.parametrize(
    ("arrives", "kinds"),
    long_but([(False, False), (True, False), (True, True)], {(False, False)}),
    ids=["request lost", "answer lost", "an answer of each kind lost"],
)
def test_wherever_the_line_is_cut_everything_is_there_once_in_the_end(
    whole: Any,
    store_home: Path,
    pieces: Path,
    arrives: bool,
    kinds: bool,
):
    """Every request of a whole run (or the last of each kind) fails, before it arrives or after; the rest goes on."""
    expected, requests = whole
    last = {name: number for number, name in enumerate(requests)}
    for cut in last.values() if kinds else range(len(requests)):
        tracker = Tracker(
            f"sqlite:///{store_home / 'mlflow.db'}", f"cut at {cut}", store_home / "mlartifacts"
        )
        tracker.experiment_id  # noqa: B018  of every run, so made before
        line = line_of(
            tracker,
            cut=cut,
            length=1 + cut % 3,
            arrives=arrives,
        )
        write_runs(tracker, pieces)
        line.cut = ALWAYS
        assert tracker.sync() == 0
        assert state(tracker, tracker.artifact_root) == expected, f"request {cut}"
        assert not any(record.waits or record.refused for record in tracker.records.all())


@pytest.mark.drill(
    "MLflow server away", "away for a whole run", "writes wait; the next process sends each once"
)
@pytest.mark.slow
def test_what_waits_after_an_outage_of_the_whole_run_is_sent_by_another_process(
    whole: Any,
    tracker: Tracker,
    pieces: Path,
    caplog: pytest.LogCaptureFixture,
):
    expected, _ = whole
    tracker.experiment_id  # noqa: B018
    line_of(tracker, cut=0, length=ALWAYS)
    write_runs(tracker, pieces)
    assert len(tracker.waiting()) == 2
    assert "cannot be reached" in caplog.text
    for leftover in ("metrics.jsonl", "docs/index.html"):
        (pieces / leftover).unlink()  # what waits has copies
    another_process = Tracker(tracker.uri, tracker.experiment, tracker.artifact_root)
    with caplog.at_level(logging.INFO):
        assert another_process.sync() == 0
        another_process.start_run("later")
    assert "what waited of 2 runs; 0 still wait" in caplog.text
    found = state(another_process, tracker.artifact_root)
    assert found.pop("later")
    assert found.pop("runs") == ["kn5", "later", "retrain"]
    assert found == {name: value for name, value in expected.items() if name != "runs"}
    assert list(tracker.records.folder.glob("*/files")) == []


@pytest.fixture
def run_without_mlflow(tracker: Tracker) -> str:
    """A run that was started while MLflow did not answer."""
    tracker.experiment_id  # noqa: B018
    line_of(tracker, cut=0, length=ALWAYS)
    return tracker.start_run("a")


def test_reading_says_that_mlflow_is_away(tracker: Tracker, run_without_mlflow: str):
    with pytest.raises(TrackingUnavailable):
        tracker.tag(run_without_mlflow, "x")
    with pytest.raises(TrackingUnavailable):
        tracker.newest_run("x", "y")


def test_the_link_of_an_unsent_run_leads_to_the_first_page(
    tracker: Tracker, run_without_mlflow: str
):
    assert tracker.link(run_without_mlflow) == tracker.ui


def test_what_mlflow_refuses_does_not_hold_up_what_comes_after(tracker: Tracker):
    run_id = tracker.start_run("a")
    tracker.log_params(run_id, {"order": 5})
    line_of(tracker, cut=0, length=ALWAYS)
    tracker.log_params(run_id, {"order": 6})
    tracker.set_tags(run_id, {"after": "yes"})
    tracker._client = None
    assert tracker.sync() == 0
    assert tracker.tag(run_id, "after") == "yes"
    [record] = tracker.records.all()
    assert (record.run, [refused["kind"] for refused in record.refused]) == (run_id, ["params"])


def test_a_file_that_always_fails_holds_up_nothing_else(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
):
    run_id = tracker.start_run("a")
    line_of(tracker, cut=0, length=ALWAYS)
    tracker.log_text(run_id, "x", "x.txt")
    tracker.set_tags(run_id, {"after": "yes"})
    from mlflow.exceptions import MlflowException

    def broken(*args: object, **kwargs: object) -> None:
        raise MlflowException("database is locked")

    tracker._client = None
    monkeypatch.setattr(tracker.client, "log_artifacts", broken)
    tracker.end_run(run_id)
    tracker.wait()
    [record] = tracker.waiting()
    assert (record.files, record.refused) == (True, [])
    assert (tracker.records.files(run_id) / "x.txt").read_text() == "x"
    assert tracker.tag(run_id, "after") == "yes"
    assert tracker.client.get_run(run_id).info.status == "FINISHED"


def test_whoever_needs_mlflow_waits_until_all_is_sent(tracker: Tracker):
    run_id = tracker.start_run("a")
    line = line_of(tracker, cut=0, length=ALWAYS)
    tracker.set_tags(run_id, {"t": "1"})
    naps: list[float] = []

    def back_after_three(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            line.cut = ALWAYS

    tracker.wait(60, back_after_three)
    assert len(naps) == 3
    assert tracker.tag(run_id, "t") == "1"


def put_and_die(tracker: Tracker, run_id: str) -> None:
    """In a process of its own: be killed between the record of a write and its publication."""
    publish.publish = lambda *args, **how: os.kill(os.getpid(), signal.SIGKILL)
    tracker.set_tags(run_id, {"t": "1"})


def test_what_a_killed_process_had_recorded_is_published_by_the_next_one(tracker: Tracker):
    run_id = tracker.start_run("a")
    process = multiprocessing.get_context("fork").Process(
        target=put_and_die, args=(tracker, run_id)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert tracker.tag(run_id, "t") == ""
    tracker.wait()
    assert tracker.tag(run_id, "t") == "1"


def test_an_interrupt_in_the_midst_of_a_write_can_end_the_run(tracker: Tracker):
    """It runs in the thread that holds the lock of the record."""
    run_id = tracker.start_run("a")
    with tracker.records.lock(run_id):
        tracker.end_run(run_id, "KILLED")
    assert tracker.client.get_run(run_id).info.status == "KILLED"


def test_threads_of_several_trackers_write_one_record(tracker: Tracker):
    run_id = tracker.start_run("a")
    same = Tracker(tracker.uri, tracker.experiment, tracker.artifact_root)
    for each in (tracker, same):
        line_of(each, cut=0, length=ALWAYS)

    def work(number: int) -> None:
        for step in range(10):
            (same if number % 2 else tracker).log_metrics(run_id, {f"m{number}": step / 3}, step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [record] = tracker.waiting()
    assert len(record.points) == 40
    tracker._client = None
    assert tracker.sync() == 0
    for number in range(4):
        curve = sorted(
            (point.step, point.value)
            for point in tracker.client.get_metric_history(run_id, f"m{number}")
        )
        assert curve == [(step, step / 3) for step in range(10)]


@pytest.mark.parametrize(
    "content", [b"no record at all" * 99, b"", b"[]"], ids=["garbage", "empty", "a list"]
)
def test_a_damaged_record_is_named_by_whoever_looks_into_it(
    tracker: Tracker, content: bytes
) -> None:
    run_id = tracker.start_run("a")
    file = tracker.records.folder / run_id / "record.json"
    file.write_bytes(content)
    looks = (tracker.waiting, tracker.sync, lambda: tracker.set_tags(run_id, {"a": "b"}))
    for look in looks:
        with pytest.raises(Damaged) as caught:
            look()
        assert str(file) in str(caught.value)


def test_a_folder_without_a_bundle_is_refused_before_anything_waits(
    tracker: Tracker, tmp_path: Path
):
    run_id = tracker.start_run("a")
    with pytest.raises(BundleError):
        log_bundle(tracker, run_id, tmp_path)
    assert tracker.waiting() == []


@pytest.mark.slow
def test_home_sync_shows_what_waits_for_a_server_that_is_away(own_home: Path) -> None:
    # The port "discard".
    Tracker("http://127.0.0.1:9", "reviewlm", own_home / "mlartifacts").start_run("lstm")
    done = CliRunner().invoke(app, ["home", "sync", "--json"], catch_exceptions=False)
    document = json.loads(done.stdout.splitlines()[-1])
    assert (done.exit_code, document["waiting"]) == (0, 1)
    assert document["stores"] == [
        {
            "store": "http://127.0.0.1:9",
            "experiment": "reviewlm",
            "waiting": 1,
            "refused": 0,
        }
    ]
