"""The runs of a real Prefect server that fit one job together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Crashed, Failed, Running, State

from flows.server.joined_worker import join_pool
from tasks.fitting.pool_runs import PoolRuns, members_of

pytestmark = pytest.mark.slow  # a server
POOL, JOB = "machines", "fit-0123456789abcdef"


@pytest.fixture
def runs(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[PoolRuns]:
    """Runs of a pool without workers, two for each job; they are cancelled at the end."""
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    join_pool(POOL)
    found = PoolRuns(POOL, 2)
    yield found
    found.unfinished(JOB, "")


def put(run: str, state: State) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(run), state, force=True)


def words(run: str) -> list[str]:
    return [PoolRuns(POOL).state(member).word for member in members_of(run)]


def test_runs_that_fit_a_job_together_are_submitted_and_cancelled_together(runs: PoolRuns) -> None:
    team = runs.submit(JOB, "lstm")
    assert words(team) == ["waiting", "waiting"]
    put(members_of(team)[1], Crashed())
    runs.cancel(team)
    assert words(team) == ["cancelled", "cancelled"], "a crashed run gets no second attempt"


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ((Running, Running), "running"), ((Running, Completed), "running"), ((Completed, Completed), "completed"),
        ((Running, Crashed), "crashed"), ((Failed, Crashed), "crashed"), ((Failed, Running), "failed"),
    ],
)  # fmt: skip
def test_the_state_of_all_is_that_of_the_one_that_keeps_them_from_going_on(
    states: tuple[Callable[[], State], ...], word: str, runs: PoolRuns
) -> None:
    team = runs.submit(JOB, "lstm")
    for run, state in zip(members_of(team), states, strict=True):
        put(run, state())
    assert runs.state(team).word == word
    runs.cancel(team)


def test_whoever_asks_again_waits_for_the_runs_that_work_and_for_no_others(runs: PoolRuns) -> None:
    left, team = runs.submit(JOB, "lstm"), runs.submit(JOB, "lstm")
    assert runs.unfinished(JOB, team) == team
    assert words(left) == ["cancelled", "cancelled"]
    assert words(team) == ["waiting", "waiting"]
    assert PoolRuns(POOL).unfinished(JOB, team) is None, "now one machine is to fit it"
    assert words(team) == ["cancelled", "cancelled"]
    again = runs.submit(JOB, "lstm")
    put(members_of(again)[0], Completed())
    assert runs.unfinished(JOB, again) is None, "one of them is gone"
    assert words(again) == ["completed", "cancelled"]


def test_a_run_that_is_alone_is_taken_over_also_if_it_was_not_yet_wanted(runs: PoolRuns) -> None:
    alone = PoolRuns(POOL)
    run = alone.submit(JOB, "lstm")
    assert alone.unfinished(JOB, "") == run
    assert alone.unfinished(JOB, "another") == run
    assert runs.unfinished(JOB, run) is None, "now two machines are to fit it"
    assert words(run) == ["cancelled"]
