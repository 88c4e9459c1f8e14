"""`reviewlm drill`: a row for each failure from the tests that cause it, and what to install without them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.errors import ReviewLMError
from reviewlm.verbs.maintenance import drill
from tests import drill_rows
from tests.command_line import call
from tests.flows.first_run import ROOT

GOOD = '''
import pytest

@pytest.mark.drill("disk | full", "while reading", "the old file is whole")
@pytest.mark.parametrize("number", [1, 2])
def test_reading(number, record_property):
    record_property("seconds until noticed", number)

@pytest.mark.long
@pytest.mark.drill("disk | full", "while writing", "exit code 5")
def test_writing():
    pytest.skip("no small disk")

def test_of_no_row():
    raise AssertionError
'''
BAD = '''
import pytest

@pytest.mark.drill("clock set back", "by a day", "nothing younger goes")
def test_clock():
    raise ValueError("a younger result is gone")
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two files of tests and the real plugin."""
    tests = tmp_path / "project" / "tests"
    tests.mkdir(parents=True)
    (tests / "drill_rows.py").write_text(Path(drill_rows.__file__).read_text())
    (tests / "test_good.py").write_text(GOOD)
    (tests / "test_of_other_things.py").write_text("this cannot be read")
    (tests.parent / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\npythonpath = ["."]\nmarkers = ["drill: a row", "long: long"]\n'
    )
    monkeypatch.setattr(drill, "PROJECT", tests.parent)
    return tests.parent


@pytest.mark.slow
def test_all_tests_of_a_failure_and_a_deed_are_one_row(
    project: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = project / "drill.md"
    done = call(monkeypatch, capfd, "drill", "--long", "--json", "--out", out)
    assert done.code == 0, done.err
    reading, writing = done.facts["rows"]
    assert (reading["ok"], reading["tests"], reading["figures"]) == (True, 2, {"seconds until noticed": 2})
    assert (writing["ok"], writing["happened"]) == (None, "not run: no small disk")
    assert "1 ok, 0 FAILED, 1 not run" in done.err
    assert out.read_text().startswith("`reviewlm drill --long` on ")
    row = next(line for line in out.read_text().splitlines() if "while reading" in line)
    assert row.startswith(r"| disk \| full | while reading | the old file is whole | seconds until noticed 2, tests 2")
    assert row.endswith("| ok |")
    assert not own_home.exists()


@pytest.mark.slow
def test_a_row_that_fails_ends_with_1_and_names_test_error_and_output(
    project: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / "tests" / "test_bad.py").write_text(BAD)
    done = call(monkeypatch, capfd, "drill", "--quick", "--json", "--only", "BACK clock")
    assert done.code == 1
    [row] = done.facts["rows"]
    assert row["happened"] == "tests/test_bad.py::test_clock failed: ValueError: a younger result is gone"
    log = Path(done.facts["log"])
    assert "def test_clock" in log.read_text()
    log.unlink()


@pytest.mark.slow
def test_words_that_no_row_has_are_an_error(
    project: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done = call(monkeypatch, capfd, "drill", "--only", "earthquake")
    assert done.code == 2
    assert "No row has these words" in done.err


def test_without_the_repository_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ReviewLMError, match="clone the repository"):
        drill.require_tests(tmp_path)


def test_without_the_packages_for_development_it_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "find_spec", lambda name: None)
    with pytest.raises(ReviewLMError, match=r"pip install -e .*\[dev\]"):
        drill.require_tests(project)


def test_the_help_names_the_failures_of_all_rows() -> None:
    marker = re.compile(r'mark\.drill\(\s*"([^"]+)"')
    files = [file for file in (ROOT / "tests").rglob("test_*.py") if file != Path(__file__)]
    failures = {found for file in files for found in marker.findall(file.read_text(encoding="utf-8"))}
    told = " ".join((drill.drill.__doc__ or "").split()).split("Failures: ")[1].removesuffix(".")
    assert told.split(", ") == sorted(failures)
