"""A fit by several processes: which one failed is known, the others end with it, and a rerun goes on from there."""

from __future__ import annotations

import pickle
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.errors import FitError, OutOfMemory, RankFailed
from reviewlm.models.bundles.bundle import load_bundle
from reviewlm.models.specs import NGramSpec, RecurrentSpec, TrainingSpec
from reviewlm.tasks.fitting import fit_process
from reviewlm.tasks.fitting.fit import ranks_of
from reviewlm.tasks.fitting.fit_process import run_job
from reviewlm.training.context import FitProgress
from tests.core.waiting import until
from tests.programs import command
from tests.tasks.fitting.made_worker import MadeJob
from tests.tasks.fitting.small_jobs import job_of
from tests.tasks.fitting.test_fit_process import long_fit

LOST: dict[str, Any] = {
    "error": "Rank 0 of 2 lost another one: Connection closed by peer",
    "kind": "peer",
}


def silent(news: FitProgress) -> None:
    """Listen to nothing."""


def made_job(*deeds: list[Any]) -> MadeJob:
    nowhere = Path("nowhere")
    spec, facts = RecurrentSpec(name="lstm"), {"deeds": deeds}
    return MadeJob(
        spec=spec,
        vocabulary=nowhere,
        train=nowhere,
        validation=nowhere,
        work=nowhere,
        facts=facts,
        ranks=len(deeds),
    )


def left_over() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "made_worker" in command_of(child)
    ]


def command_of(process: psutil.Process) -> str:
    """Return the command line; "" of a process that has ended (other tests leave some that nobody has waited for)."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


# --- how several processes end, whatever they do


@pytest.mark.parametrize(
    "first", [0, 1], ids=["the failed one speaks first", "the other one speaks first"]
)
def test_the_rank_that_runs_out_of_memory_is_named_instead_of_one_that_lost_it(
    first: int,
) -> None:
    deeds = (
        [0.3 * first, {"error": "Memory does not suffice", "kind": "memory"}],
        [0.3 * (1 - first), LOST],
    )
    with pytest.raises(OutOfMemory, match=r"Memory does not suffice \(rank 0 of 2\)"):
        run_job(made_job(*deeds), silent)


def test_a_rank_that_is_killed_is_named_with_how_it_ended() -> None:
    with pytest.raises(RankFailed, match="exit code -9") as failure:
        run_job(made_job([LOST], [0.3, "die"]), silent)
    assert failure.value.where == "rank 1 of 2"
    assert "because memory ran out" in failure.value.cause


def test_a_rank_that_a_library_aborts_for_want_of_memory_says_what_to_lower() -> None:
    with pytest.raises(
        OutOfMemory, match="memory allocation of 1638400000 bytes failed"
    ) as failure:
        run_job(made_job(["abort"]), silent)
    assert "batch" in failure.value.remedy


def test_ranks_that_lost_each_other_without_a_reason_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fit_process, "PATIENCE", 0.2)
    with pytest.raises(RankFailed, match="lost their connection") as failure:
        run_job(made_job([LOST], [60]), silent)
    assert "Connection closed by peer" in failure.value.cause
    assert left_over() == []


def test_the_other_ranks_are_ended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = fit_process.start_child

    def start_and_note(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(start(*words, **options))
        return started[-1]

    monkeypatch.setattr(fit_process, "start_child", start_and_note)
    with pytest.raises(FitError):
        run_job(made_job([60], [60], [0.1, {"error": "no", "kind": "fit"}]), silent)
    assert left_over() == []
    # Had they been waited for, they would have ended by themselves, with 0.
    assert [rank.returncode for rank in started[:2]] == [-signal.SIGKILL] * 2


def test_an_interrupted_flow_ends_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with Ctrl-C: the fit runs in a thread, which cannot be interrupted itself."""
    # It stays set after an interrupt.
    monkeypatch.setattr(fit_process, "_interrupted", threading.Event())
    failures: list[Exception] = []

    def fit() -> None:
        try:
            run_job(made_job([60], [60]), silent)
        except RankFailed as error:
            failures.append(error)

    def flow() -> None:
        with fit_process.interruptible_fits():
            thread.start()
            while len(fit_process._running) < 2:
                time.sleep(0.01)
            raise KeyboardInterrupt

    thread = threading.Thread(target=fit)
    with pytest.raises(KeyboardInterrupt):
        flow()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert len(failures) == 1
    assert left_over() == []


