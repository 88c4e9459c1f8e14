"""What is kept of a run beside its report, what changed between two runs, and the page of all runs."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import polars as pl
import pytest

from evaluation.gate.decision import RuleOutcome
from evaluation.reports import report_tables, report_words
from evaluation.reports.all_runs import ALL_RUNS_FILE, COLUMNS, write_all_runs
from evaluation.reports.report import report
from evaluation.reports.run_record import (
    RECORD_FILE,
    REPORT_FILE,
    changed_figures,
    differences,
    flat,
    read_records,
    record_of,
    run_of_bundle,
    samples_of,
)
from evaluation.reports.run_results import ModelResults
from tests.evaluation.made_results import made_decision, made_results


@pytest.fixture(scope="module")
def results():
    return made_results()


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


def test_a_record_is_plain_json_with_settings_data_figures_and_samples(results):
    config = json.dumps({"seed": 7, "models": [{"name": "lstm", "hidden": 128}], "clean": {"edition": "3"}})
    record = json.loads(json.dumps(record_of(replace(results, config=config)), allow_nan=False))
    assert record["settings"] == {"seed": "7", "models.lstm.name": "lstm", "models.lstm.hidden": "128",
                                  "clean.edition": "3"}  # fmt: skip
    assert record["bundle"] == "bundle of lstm+cache"
    best = record["models"][[row["model"] for row in record["models"]].index(record["winner"])]
    assert best["open_bits_per_byte"] == pytest.approx(0.8)
    assert record["data"]["reviews"] == "6956"
    assert [sample["stars"] for sample in record["samples"]] == [1, 3, 5]


def test_a_figure_that_is_infinite_or_missing_has_no_number_in_the_record(results):
    table = results.table.with_columns(perplexity=float("inf"), megabytes=pl.lit(None, pl.Float64))
    row = record_of(replace(results, table=table))["models"][0]
    assert (row["perplexity"], row["megabytes"]) == (None, None)


@pytest.mark.parametrize(
    ("stars", "chosen"),
    [([1, 1, 2, 3, 4, 5], [1, 3, 5]), ([2, 2, 4], [2, 4, 2]), ([None, None, None, None], [None] * 3), ([5], [5])],
)
def test_a_few_samples_are_of_different_ratings_as_far_as_there_are_any(results, stars, chosen):
    texts = [f"text {number}" for number in range(len(stars))]
    frame = pl.DataFrame({"stars": pl.Series(stars, dtype=pl.Int64), "text": texts})
    model = replace(results.model(results.winner), samples=frame)
    others = [one for one in results.models if one.name != model.name]
    found = samples_of(replace(results, models=(*others, model)))
    assert [stars for stars, _ in found] == chosen
    assert len({text for _, text in found}) == len(found)


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


def test_records_are_listed_newest_first_and_damaged_or_earlier_ones_by_name_only(results, put):
    put("a", record_of(results))
    put("b", None)
    put("c", "{")
    reports = put("d", {"format": 999})
    (reports / "latest").symlink_to("a")
    assert {name: bool(record) for name, record in read_records(reports).items()} == {
        "d": False, "c": False, "b": False, "a": True,
    }  # fmt: skip


# ---- the report


def test_the_report_says_what_changed_since_the_champion_s_run(results):
    then = record_of(replace(results, config='{"models": [{"name": "lstm", "hidden": 64}]}'))
    now = replace(results, config='{"models": [{"name": "lstm", "hidden": 128}]}', data={"reviews": 7_000},
                  before={**then, "folder": "run-1"})  # fmt: skip
    page = report(now, [])
    assert '<a href="../run-1/report.html">' in page
    for cell in ("models.lstm.hidden", "64", "128", "6956", "7000"):
        assert f">{cell}</td>" in page
    assert [name for name, before, after in changed_figures(then, record_of(now)) if before != after] == []


@pytest.mark.parametrize(
    ("champion", "said"), [(None, "There was no champion before this run."), ("x", "has no record beside its report")]
)
def test_a_champion_whose_run_is_not_known_is_said_to_be_so(results, champion, said):
    assert said in report(replace(results, decision=replace(made_decision(), champion=champion)), [])


def test_only_rules_that_failed_or_nearly_did_are_shown_and_all_are_folded_away():
    rules = (
        RuleOutcome("far", True, "far from the limit", 10.0, 1_000.0),
        RuleOutcome("narrow", True, "close", 960.0, 1_000.0),
        RuleOutcome("narrow at zero", True, "close", 0.004, 0.0),
        RuleOutcome("nothing", True, "none of either", 0.0, 0.0),
        RuleOutcome("lost", False, "no", 2.0, 1.0),
        RuleOutcome("none", None, "does not apply"),
    )
    decision = replace(made_decision(False), rules=rules)
    assert [row["rule"] for row in report_tables.rules(decision, close=True)] == ["lost", "narrow", "narrow at zero"]
    assert report_tables.count_of_rules(decision) == "All 6 rules: 4 passed, 1 failed, 1 not applicable"
    page = report(made_results(decision=decision), [])
    assert page.index("narrow at zero") < page.index("<details>") < page.index("far from the limit")


def test_the_result_comes_before_the_reasons(results):
    page = report(results, [])
    shown = ("680 test reviews, best first", "Nice &amp; &lt;good&gt;.", "Why: the gate")
    places = [page.index(text) for text in shown]
    assert places == sorted(places)


# ---- captions


def test_a_model_built_on_others_has_read_the_tokens_of_its_parts_too(results):
    def model(name, step, perplexity, parts=()):
        return ModelResults(name, vocabulary="v", curve=[{"step": step, "validation/perplexity": perplexity}],
                            parts=parts)  # fmt: skip

    models = (model("kn5", 300_000, 5.0), model("lstm", 1_460_000, 3.5), model("kn5+lstm", 58_318, 3.34,
              ("kn5", "lstm")))  # fmt: skip
    said = report_words.said_of_curves(replace(results, models=models))
    assert said.endswith("kn5+lstm with 3.340 after 1,818,318 tokens, those of its parts kn5 and lstm included.")


@pytest.mark.parametrize(
    ("excess", "said"),
    [(0.094, "9% above all reviews"), (-0.01, "1% below all reviews"), (0.002, "as all reviews")],
)
def test_a_slice_is_above_or_below_all_reviews(excess, said):
    assert report_words.beside_all(excess) == said


# ---- all runs


def test_the_page_of_all_runs_lists_each_with_a_link_and_its_figures(results, put):
    put("first", None)
    reports = put("second", record_of(results))
    page, count = write_all_runs(reports)
    assert (page, count) == (reports / ALL_RUNS_FILE, 2)
    text = page.read_text()
    assert text.index("second/report.html") < text.index("first/report.html")
    for cell in ("lstm+cache", "0.8000", "-20.0%", "its record cannot be read", *COLUMNS):
        assert cell in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_home_without_runs_has_an_empty_page(tmp_path):
    page, count = write_all_runs(tmp_path / "reports")
    assert count == 0
    assert "0 runs" in page.read_text()
