"""The queue of writes to MLflow: shared by threads and processes, with whole copies of files, or named as damaged."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from core.errors import Damaged
from tracking.runs import outbox
from tracking.runs.outbox import Outbox, Write, outboxes


@pytest.mark.drill("two retrains at once", "threads and processes queue writes for MLflow", "all are kept, in order")
def test_threads_and_processes_share_a_queue(tmp_path: Path):
    queue = Outbox(tmp_path, "http://mlflow:5000", "reviewlm")
    same = Outbox(tmp_path, "http://mlflow:5000", "reviewlm")

    def work(number: int) -> None:
        for step in range(10):
            (queue if number % 2 else same).put(Write("tags", f"run{number}", {"step": step}))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.waiting() == 40
    order: dict[str, list[int]] = {}
    while (waiting := queue.first()) is not None:
        order.setdefault(waiting.write.run_id, []).append(waiting.write.details["step"])
        queue.sent(waiting)
    assert order == {f"run{number}": list(range(10)) for number in range(4)}
    assert [(found.uri, found.experiment) for found in outboxes(tmp_path)] == [("http://mlflow:5000", "reviewlm")]


@pytest.mark.parametrize("content", [b"no database at all" * 99, b""], ids=["garbage", "empty"])
def test_a_damaged_queue_is_named_by_whoever_looks_into_it(tmp_path: Path, content: bytes) -> None:
    queue = Outbox(tmp_path, "http://mlflow:5000", "reviewlm")
    queue.put(Write("tags", "r", {}))
    file = queue.folder / outbox.FILE
    file.write_bytes(content)
    again = Outbox(tmp_path, "http://mlflow:5000", "reviewlm")
    for look in (lambda: outboxes(tmp_path), again.waiting, lambda: again.put(Write("tags", "r", {}))):
        with pytest.raises(Damaged, match="queue of writes to MLflow is damaged") as caught:
            look()
        assert str(file) in str(caught.value)


def copy_and_die(root: Path, source: Path) -> None:
    """In a process of its own: be killed between the copies of a write and its place in the queue."""
    queue, copy = Outbox(root, "http://mlflow:5000", "reviewlm"), outbox._copy

    def copy_and_kill(source: Path, target: Path, shared: bool) -> None:
        copy(source, target, shared)
        os.kill(os.getpid(), signal.SIGKILL)

    outbox._copy = copy_and_kill
    queue.put(Write("artifacts", "r", {}, {"folder": source}))


def test_copies_of_a_process_that_was_killed_before_its_write_was_in_the_queue_go_at_the_next_opening(
    tmp_path: Path, pieces: Path
) -> None:
    queue = Outbox(tmp_path / "outbox", "http://mlflow:5000", "reviewlm")
    queue.put(Write("artifacts", "r", {"path": "kept"}, {"folder": pieces / "docs"}))
    context = multiprocessing.get_context("fork")
    process = context.Process(target=copy_and_die, args=(tmp_path / "outbox", pieces / "docs"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    files = queue.folder / outbox.FILES
    assert len(list(files.iterdir())) == 2
    again = Outbox(tmp_path / "outbox", "http://mlflow:5000", "reviewlm")
    first = again.first()
    assert first is not None
    assert list(files.iterdir()) == [first.write.files["folder"].parent]
    assert (first.write.files["folder"] / "index.html").read_text() == "<p>"


def test_copies_that_are_just_being_made_are_nobodys_leftovers(
    tmp_path: Path, pieces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Outbox(tmp_path / "outbox", "http://mlflow:5000", "reviewlm")
    queue.put(Write("tags", "r", {}))
    copy, other = outbox._copy, Outbox(tmp_path / "outbox", "http://mlflow:5000", "reviewlm")
    tidies = threading.Thread(target=other.resume)

    def others_look_first(source: Path, target: Path, shared: bool) -> None:
        copy(source, target, shared)
        assert other.waiting() == 1
        tidies.start()
        tidies.join(0.2)
        assert tidies.is_alive(), "it waits until the copies are named"

    monkeypatch.setattr(outbox, "_copy", others_look_first)
    queue.put(Write("artifacts", "r", {}, {"folder": pieces / "docs"}))
    tidies.join()
    first = queue.first()
    assert first is not None
    queue.sent(first)
    second = queue.first()
    assert second is not None
    assert (second.write.files["folder"] / "index.html").is_file()


def test_a_copy_that_fails_leaves_no_half_of_it(tmp_path: Path, pieces: Path) -> None:
    queue = Outbox(tmp_path / "outbox", "http://mlflow:5000", "reviewlm")
    with pytest.raises(FileNotFoundError):
        queue.put(Write("artifacts", "r", {}, {"docs": pieces / "docs", "gone": pieces / "gone"}))
    assert list((queue.folder / outbox.FILES).iterdir()) == []
    assert queue.waiting() == 0
