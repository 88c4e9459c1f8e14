"""An MLflow that is away for a while: nothing that was written meanwhile is lost, and nothing stands there twice."""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import BundleError, ReviewLMError, TrackingUnavailable
from tests.marked_cases import long_but
from tests.tracking.runs.written_runs import state, write_runs
from tracking.logged_models.bundles import log_bundle
from tracking.runs import outbox, sync
from tracking.runs.runs import Tracker
from tracking.tags import value_of

ALWAYS = 10**9


class Line:
    """Stands before MLflow's client: *length* requests from number *cut* on fail, before or after they arrive."""

    def __init__(self, client: Any, cut: int = ALWAYS, length: int = 1, arrives: bool = False) -> None:
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
    monkeypatch.setattr(outbox, "PAUSES", (0.0,))
    monkeypatch.setattr("tracking.connection.READ_PAUSES", ())


def line_of(tracker: Tracker, **how: Any) -> Line:
    tracker.client  # noqa: B018  connects
    tracker._client = Line(tracker._client, **how)  # type: ignore[assignment]
    return tracker._client  # type: ignore[return-value]


@pytest.fixture
def whole(tracker: Tracker, pieces: Path, light_models: None) -> tuple[dict[str, Any], list[str]]:
    """What MLflow holds after an undisturbed run, and the names of the requests that it took."""
    other = Tracker(tracker.uri, "undisturbed", tracker.artifact_root)
    line = line_of(other)
    write_runs(other, pieces)
    requests = list(line.requests)
    return state(other, other.artifact_root), requests


def test_an_undisturbed_run_has_everything_once_and_leaves_no_outbox(whole: Any, tracker: Tracker):
    found, _ = whole
    assert found["runs"] == ["kn5", "retrain"]
    child = found["kn5"]
    assert child["status"] == "FINISHED"
    assert child["points"]["curves/train_nats"] == [(step, step / 7) for step in range(5)]
    assert child["points"]["test/perplexity"] == [(0, 12.5)]
    assert child["tags"]["mlflow.parentRunId"] == "retrain"
    assert len(child["params"]) == 121
    assert set(child["files"]) == {"docs/index.html", "note.md", "tables/samples.csv", "tables/samples.json"}
    [model] = found["models"]
    assert model["status"] == "READY"
    assert model["figures"] == [("hit_at_1", 0.25, "word-test"), ("test/perplexity", 12.5, "word-test")]
    assert value_of(found["retrain"]["tags"], "reviewlm.child.kn5") == "kn5"
    assert not tracker.outbox.folder.parent.exists()


@pytest.mark.slow
@pytest.mark.drill("database connection cut", "SQLite locked at each request of a run", "everything is there, once")
@pytest.mark.parametrize(("arrives", "kinds"), long_but(
    [(False, False), (True, False), (True, True)], {(False, False)}),
    ids=["request lost", "answer lost", "an answer of each kind lost"])
def test_wherever_the_line_is_cut_everything_is_there_once_in_the_end(
    whole: Any, store_home: Path, pieces: Path, arrives: bool, kinds: bool
):
    """Every request of a whole run (or the last of each kind) fails, before it arrives or after; the rest goes on."""
    expected, requests = whole
    last = {name: number for number, name in enumerate(requests)}
    for cut in last.values() if kinds else range(len(requests)):
        tracker = Tracker(f"sqlite:///{store_home / 'mlflow.db'}", f"cut at {cut}", store_home / "mlartifacts")
        tracker.experiment_id  # noqa: B018  of every run, so made before
        line = line_of(tracker, cut=cut, length=1 + cut % 3, arrives=arrives)
        write_runs(tracker, pieces)
        line.cut = ALWAYS
        assert tracker.sync() == 0
        assert state(tracker, tracker.artifact_root) == expected, f"request {cut}"
        assert tracker.outbox.refused() == []


@pytest.mark.drill("MLflow server away", "away for a whole run", "writes wait; the next process sends each once")
@pytest.mark.slow
def test_an_outage_of_the_whole_run_and_another_process_that_sends_it(
    whole: Any, tracker: Tracker, pieces: Path, caplog: pytest.LogCaptureFixture
):
    expected, _ = whole
    tracker.experiment_id  # noqa: B018
    line_of(tracker, cut=0, length=ALWAYS)
    write_runs(tracker, pieces)
    assert tracker.outbox.waiting() == 14
    assert "cannot be reached" in caplog.text
    for leftover in ("metrics.jsonl", "docs/index.html"):
        (pieces / leftover).unlink()  # what waits has copies
    another_process = pickle.loads(pickle.dumps(tracker))
    with caplog.at_level(logging.INFO):
        another_process.start_run("later")
    assert "14 queued writes were sent, 0 are still queued" in caplog.text
    found = state(another_process, tracker.artifact_root)
    assert found.pop("later")
    assert found.pop("runs") == ["kn5", "later", "retrain"]
    assert found == {name: value for name, value in expected.items() if name != "runs"}
    assert list((tracker.outbox.folder / "files").iterdir()) == []


def test_a_finished_run_of_the_same_fit_is_not_described_a_second_time(tracker: Tracker, pieces: Path):
    first = tracker.start_run("kn5", {"reviewlm.fit": "d1"})
    tracker.end_run(first)
    tracker._client = Line(tracker._client, cut=0, length=ALWAYS)  # type: ignore[assignment]
    again = tracker.start_run("kn5", {"reviewlm.fit": "d1"}, unless=("reviewlm.fit", "d1", "FINISHED"))
    assert again.startswith("pending-")
    tracker._client = None
    assert tracker.sync() == 0
    assert tracker.known_id(again) == first
    assert len(tracker.client.search_runs([tracker.experiment_id])) == 1


