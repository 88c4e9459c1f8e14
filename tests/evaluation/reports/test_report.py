"""The report of a run: everything on one page that needs nothing else, and no gap where something was not measured."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import replace

import polars as pl
import pytest

from evaluation.gate.decision import RuleOutcome
from evaluation.reports import report_pictures, report_tables
from evaluation.reports.report import report
from evaluation.reports.report_pictures import pictures_of, with_decision
from evaluation.reports.run_results import ModelResults
from tests.evaluation.made_results import LEVELS, made_decision, made_results, made_table
from tests.evaluation.reports.report_pages import Reader


def test_the_page_is_whole_html_and_asks_nobody_for_anything(html, read):
    assert read.open == []
    loaded = [attrs.get("src") or attrs.get("href") for tag, attrs in read.tags if tag in ("img", "script", "link")]
    assert loaded == [None], "only the script that is in the page"
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in html
    assert "innerHTML" not in script
    assert not re.search(r"@import|url\((?!#)", html)
    assert len(html) < 3_000_000


def test_links_lead_to_the_pages_about_the_run_and_run_nothing():
    links = {"MLflow": "http://localhost:5000/#/runs/1", "data card": "../../store/card/1/data_card.html",
             "all runs": "../index.html", "script": "javascript:alert(1)", "other": "//evil.example"}  # fmt: skip
    read = Reader(report(made_results(links=links), []))
    addresses = [attrs["href"] for attrs in read.all("a") if not attrs["href"].startswith("#")]
    assert addresses == list(links.values())[:3]
    assert all(name in " ".join(read.text) for name in links)


def test_a_hint_on_the_training_is_on_the_page_as_on_the_terminal():
    hints = ["lstm is under-trained.", "More passes (<b>) would help."]
    assert "<p>Hint: lstm is under-trained. More passes (&lt;b&gt;) would help.</p>" in report(
        made_results(hints=hints), []
    )
    assert "Hint:" not in report(made_results(), [])


def test_the_table_of_the_result_says_that_perplexities_of_two_vocabularies_do_not_compare(results):
    within = "perplexities compare models of one vocabulary only"
    assert within in report_tables.about_result(results)
    assert within not in report_tables.about_result(replace(results, table=results.table.filter(unit="word")))


def test_every_figure_has_words_for_those_who_cannot_see_it(read, pictures):
    images = read.all("svg")
    assert len(images) == sum(bool(picture.section) for picture in pictures)
    assert all(len(attrs["aria-label"]) > 40 for attrs in images)
    assert len(read.all("figcaption")) == len(images)


def test_links_of_the_contents_lead_to_headings(read):
    places = [attrs["id"] for attrs in read.all("h2")]
    inside = [attrs["href"] for attrs in read.all("a") if attrs["href"].startswith("#")]
    assert inside == [f"#{place}" for place in places]
    assert len(places) == len(set(places))


def test_head_cells_say_what_they_head_and_wide_tables_move_by_themselves(read):
    assert all(attrs.get("scope") == "col" for attrs in read.all("th"))
    assert len(read.all("table")) == sum(attrs.get("role") == "region" for attrs in read.all("div"))


def test_each_figure_that_is_wanted_is_there(pictures):
    names = {picture.name for picture in pictures}
    assert names == {
        "loss_curves", "perplexity_by_model", "quality_size_cost", "worst_slices", "by_stars", "by_length", "by_month",
        "by_category", "by_frequency", "by_position", "by_after_oov", "ranks", "reliability", "certainty",
        "novelty", "exposure", "surprisal",
    }  # fmt: skip
    assert all(picture.reading and picture.finding for picture in pictures if picture.section)


def test_figures_of_single_tokens_say_of_how_many_reviews_they_are(read):
    assert " ".join(read.text).count("observed in 4 of the 680 test reviews") == 2


def test_abbreviations_of_the_page_are_explained_on_it(read):
    said = " ".join(read.text)
    for explained in ("ECE: expected calibration error", "T: the temperature", "Of peak speed:", "Update:", "Better:"):
        assert explained in said


def test_titles_stand_above_the_drawings_which_have_none(html, pictures):
    drawn = next(picture for picture in pictures if picture.name == "perplexity_by_model").picture
    assert drawn.title.startswith("Test set of 680 reviews")
    assert "Test set of 680 reviews" not in drawn.svg
    assert '<p class="title">Test set of 680 reviews' in html


def test_a_warning_of_the_gate_stands_in_the_page_as_text():
    decision = replace(made_decision(), warnings=("on <b>1</b> test review it needs twice the bits",))
    read = Reader(report(made_results(decision=decision), []))
    assert "Warning: on <b>1</b> test review it needs twice the bits." in " ".join(read.text)


def test_what_was_not_measured_is_left_out_with_a_word():
    bare = tuple(ModelResults(name, "ngram", "word", "v") for name in ("kn5", "lstm"))
    known = made_table().filter(pl.col("model").is_in(["kn5", "lstm"])).select(pl.exclude("^(gap|.*_(lo|hi)|mega.*)$"))
    known = known.drop("score_seconds", "tokens_per_second", "parameters", "fit_seconds")
    results = made_results(models=bare, table=known, winner="lstm", floor=None, slices=None, decision=None,
                           version=None, champion=None, commands=(), config="")  # fmt: skip
    pictures = pictures_of(results)
    assert [picture.name for picture in pictures] == ["perplexity_by_model"]
    read = Reader(report(results, pictures))
    said = " ".join(read.text)
    for word in ("No floor", "No training curve", "No slices", "No single tokens", "Calibration was not measured",
                 "No audit was made", "The gate was not asked", "No command line"):  # fmt: skip
        assert word in said
    assert "None" not in said
    assert "nan" not in said.split()


@pytest.mark.slow
def test_figures_drawn_before_the_gate_say_what_it_decided(results, monkeypatch):
    monkeypatch.setattr(report_pictures, "png", lambda figure: b"")  # the page shows drawings, not images
    rule = RuleOutcome("exposure", True, "below the limit of 12 bits")
    decided = replace(results, decision=replace(results.decision, rules=(rule,)))
    undecided = [one.drawn for one in pictures_of(replace(results, decision=None, version=None, champion=None))]
    told = with_decision(undecided, decided)
    assert [(one.name, one.picture) for one in told] == [(one.name, one.drawn.picture) for one in pictures_of(decided)]
    assert any("The gate's rule: passed" in one.finding for one in told)


@pytest.mark.slow
def test_a_model_that_calls_reviews_impossible_does_not_break_the_page():
    infinite = made_table().with_columns(
        open_bits_per_byte=pl.when(pl.col("model") == "lstm+cache").then(math.inf).otherwise("open_bits_per_byte"),
        perplexity=pl.when(pl.col("model") == "lstm+cache").then(math.inf).otherwise("perplexity"),
        impossible=pl.when(pl.col("model") == "lstm+cache").then(3).otherwise("impossible"),
        gain=pl.lit(None, pl.Float64), gap=pl.lit(None, pl.Float64),
    )  # fmt: skip
    results = made_results(table=infinite, slices=None, models=tuple(ModelResults(name) for name in LEVELS))
    said = " ".join(Reader(report(results, pictures_of(results))).text)
    assert "infinite open bits per byte" in said
    assert "3 reviews" in said


def test_a_run_whose_every_model_calls_a_review_impossible_has_a_page(results):
    infinite = results.table.with_columns(open_bits_per_byte=math.inf, perplexity=math.inf, impossible=1)
    bare = made_results(table=infinite, slices=None, models=tuple(ModelResults(name) for name in LEVELS))
    pictures = pictures_of(bare)
    assert "quality_size_cost" not in [picture.name for picture in pictures]
    assert "infinite" in report(bare, pictures)
