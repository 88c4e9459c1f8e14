"""The page and the results of checks: what they say, what they never quote, and what a broken check is."""

import html
import logging
import os
import re
from pathlib import Path

import polars as pl
import pytest

from reviewlm.core.config.sections.data import ChecksConfig
from reviewlm.core.errors import CheckFailed, ConfigError, ReviewLMError
from reviewlm.data_checks import suites
from reviewlm.data_checks.checks import Check
from reviewlm.data_checks.report import CheckReport, ExpectationResult
from reviewlm.data_checks.suite_runs import check_stage
from tests.data_checks.review_tables import stored

SECRET = "my phone is 602-555-0199"


def table(stars=5):
    return pl.DataFrame(
        {
            "review_id": ["a", "b"],
            "text": ["Nice place.", SECRET],
            "stars": [stars, stars],
            "bytes": [12, 25],
            "split": ["train", "test"],
        },
        schema_overrides={"stars": pl.Int8},
    )


def reported(
    folder,
    stars=5,
    name="clean",
):
    return check_stage(
        "clean",
        stored(table(stars)),
        ChecksConfig(),
        folder / "docs",
        name,
    )


def text_of(page: Path) -> str:
    """Return the words of a page without its tags and styles."""
    body = page.read_text(encoding="utf-8").split("</head>")[1]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A report of a table without validation reviews and with nine stars, made in a folder of its own."""
    folder = tmp_path_factory.mktemp("checked")
    before = os.getcwd()
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    os.chdir(elsewhere)
    try:
        report = reported(folder, stars=9, name="the clean table")
    finally:
        os.chdir(before)
    return folder, report


def result(
    severity="critical",
    passed=False,
    sentence="Stars are 1 to 5 (observed: 9)",
):
    return ExpectationResult(
        "expect_x",
        severity,
        passed,
        "9",
        sentence,
    )


def made_of(*results, broken=()):
    passed = not broken and all(each.passed or each.severity != "critical" for each in results)
    return CheckReport(
        "raw",
        "example",
        passed,
        results,
        Path("docs/index.html"),
        broken,
    )


def test_neither_page_nor_results_quote_a_review(failed):
    folder, _ = failed
    for name in ("index.html", "validation.json"):
        assert SECRET not in (folder / "docs" / name).read_text(encoding="utf-8")


@pytest.fixture
def page_of_failed(failed) -> str:
    return text_of(failed[0] / "docs" / "index.html")


def test_the_page_says_what_was_checked(page_of_failed):
    assert "Failed: 16 of 18 expectations of 'clean' hold" in page_of_failed
    assert re.search(r"Checked \d{4}-\d\d-\d\d \d\d:\d\d UTC", page_of_failed)
    assert "Suite clean" in page_of_failed
    assert "Table 2 rows (columns: review_id, text, stars, bytes, split" in page_of_failed


def test_the_page_says_on_how_many_rows_an_expectation_failed(page_of_failed):
    critical = page_of_failed[page_of_failed.index("critical Stars are 1 to 5") :]
    assert critical.index("2 of 2 rows fail, e.g. 9) stars between min = 0; max = 5") < 120


@pytest.mark.parametrize(
    "name", ["index.html", "static/film.mp4", "validations/mine.html", "notes.txt"]
)
def test_a_folder_of_other_things_is_left_as_it_was(tmp_path, name):
    file = tmp_path / "docs" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(ConfigError, match="holds other things"):
        reported(tmp_path)
    assert [path for path in (tmp_path / "docs").rglob("*") if path.is_file()] == [file]
    assert file.read_text() == "mine"


def test_a_warning_is_only_logged(caplog):
    report = made_of(result("warning"), result("info", sentence="For the record"))
    with caplog.at_level(logging.INFO):
        assert report.require() is report
    assert [(entry.levelname, entry.message) for entry in caplog.records] == [
        ("WARNING", "raw: Stars are 1 to 5 (observed: 9). Details: docs/index.html"),
        ("INFO", "raw: For the record. Details: docs/index.html"),
    ]
    assert report.warnings == (result("warning"),)
    assert "warning: Stars are 1 to 5" in report.summary


def test_a_broken_check_is_an_error_of_ours_instead_of_bad_data(tmp_path, monkeypatch):
    broken = [
        Check("mean", "stars", min=0, description="Sound"),
        Check("between", "review_id", min=0, description="Numbers from texts"),
    ]
    monkeypatch.setitem(suites._SUITES, "clean", lambda limits, facts: broken)
    report = reported(tmp_path)
    assert len(report.broken) == 1
    assert "Numbers from texts" in report.broken[0]
    assert not any("Numbers from texts" in each.sentence for each in report.results)
    assert any("Sound" in each.sentence for each in report.results)
    with pytest.raises(ReviewLMError, match="Numbers from texts") as caught:
        report.require()
    assert not isinstance(caught.value, CheckFailed)
