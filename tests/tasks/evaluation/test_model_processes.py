"""Works with models in processes of their own: equal results, the same errors, few processes, none for little work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from reviewlm.core.config.presets import parse_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.environment import numpy_features
from reviewlm.core.errors import InputError, RankFailed
from reviewlm.evaluation.scoring.score import FIGURES_FILE, SCORES_FILE, TOKEN_NATS, write_scores
from reviewlm.models.base import ModelError
from reviewlm.tasks.evaluation import processes
from reviewlm.tasks.evaluation.model_work import ModelWork, only_opened
from reviewlm.tasks.evaluation.observed import SAMPLES_FILE, SUGGESTIONS_FILE, write_texts
from reviewlm.tasks.evaluation.processes import (
    LEAST_TOKENS,
    ModelProcesses,
    model_processes,
    with_model,
)
from tests.marked_cases import slow_but
from tests.programs import command
from tests.tasks.evaluation.made_works import (
    bare,
    diverge,
    err,
    fall,
    fall_in_a_line,
    fill,
    in_time,
    leave_gaps,
    refuse,
    tell,
    tell_memory,
)

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="processes are forked on Linux only"
)
CONFIG = parse_config({"execution": {"device": "cpu"}})
MADE = {
    "scored": {SCORES_FILE, FIGURES_FILE, TOKEN_NATS},
    "drawn": {SAMPLES_FILE, SUGGESTIONS_FILE},
}
SAMPLING = {"max_tokens": 8, "seed": 3}


@pytest.fixture(scope="module")
def running() -> Iterator[ModelProcesses]:
    found = ModelProcesses()
    yield found
    found.end()


def works(made: tuple[Path, Path, Path], folder: Path) -> dict[str, ModelWork]:
    bundle, _, tokens = made
    folder.mkdir()
    chosen = {
        "tokens": tokens,
        "observed_reviews": 3,
        "seed": 1,
    }
    return {
        "scored": ModelWork(
            write_scores,
            "kn2",
            bundle,
            chosen,
            work=folder,
        ),
        "drawn": ModelWork(
            write_texts,
            "kn2",
            bundle,
            {"options": SAMPLING},
            work=folder,
        ),
    }


@pytest.mark.parametrize("name", slow_but(["scored", "drawn"], {"scored"}))
def test_a_process_gives_what_this_one_gives(
    made: tuple[Path, Path, Path],
    running: ModelProcesses,
    tmp_path: Path,
    name: str,
) -> None:
    here, there = (works(made, tmp_path / place)[name] for place in ("here", "there"))
    expected = with_model(CONFIG.execution, here)
    found = running.do(there, lambda done: None)
    assert found | {"score_seconds": 0} == expected | {"score_seconds": 0}
    files = sorted(file.name for file in (tmp_path / "here").iterdir())
    assert set(files) >= MADE[name]
    for file in files:
        bytes_there = (tmp_path / "there" / file).read_bytes()
        assert bytes_there == (tmp_path / "here" / file).read_bytes(), file


def test_one_process_does_all_works_with_a_model(
    made: tuple[Path, Path, Path], running: ModelProcesses
) -> None:
    one, same, other = (
        running.do(bare(tell, bundle), lambda done: None)["process"]
        for bundle in (*made[:1] * 2, made[1])
    )
    assert one == same != os.getpid()
    assert other != one
    in_time(lambda: not psutil.pid_exists(one))  # what a model leaves behind ends with its process


def test_a_process_reports_how_far_it_is(
    made: tuple[Path, Path, Path], running: ModelProcesses
) -> None:
    told: list[int] = []
    running.do(bare(tell, made[0]), told.append)
    assert told == [1, 2]


def test_the_memory_that_a_work_has_freed_is_returned_before_the_next_one(
    made: tuple[Path, Path, Path], running: ModelProcesses
) -> None:
    before, _, after = (
        running.do(bare(work, made[0]), int) for work in (tell_memory, leave_gaps, tell_memory)
    )
    assert after["private"] < before["private"] + (50 << 20), "200 MB were freed"


@pytest.mark.parametrize(
    ("function", "kind", "words"),
    [
        (refuse, InputError, "There is no such review"),
        (diverge, ModelError, "the loss is not a number"),
        (fill, OSError, "No space left"),
    ],
)
def test_an_error_of_a_work_is_raised_here_as_it_was_there(
    made: tuple[Path, Path, Path],
    running: ModelProcesses,
    function: Any,
    kind: type[Exception],
    words: str,
) -> None:
    before = running.do(bare(tell, made[0]), lambda done: None)["process"]
    with pytest.raises(kind, match=words) as raised:
        running.do(bare(function, made[0]), lambda done: None)
    if kind is InputError:
        assert vars(raised.value) == vars(
            InputError("There is no such review", value=7, remedy="0 to 6")
        )
    assert running.do(bare(tell, made[0]), lambda done: None)["process"] == before


def test_a_bundle_that_does_not_open_is_an_error_of_the_work(
    made: tuple[Path, Path, Path],
    running: ModelProcesses,
    tmp_path: Path,
) -> None:
    with pytest.raises(ModelError, match="no bundle"):
        running.do(bare(only_opened, tmp_path / "no bundle"), lambda done: None)


@pytest.mark.parametrize("work", [fall, fall_in_a_line])
def test_work_after_a_killed_process_gets_another(
    made: tuple[Path, Path, Path],
    running: ModelProcesses,
    work: Any,
) -> None:
    before = running.do(bare(tell, made[0]), lambda done: None)["process"]
    with pytest.raises(RankFailed, match="without a message") as raised:
        running.do(bare(work, made[0]), lambda done: None)
    assert "evaluation of 'kn'" in raised.value.what
    assert running.do(bare(tell, made[0]), lambda done: None)["process"] != before


def test_an_unexpected_error_is_told_with_its_traceback(
    made: tuple[Path, Path, Path],
    running: ModelProcesses,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path))
    with pytest.raises(
        RankFailed, match=r"(?s)exit code 1.*AssertionError: a mistake of ours"
    ) as raised:
        running.do(bare(err, made[0]), lambda done: None)
    log = Path(str(raised.value).partition("(crash log: ")[2].partition(")")[0])
    assert "in err" in log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_process_whose_work_was_not_heard_to_its_end_gets_no_other(
    made: tuple[Path, Path, Path], running: ModelProcesses
) -> None:
    """Else the next work would get the answer of the last one. Nor does one that died while it waited."""
    before = running.do(bare(tell, made[0]), lambda done: None)["process"]
    with pytest.raises(ZeroDivisionError):
        running.do(bare(tell, made[0]), lambda done: 1 // 0)
    other = running.do(bare(tell, made[0]), lambda done: None)["process"]
    assert other != before
    os.kill(other, signal.SIGKILL)
    in_time(lambda: not any(process.runs for process in running._free))
    assert running.do(bare(tell, made[0]), lambda done: None)["process"] not in {before, other}


@pytest.mark.slow
def test_processes_live_as_long_as_the_outermost_block(
    made: tuple[Path, Path, Path],
) -> None:
    with model_processes(CONFIG.execution, LEAST_TOKENS):
        first = with_model(CONFIG.execution, bare(tell, made[0]))["process"]
        with model_processes(CONFIG.execution, LEAST_TOKENS):
            assert with_model(CONFIG.execution, bare(tell, made[0]))["process"] == first
        assert with_model(CONFIG.execution, bare(tell, made[0]))["process"] == first != os.getpid()
    assert with_model(CONFIG.execution, bare(tell, made[0]))["process"] == os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


@pytest.mark.parametrize(
    ("config", "held_out"),
    [
        (CONFIG, LEAST_TOKENS - 1),
        (parse_config({"execution": {"device": "cpu", "cluster": "local"}}), LEAST_TOKENS),
        (parse_config({"execution": {"device": "cuda"}}), LEAST_TOKENS),
    ],
)
def test_work_that_gains_nothing_by_processes_is_done_here(
    made: tuple[Path, Path, Path],
    config: RunConfig,
    held_out: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "chosen_device", lambda device: device)
    with model_processes(config.execution, held_out):
        assert with_model(CONFIG.execution, bare(tell, made[0]))["process"] == os.getpid()


@pytest.mark.slow
def test_numpy_computes_in_a_process_as_in_the_command_that_has_chosen_its_features(
    made: tuple[Path, Path, Path],
) -> None:
    """On processors without such features both are equal anyway."""
    said = subprocess.run(
        command("compare_numpy_in_processes", made[0]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            **os.environ,
            **numpy_features(),
            "PYTHONPATH": str(ROOT),
        },
        check=True,
    )
    assert said.stdout == "['exp', 'log']\n"


@pytest.mark.slow
def test_a_process_holds_only_the_libraries_that_it_computes_with() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(
        command("list_late_imports"),
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert said.stdout.split("\n")[:2] == ["[]", "[]"]
