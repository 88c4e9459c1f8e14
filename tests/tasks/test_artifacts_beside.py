"""Artifacts of a step are created in Prefect beside its work, and all are there at its end."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from tasks.stage import artifacts_beside, create_beside

SECONDS = 20


def test_the_step_does_not_wait_for_an_artifact_and_its_end_waits_for_all_in_their_order() -> None:
    created: list[int] = []
    worked = threading.Event()

    def create(number: int) -> None:
        assert worked.wait(SECONDS)  # in the step's own thread this would never come
        created.append(number)

    with artifacts_beside():
        for number in range(3):
            create_beside(create, number=number)
        assert not created
        worked.set()
    assert created == [0, 1, 2]


def test_an_artifact_is_created_in_the_context_of_its_stage() -> None:
    run: ContextVar[str] = ContextVar("run", default="")
    seen: list[str] = []
    with artifacts_beside(), artifacts_beside():  # a step within a step
        for name in ("first", "second"):
            run.set(name)
            create_beside(lambda: seen.append(run.get()))
    assert seen == ["first", "second"]


def test_outside_of_a_step_an_artifact_is_created_at_once() -> None:
    threads: list[threading.Thread] = []
    create_beside(lambda: threads.append(threading.current_thread()))
    assert threads == [threading.current_thread()]


def failing() -> None:
    raise RuntimeError("Failed to reach API")


def test_an_artifact_that_cannot_be_created_fails_the_step() -> None:
    with pytest.raises(RuntimeError, match="Failed to reach API"), artifacts_beside():
        create_beside(failing)


@pytest.mark.parametrize(("kind", "left"), [(ValueError, ["table"]), (KeyboardInterrupt, [])])
def test_a_failed_step_keeps_its_error_and_its_artifacts_and_an_interrupted_one_does_not_wait(
    kind: type[BaseException], left: list[str]
) -> None:
    created: list[str] = []
    raised, begun = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        assert raised.wait(SECONDS)
        failing()

    def step() -> None:
        with artifacts_beside():
            create_beside(first)
            create_beside(lambda: created.append("table"))
            assert begun.wait(SECONDS)
            threading.Timer(0.2, raised.set).start()  # after the block's own error
            raise kind("the step itself")

    with pytest.raises(kind, match="the step itself"):
        step()
    assert created == left
