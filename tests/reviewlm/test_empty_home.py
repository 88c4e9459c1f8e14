"""A command that reads a home without models says where it looked, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

import reviewlm
from reviewlm.core.errors import BundleError
from tests.command_line import call

Capture = pytest.CaptureFixture[str]
EMPTY_HOME_ASKED = [
    ["suggest", "the food"],
    ["generate"],
    ["history"],
    ["version", "lineage", "champion"],
    ["serve", "--port", "0"],
]


@pytest.mark.parametrize("asked", EMPTY_HOME_ASKED, ids=lambda words: words[0])
def test_a_command_that_reads_an_empty_home_names_it_without_creating_it(
    asked: list[str],
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Capture,
) -> None:
    done = call(monkeypatch, capfd, *asked)
    assert str(own_home.absolute()) in done.err + done.out
    assert "REVIEWLM_HOME" in done.err + done.out
    assert not own_home.exists()


def test_an_empty_home_named_in_python_is_in_the_error_without_being_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path))  # restored at the end of the test
    with pytest.raises(BundleError) as error:
        reviewlm.load("champion", home=tmp_path / "nothing")
    assert str(tmp_path / "nothing") in str(error.value)
    assert "home=" in str(error.value)
    assert not (tmp_path / "nothing").exists()
