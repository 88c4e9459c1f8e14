"""Threads, memory and temporary files of `models ngram` change no model; a full disk is said with advice."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests import command_line

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "training" / "ngram" / "data"
TRAIN, HELD_OUT = str(GOLDEN / "train.txt"), str(GOLDEN / "held_out.txt")
FIT = ("fit", "--text", TRAIN)
ngram, complaint = (
    partial(command_line.run, "models", "ngram"),
    partial(command_line.complaint, "models", "ngram"),
)


def test_a_memory_limit_changes_where_the_work_is_done_and_nothing_else(
    tmp_path: Path, own_home: Path
) -> None:
    for name, limit in (("free", "0"), ("bound", "8000")):
        ngram(
            "fit", "--text", TRAIN, "--order", "3", "--binary", tmp_path / name, "--memory", limit
        )
    files = sorted(path.name for path in (tmp_path / "free").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "bound").iterdir())
    for name in files:
        assert (tmp_path / "free" / name).read_bytes() == (tmp_path / "bound" / name).read_bytes()
    error = complaint("fit", "--text", TRAIN, "--binary", tmp_path / "tight", "--memory", "1")
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
def test_a_full_disk_has_one_exit_code_and_advice_that_helps(
    verb: tuple[str, ...], tmp_path: Path, own_home: Path
) -> None:
    code = (
        "import resource, signal; "
        "import reviewlm.training.ngram.arpa_writer, reviewlm.training.ngram.lines.text_files; "
        "from reviewlm.cli import main; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "models", "ngram", *verb],
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
