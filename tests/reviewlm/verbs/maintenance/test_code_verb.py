"""`reviewlm code`: which modules were edited, which stages they concern, and how to say that nothing changes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from core.errors import StoreFull
from tasks.code_version import SourceCode
from tests.command_line import call


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The code of this process is a project of one stage, whose one module was edited."""
    module, stage = tmp_path / "models/lower.py", tmp_path / "tasks/data/prepare.py"
    for file, text in (
        (module, "def lower(text): ...\n"),
        (stage, 'from models.lower import lower\nrun_stage(config, "prepare", 5, {}, {}, lower)\n'),
    ):
        file.parent.mkdir(parents=True)
        file.write_text(text)
    table = tmp_path / "accepted_code.txt"
    SourceCode(tmp_path, table).accept()
    module.write_text("def lower(text): return text\n")
    code = SourceCode(tmp_path, table)
    monkeypatch.setattr("tasks.code_version.running_code", lambda: code)
    return table


def test_edited_modules_are_shown_with_their_stages(
    edited: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = edited.read_text()
    found = call(monkeypatch, capfd, "code", "--json").facts
    assert found == {"edited": {"models.lower": ["prepare"]}, "accepted": False}
    assert "reviewlm code --same-result" in call(monkeypatch, capfd, "code").out
    assert edited.read_text() == before
    [line] = [line for line in call(monkeypatch, capfd, "doctor", "--json").facts["checks"] if line["check"] == "code"]
    assert (line["state"], "edited: models.lower" in line["found"]) == ("warning", True)


def test_an_accepted_edit_is_shown_no_more(
    edited: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, capfd, "code", "--same-result", "--json").facts["accepted"]
    assert call(monkeypatch, capfd, "code", "--json").facts == {"edited": {}, "accepted": False}


def test_a_table_that_cannot_be_written_is_an_error_with_its_path(
    edited: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    done = call(monkeypatch, capfd, "code", "--same-result")
    assert (done.code, str(edited) in done.err) == (StoreFull.exit_code, True)
    assert "traceback" not in done.err.lower()
