"""What a command in a new home lets another process import, and that this process gives the same results."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from reviewlm.core.processes.forks import can_fork
from reviewlm.flow_runs import CHECKS, DRAWINGS, needed_soon
from tests.programs import command


@pytest.mark.slow
@pytest.mark.skipif(not can_fork(), reason="this system cannot fork")
def test_checks_and_card_of_the_other_process_are_those_of_this_one(tmp_path: Path) -> None:
    done = subprocess.run(
        command("judge_and_draw_ahead", tmp_path),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["loaded"] == []
    assert found["held"] == [[False], [False]]
    assert found["equal"] == [True] * 4


def test_a_new_home_needs_checks_and_drawings(tmp_path: Path) -> None:
    assert needed_soon("retrain", tmp_path) == [CHECKS, DRAWINGS]
    assert needed_soon("ingest_only", tmp_path) == [CHECKS]


def test_a_home_with_checked_data_may_need_neither(tmp_path: Path) -> None:
    (tmp_path / "store" / "check").mkdir(parents=True)
    assert needed_soon("retrain", tmp_path) == []
