"""The tables of the report: rows, their order, and numbers with their intervals."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from evaluation.reports import report_tables, report_words
from evaluation.reports.document import Amount, PageTable
from tests.evaluation.made_results import made_decision, made_results, made_table
from tests.evaluation.reports.report_pages import Reader, page_of


def test_the_lowest_perplexity_is_that_of_kept_weights_on_all_validation_reviews(results):
    models = [replace(model, kept=(9.0, 1.5)) if model.name == "gru" else model for model in results.models]
    assert "gru with 1.500 after 9 tokens" in report_words.said_of_curves(replace(results, models=models))


def test_figures_stand_above_their_intervals(results):
    row = next(row for row in report_tables.models(results) if row["model"].startswith("lstm+cache"))
    assert row["model"] == "lstm+cache (word), continuous cache"
    assert row["open bits/byte"] == "0.8000\n(0.7880 to 0.8128)"
    assert row["hit@1"] == "50.00%"
    assert row["vs baseline"] == "-20.00%", "without an interval there is none to show"
    assert "impossible" not in row


def test_a_gain_stands_above_its_interval_and_one_that_is_none_has_none(results):
    gain = pl.col("gain")
    known = results.table.with_columns(gain_lo=gain - 0.011, gain_hi=gain + 0.012)
    none = pl.when(pl.col("model") != "kn5")
    known = known.with_columns(none.then(pl.col(name)).alias(name) for name in ("gain", "gain_lo", "gain_hi"))
    rows = {row["model"]: row for row in report_tables.models(replace(results, table=known))}
    assert rows["lstm+cache (word), continuous cache"]["vs baseline"] == "-20.00%\n(-21.20% to -18.90%)"
    assert rows["kn5 (word)"]["vs baseline"] == "–"
    assert rows["kn5 (word)"]["oov"] == "400\n(0.69%)"


def test_rules_that_failed_come_first():
    outcomes = [row["outcome"] for row in report_tables.rules(made_decision(False))]
    assert outcomes == ["failed", "passed", "not applicable"]


def test_the_audit_stands_beside_real_reviews(results):
    rows = {row["figure"]: row for row in report_tables.audit(results)}
    assert rows["8-grams found in training"]["real reviews"] == "9.0%"
    assert rows["8-grams found in training"]["lstm"] == "9.8%"
    assert list(rows["8-grams found in training"])[:4] == ["figure", "better", "real reviews", "lstm+cache"]
    assert rows["8-grams found in training"]["better"] == "as real reviews"
    assert rows["highest exposure of a canary in bits"]["better"] == "lower"
    assert "mean exposure of canaries planted once in bits" not in rows  # no model has the figure


def test_policies_are_said_once_where_all_models_agree(results):
    rows = report_tables.policies(results)
    assert [row["of"] for row in rows if row["what"] == "log base"] == ["all"]
    units = {row["is"]: row["of"] for row in rows if row["what"] == "unit"}
    assert units["char"] == "lstm-char"


def test_numbers_stand_to_the_right_with_their_heads():
    read = Reader(page_of(PageTable.of([{"name": "a<b", "count": 1_234, "share": Amount("5 %"), "yes": True}])))
    kinds = [attrs.get("class") for attrs in read.all("th")]
    assert kinds == [attrs.get("class") for attrs in read.all("td")] == [None, "number", "number", None]
    assert [text for text in read.text if text.strip()][-4:] == ["a<b", "1,234", "5 %", "True"]


def test_the_distance_to_the_floor_is_the_gap_over_the_reviews_that_the_grammar_can_have_written():
    table = made_table().with_columns(gap=pl.when(pl.col("model") == "lstm+cache").then(-0.0021).otherwise("gap"))
    assert "and 0.0021 below the floor" in report_words.headline(made_results(table=table))
