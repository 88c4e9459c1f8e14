"""A forked process answers, or says at once why it cannot: it never waits for threads that do not exist there."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.programs import command

SECONDS = 60
"""Time after which a child counts as one that waits for ever; it needs less than one."""


def run(case: str) -> str:
    """Run a case of `answer_after_fork` in a fresh process, and return what it prints."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "2",
        "POLARS_MAX_THREADS": "2",
    }
    done = subprocess.run(
        command("answer_after_fork", case, SECONDS),
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return done.stdout.strip()


def test_a_child_computes_with_torch_alone() -> None:
    assert run("torch") == "0"


def test_each_thread_of_a_child_computes_alone_whichever_uses_a_model_first() -> None:
    assert run("threads") == "0"


def test_a_network_is_unpickled_in_a_child() -> None:
    assert run("network") == "0"


def test_a_child_of_a_process_that_used_polars_is_refused_at_every_door() -> None:
    assert run("child") == "0"


def test_a_child_of_a_refused_child_is_refused() -> None:
    assert run("grandchild") == "0"


def test_the_parent_goes_on_after_a_fork() -> None:
    assert run("parent") == "None ['a'] 2"


@pytest.mark.parametrize("case", ["trusted", "not trusted"])
def test_a_child_of_a_process_that_has_only_imported_keeps_its_threads_if_it_says_so(
    case: str,
) -> None:
    assert run(case) == "0"
