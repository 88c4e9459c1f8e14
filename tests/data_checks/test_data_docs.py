import logging
import os
from pathlib import Path

import polars as pl
import pytest

from core.config.run_config import ChecksConfig
from core.errors import CheckFailed, ConfigError, ReviewLMError
from data_checks import gx
from data_checks.engine import MARKER, Batch, run
from data_checks.gx import exception_in, expect
from data_checks.metrics.tables import Table
from data_checks.report import CheckReport, ExpectationResult
from data_checks.suites import suites
from data_checks.suites.suites import check

SECRET = "my phone is 602-555-0199"


def table(stars=5):
    return pl.DataFrame(
        {"review_id": ["a", "b"], "text": ["Nice place.", SECRET], "stars": [stars, stars], "bytes": [12, 25],
         "split": ["train", "test"]},
        schema_overrides={"stars": pl.Int8},
    )


def reported(folder, stars=5, name="clean"):
    return check("clean", table(stars), ChecksConfig(), folder / "docs", name)


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


def result(severity="critical", passed=False, sentence="Stars are 1 to 5 (observed: 9)"):
    return ExpectationResult("expect_x", severity, passed, "9", sentence)


def made_of(*results, broken=()):
    passed = not broken and all(each.passed or each.severity != "critical" for each in results)
    return CheckReport("raw", "example", passed, results, Path("docs/index.html"), broken)


def test_the_pages_are_whole_and_lie_in_their_folder_alone(failed):
    folder, report = failed
    page = (folder / report.report_path).read_text(encoding="utf-8")
    assert "the clean table" in page
    assert {path.name for path in folder.iterdir()} == {"docs", "elsewhere"}
    assert list((folder / "elsewhere").iterdir()) == [], "nothing is left in the working directory"


def test_the_pages_speak_the_same_words_as_the_report(failed):
    folder, report = failed
    pages = "".join(path.read_text(encoding="utf-8") for path in (folder / "docs" / "validations").rglob("*.html"))
    for each in report.failed:
        assert each.sentence.split(" (observed")[0].split(" (the value")[0] in pages


def test_the_pages_never_quote_a_review(failed):
    folder, _ = failed
    assert all(SECRET not in path.read_text(encoding="utf-8") for path in (folder / "docs").rglob("*.html"))


def test_beside_the_pages_lies_only_what_they_refer_to(failed):
    """Great Expectations copies 4 MB of films and fonts to each report, of which the pages show none."""
    docs = failed[0] / "docs"
    pages = "".join(path.read_text(encoding="utf-8") for path in docs.rglob("*.html"))
    beside = [path for path in docs.rglob("*") if path.is_file() and path.suffix != ".html" and path.name != MARKER]
    assert beside
    assert all(path.name in pages for path in beside)
    assert sum(path.stat().st_size for path in docs.rglob("*")) < 1_000_000


def test_an_earlier_report_is_replaced(tmp_path):
    for name in ("first", "second"):
        reported(tmp_path, name=name)
    assert len(list((tmp_path / "docs" / "validations").rglob("*.html"))) == 3
    assert "first" not in (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["index.html", "static/film.mp4", "validations/mine.html", "notes.txt"])
def test_a_folder_of_other_things_is_refused_and_left_as_it_was(tmp_path, name):
    file = tmp_path / "docs" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(ConfigError, match="holds other things"):
        reported(tmp_path)
    assert [path for path in (tmp_path / "docs").rglob("*") if path.is_file()] == [file]
    assert file.read_text() == "mine"


def test_pages_that_came_into_the_folder_later_are_neither_read_nor_removed(tmp_path):
    (tmp_path / "docs").mkdir()
    reported(tmp_path)
    page = tmp_path / "docs" / "old" / "page.html"
    page.parent.mkdir()
    page.write_bytes(b"caf\xe9")
    reported(tmp_path)
    assert page.read_bytes() == b"caf\xe9"


