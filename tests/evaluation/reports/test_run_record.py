"""What is kept of a run beside its report, and what changed between two runs."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import polars as pl
import pytest

from evaluation.reports.report import run_page
from evaluation.reports.run_record import (
    RECORD_FILE,
    REPORT_FILE,
    differences,
    flat,
    read_records,
    record_of,
    run_of_bundle,
    samples_of,
)


@pytest.fixture
def put(tmp_path):
    """Write a report with a record into a folder of its own, later than those before."""

    def write(name, record):
        folder = tmp_path / name
        folder.mkdir()
        (folder / REPORT_FILE).write_text("page")
        if record is not None:
            (folder / RECORD_FILE).write_text(record if isinstance(record, str) else json.dumps(record))
        os.utime(folder / REPORT_FILE, (len(list(tmp_path.iterdir())),) * 2)
        return tmp_path

    return write


def test_a_record_is_plain_json_with_settings_data_and_figures(results):
    config = json.dumps({"seed": 7, "models": [{"name": "lstm", "hidden": 128}], "clean": {"edition": "3"}})
    record = json.loads(json.dumps(record_of(replace(results, config=config)), allow_nan=False))
    assert record["settings"] == {"seed": "7", "models.lstm.name": "lstm", "models.lstm.hidden": "128",
                                  "clean.edition": "3"}  # fmt: skip
    assert record["bundle"] == "bundle of lstm+cache"
    assert record["figures"]["bits per byte"] == "0.8000"
    assert record["data"]["reviews"] == "6956"


@pytest.mark.parametrize(
    ("stars", "chosen"),
    [([1, 1, 2, 3, 4, 5], [1, 3, 5]), ([2, 2, 4], [2, 4, 2]), ([None, None, None, None], [None] * 3), ([5], [5])],
)
def test_a_few_samples_are_of_different_ratings_as_far_as_there_are_any(results, stars, chosen):
    texts = [f"text {number}" for number in range(len(stars))]
    frame = pl.DataFrame({"stars": pl.Series(stars, dtype=pl.Int64), "text": texts})
    model = replace(results.model(results.winner), samples=frame)
    others = [one for one in results.models if one.name != model.name]
    samples = samples_of(replace(results, models=(*others, model)))
    assert [stars for stars, _ in samples] == chosen
    assert len({text for _, text in samples}) == len(samples)


def test_nested_settings_are_told_apart_by_name():
    then, now = (flat({"models": [{"name": "lstm", "hidden": size}], "seed": 1}) for size in (64, 128))
    assert differences(then, now) == [{"what": "models.lstm.hidden", "then": "64", "now": "128"}]
    assert differences({"a": "1", "execution.threads": "1"}, {"b": "2"}, ("execution.",)) == [
        {"what": "a", "then": "1", "now": "–"}, {"what": "b", "then": "–", "now": "2"},
    ]  # fmt: skip


def test_the_run_of_the_champion_is_the_one_that_promoted_its_bundle(results, put):
    record = record_of(results)
    put("promoted", {**record, "promoted": True})
    put("again", {**record, "promoted": False})
    reports = put("other", {**record, "bundle": "other"})
    assert run_of_bundle(reports, record["bundle"])["folder"] == "promoted"
    assert run_of_bundle(reports, record["bundle"], but="promoted")["folder"] == "again"
    assert run_of_bundle(reports, "unknown") is None
    assert run_of_bundle(reports, "") is None


def test_records_are_listed_newest_first_and_damaged_ones_by_name_only(results, put):
    put("a", record_of(results))
    put("b", None)
    put("c", "{")
    reports = put("d", {"format": 999})
    (reports / "latest").symlink_to("a")
    assert {name: bool(record) for name, record in read_records(reports).items()} == {
        "d": False, "c": False, "b": False, "a": True,
    }  # fmt: skip


def test_the_report_shows_what_changed_since_the_champion_s_run(results):
    then = record_of(replace(results, config='{"models": [{"name": "lstm", "hidden": 64}]}'))
    now = replace(results, config='{"models": [{"name": "lstm", "hidden": 128}]}', data={"reviews": 7_000},
                  before={**then, "folder": "run-1"})  # fmt: skip
    page = run_page(now, []).to_html()
    assert '<a href="../run-1/report.html">' in page
    for cell in ("models.lstm.hidden", "64", "128", "6956", "7000"):
        assert f">{cell}</td>" in page
    assert "Figures: the same." in page