# --- how many there are


def test_a_gpu_for_each_rank_where_nothing_else_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    lstm = RecurrentSpec(training=TrainingSpec(batch=128))
    auto = RunConfig(execution=ExecutionConfig(device="cuda", ranks=0))
    assert ranks_of(auto.execution, RecurrentSpec(training=TrainingSpec(batch=192))) == 3
    assert ranks_of(auto.execution, RecurrentSpec(training=TrainingSpec(batch=1_024))) == 3
    # A share of fewer than 64 rows does not keep a GPU busy.
    assert ranks_of(auto.execution, lstm) == 2
    assert ranks_of(auto.execution, RecurrentSpec(training=TrainingSpec(batch=20))) == 1
    assert ranks_of(auto.execution, NGramSpec()) == 1
    # CUDA shows a process one of them.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-5b,MIG-6c")
    assert ranks_of(auto.execution, lstm) == 1
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert (
        ranks_of(RunConfig(execution=ExecutionConfig(device="cpu", ranks=0)).execution, lstm) == 1
    )
    assert (
        ranks_of(RunConfig(execution=ExecutionConfig(device="cpu", ranks=2)).execution, lstm) == 2
    )
    assert ranks_of(RunConfig().execution, lstm) == 1


# --- with the real worker


def short_fit() -> RecurrentSpec:
    training = TrainingSpec(
        epochs=120,
        batch=3,
        bptt_len=8,
        precision="float32",
        evaluations=12,
    )
    return RecurrentSpec(
        hidden=8,
        embedding=8,
        training=training,
    )


def workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        if (
            child.status() != psutil.STATUS_ZOMBIE
            and "reviewlm.tasks.fitting.fit_worker" in child.cmdline()
        ):
            found.append(child)
    return sorted(found, key=lambda child: child.environ()["RANK"])


@pytest.mark.long
def test_a_fit_that_was_killed_twice_ends_as_if_nothing_had_happened(
    data: Path, tmp_path: Path
) -> None:
    undisturbed = run_job(job_of(data, tmp_path / "undisturbed", short_fit(), ranks=2), silent)
    disturbed = job_of(data, tmp_path / "killed", short_fit(), ranks=2)

    def kill(victims: slice, after: float) -> RankFailed:
        def listen(news: FitProgress) -> None:
            if news.step > news.total * after and len(found := workers()) == 2:
                for victim in found[victims]:
                    victim.kill()

        with pytest.raises(RankFailed, match="exit code -9") as failure:
            run_job(disturbed, listen)
        assert workers() == []
        return failure.value

    assert kill(slice(1, 2), after=0.2).where == "rank 1 of 2"
    begun = max((tmp_path / "killed" / "checkpoints").iterdir()).stem
    assert begun > "00000001"
    assert kill(slice(0, 2), after=0.5).where in ("rank 0 of 2", "rank 1 of 2")
    assert max((tmp_path / "killed" / "checkpoints").iterdir()).stem > begun  # it really went on
    summary = run_job(disturbed, silent)
    bundles = [load_bundle(tmp_path / name / "bundle").digest for name in ("undisturbed", "killed")]
    assert bundles[0] == bundles[1]
    assert summary["tokens"] == undisturbed["tokens"]


@pytest.mark.long
@pytest.mark.slow
def test_no_rank_outlives_the_process_that_wanted_the_fit(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_bytes(pickle.dumps(job_of(data, tmp_path / "work", long_fit(), ranks=2)))
    parent = subprocess.Popen(command("run_fit_of_file", file))
    until(
        lambda: len(workers()) == 2 and (tmp_path / "work" / "metrics.jsonl").exists(),
        120,
        pause=0.1,
    )
    found = workers()
    parent.kill()
    parent.wait()
    assert psutil.wait_procs(found, timeout=20)[1] == []