def test_a_critical_failure_stops_with_its_own_words_and_the_page(failed):
    folder, report = failed
    with pytest.raises(CheckFailed) as caught:
        report.located(folder).require()
    assert "Stars are 1 to 5, or 0 for unknown (observed: 2 of 2 rows fail, e.g. 9)" in caught.value.what
    assert "There are reviews in the validation split" in caught.value.what
    assert caught.value.report == str(folder / "docs" / "index.html")
    assert caught.value.exit_code == 4


def test_a_warning_is_logged_and_does_not_stop(caplog):
    report = made_of(result("warning"), result("info", sentence="For the record"))
    with caplog.at_level(logging.INFO):
        assert report.require() is report
    assert [(entry.levelname, entry.message) for entry in caplog.records] == [
        ("WARNING", "raw: Stars are 1 to 5 (observed: 9). Details: docs/index.html"),
        ("INFO", "raw: For the record. Details: docs/index.html"),
    ]
    assert report.warnings == (result("warning"),)
    assert "warning: Stars are 1 to 5" in report.summary


def test_a_report_survives_json(failed):
    for report in (failed[1], made_of(result(passed=True), broken=("x",))):
        assert CheckReport.from_json(report.to_json()) == report


def test_the_table_for_the_user_interface_has_the_failed_first():
    lines = made_of(result(passed=True, sentence="fine"), result(sentence="a | b")).to_markdown().splitlines()
    assert lines[0] == "**raw** `example`: failed"
    assert lines[4:6] == ["| **failed** | critical | a \\| b |", "| held | critical | fine |"]


FLAT = {"raised_exception": True, "exception_message": "no such column", "exception_traceback": "…"}


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (None, ""),
        ({}, ""),
        ({"raised_exception": False, "exception_message": None}, ""),
        (FLAT, "no such column"),
        ({"MetricConfigurationID(…)": FLAT, "another": FLAT}, "no such column"),
        ({"MetricConfigurationID(…)": {**FLAT, "raised_exception": False}}, ""),
        ({"raised_exception": True, "exception_message": None}, "no message"),
    ],
)
def test_exceptions_are_found_in_both_shapes(info, message):
    assert exception_in(info) == message


def test_a_broken_check_is_an_error_of_ours_and_never_bad_data(tmp_path, monkeypatch):
    def broken(case):
        return [
            expect().ExpectColumnMeanToBeBetween(column="stars", min_value=0, description="Sound"),
            expect().ExpectColumnValuesToBeBetween(column="review_id", min_value=0, description="Numbers from texts"),
        ]

    monkeypatch.setitem(suites.expectations.ROWS, "clean", broken)
    report = reported(tmp_path)
    assert len(report.broken) == 1
    assert "Numbers from texts" in report.broken[0]
    assert not any("Numbers from texts" in each.sentence for each in report.results)
    assert any("Sound" in each.sentence for each in report.results)
    with pytest.raises(ReviewLMError, match="Numbers from texts") as caught:
        report.require()
    assert not isinstance(caught.value, CheckFailed)


def test_results_keep_the_order_of_the_suite(tmp_path, monkeypatch):
    monkeypatch.setattr(gx, "write_pages", lambda context: None)
    words = ["last letter", "first letter", "any letter"]
    batch = Batch("t", Table.of(table()), [
        expect().ExpectColumnMaxToBeBetween(column="bytes", max_value=1, description=words[0]),
        expect().ExpectColumnValuesToNotBeNull(column="stars", description=words[1]),
        expect().ExpectColumnMinToBeBetween(column="bytes", min_value=1, description=words[2]),
    ])
    outcome = run([batch], tmp_path / "docs", "order")
    assert [each.sentence.split(" (")[0] for each in outcome.results] == words
    assert [each.passed for each in outcome.results] == [False, True, True]


def test_warnings_of_the_library_do_not_reach_the_caller(tmp_path, recwarn):
    reported(tmp_path)
    assert [str(entry.message) for entry in recwarn if "great_expectations" in entry.filename] == []