def test_reading_says_that_mlflow_is_away_and_a_link_leads_to_the_ui(tracker: Tracker):
    tracker.experiment_id  # noqa: B018
    line_of(tracker, cut=0, length=ALWAYS)
    run_id = tracker.start_run("a")
    for read in (lambda: tracker.tag(run_id, "x"), lambda: tracker.find_run("x", "y")):
        with pytest.raises(TrackingUnavailable):
            read()
    assert tracker.link(run_id) == tracker.ui


def test_the_journal_of_a_running_training_does_not_wait_it_is_itself_the_record(tracker: Tracker, pieces: Path):
    run_id, journal = tracker.start_run("a"), pieces / "metrics.jsonl"
    with journal.open("a") as file:
        file.write('{"step": 5, "validation/nats": 0.5, "settled": true}\n')
    line = line_of(tracker, cut=0, length=ALWAYS)
    with pytest.raises(TrackingUnavailable):
        tracker.log_journal(run_id, journal, settled=True)
    assert tracker.outbox.waiting() == 0
    line.cut = ALWAYS
    assert tracker.log_journal(run_id, journal, settled=True) == 6


def test_what_mlflow_refuses_does_not_hold_up_what_comes_after(tracker: Tracker, caplog: pytest.LogCaptureFixture):
    run_id = tracker.start_run("a")
    tracker.log_params(run_id, {"order": 5})
    line_of(tracker, cut=0, length=ALWAYS)
    tracker.log_params(run_id, {"order": 6})
    tracker.set_tags(run_id, {"after": "yes"})
    tracker._client = None
    assert tracker.sync() == 0
    assert tracker.tag(run_id, "after") == "yes"
    [refused] = tracker.outbox.refused()
    assert (refused["kind"], refused["run_id"]) == ("params", run_id)
    assert "rejected the queued 'params'" in caplog.text


def test_a_write_that_always_fails_while_mlflow_answers_others_is_put_aside(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
):
    run_id = tracker.start_run("a")
    line_of(tracker, cut=0, length=2)
    tracker.log_text(run_id, "x", "x.txt")
    tracker.set_tags(run_id, {"after": "yes"})
    from mlflow.exceptions import MlflowException

    def broken(*args: object, **kwargs: object) -> None:
        raise MlflowException("database is locked")

    tracker._client = None
    monkeypatch.setattr(tracker.client, "log_text", broken)
    for _ in range(sync.HOPELESS + 1):
        tracker.sync()
    assert tracker.outbox.waiting() == 0
    assert [entry["kind"] for entry in tracker.outbox.refused()] == ["text"]
    assert tracker.tag(run_id, "after") == "yes"


def test_whoever_needs_mlflow_waits_until_it_answers_and_has_everything(tracker: Tracker):
    run_id = tracker.start_run("a")
    line = line_of(tracker, cut=0, length=ALWAYS)
    tracker.set_tags(run_id, {"t": "1"})
    naps: list[float] = []

    def back_after_three(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            line.cut = ALWAYS

    sync.wait_for(tracker, 60, back_after_three)
    assert len(naps) == 3
    assert tracker.tag(run_id, "t") == "1"


def test_nobody_waits_longer_than_asked_for(tracker: Tracker):
    line_of(tracker, cut=0, length=ALWAYS)
    with pytest.raises(TrackingUnavailable):
        sync.wait_for(tracker, 0, lambda seconds: pytest.fail("slept"))


def test_a_store_that_did_not_answer_is_left_alone_for_a_while(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outbox, "PAUSES", (600.0,))
    run_id = tracker.start_run("a")
    line = line_of(tracker, cut=0, length=ALWAYS)
    for number in range(5):
        tracker.set_tags(run_id, {"t": str(number)})
    assert len(line.requests) == 1
    line.cut = ALWAYS
    assert tracker.sync() == 0  # who asks for it need not wait
    assert tracker.tag(run_id, "t") == "4"


@pytest.mark.drill("clock set back", "by a day, while writes wait for MLflow", "sent at the next write, in their order")
def test_a_clock_that_is_set_back_neither_holds_writes_back_nor_changes_their_order(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outbox, "PAUSES", (600.0,))
    run_id, today = tracker.start_run("a"), time.time()
    line = line_of(tracker, cut=0, length=ALWAYS)
    tracker.set_tags(run_id, {"t": "first"})
    line.cut = ALWAYS
    monkeypatch.setattr(time, "time", lambda: today - 86_400)
    tracker.set_tags(run_id, {"t": "second"})
    assert tracker.outbox.waiting() == 0
    assert tracker.tag(run_id, "t") == "second"


def test_what_is_written_once_mlflow_was_waited_for_does_not_wait(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outbox, "PAUSES", (60.0,))
    tracker.outbox.pause()
    tracker.wait()
    assert not tracker.start_run("one").startswith(sync.PENDING)


def test_a_run_that_never_reached_mlflow_is_named(tracker: Tracker):
    with pytest.raises(ReviewLMError, match="does not know this run"):
        tracker.set_tags("pending-" + "0" * 32, {"a": "b"})


def test_a_folder_without_a_bundle_is_refused_before_anything_waits(tracker: Tracker, tmp_path: Path):
    run_id = tracker.start_run("a")
    with pytest.raises(BundleError):
        log_bundle(tracker, run_id, tmp_path)
    assert not tracker.outbox.exists
