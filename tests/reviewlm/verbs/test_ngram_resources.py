"""Threads, memory and temporary files of `models ngram` change no model; a full disk is said with advice."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests import command_line
from tests.programs import command

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "training" / "ngram" / "data"
TRAIN, HELD_OUT = str(GOLDEN / "train.txt"), str(GOLDEN / "held_out.txt")
FIT = ("fit", "--text", TRAIN)
ngram, complaint = (
    partial(command_line.run, "models", "ngram"),
    partial(command_line.complaint, "models", "ngram"),
)


def test_a_memory_limit_changes_no_byte_of_a_model(tmp_path: Path, own_home: Path) -> None:
    for name, limit in (("free", "0"), ("bound", "8000")):
        given = ("--order", "3", "--binary", tmp_path / name, "--memory", limit)
        ngram("fit", "--text", TRAIN, *given)
    free, bound = tmp_path / "free", tmp_path / "bound"
    files = sorted(path.name for path in free.iterdir())
    assert files == sorted(path.name for path in bound.iterdir())
    for name in files:
        assert (free / name).read_bytes() == (bound / name).read_bytes()


def test_a_memory_limit_that_is_too_low_is_refused(tmp_path: Path, own_home: Path) -> None:
    error = complaint(
        "fit",
        "--text",
        TRAIN,
        "--binary",
        tmp_path / "tight",
        "--memory",
        "1",
    )
    assert error.exit_code == 3
    assert "memory" in str(error)


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb",
    [
        (*FIT, "--arpa=m.arpa"),
        pytest.param((*FIT, "--arpa=m.arpa.gz"), marks=pytest.mark.long),
        pytest.param((*FIT, "--binary=m"), marks=pytest.mark.long),
    ],
)
def test_a_full_disk_is_an_error_with_advice_that_helps(
    verb: tuple[str, ...],
    tmp_path: Path,
    own_home: Path,
) -> None:
    done = subprocess.run(
        command("run_in_little_space", "models", "ngram", *verb),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 5, done.stderr
    assert "free some space, or name another place" in done.stderr
    assert not any(wrong in done.stderr for wrong in ("Traceback", "REVIEWLM_HOME", "rerun"))
    assert list(tmp_path.iterdir()) == []
