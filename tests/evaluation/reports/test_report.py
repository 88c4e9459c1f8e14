"""The report of a run and its model card: the answer first, everything else folded, nothing twice, nothing invented."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import polars as pl
import pytest

from evaluation.gate.decision import RuleOutcome
from evaluation.palette import EDGES, LEVELS, ON_DARK, PALETTE, TINTS, TINTS_ON_DARK
from evaluation.reports import report_tables, report_words
from evaluation.reports.document import Amount, PageTable
from evaluation.reports.report import run_page
from evaluation.reports.report_pictures import pictures_of
from evaluation.reports.run_results import ModelResults
from serving.page.routes import FOLDER
from tests.evaluation.made_results import LEVELS as MODELS
from tests.evaluation.made_results import made_decision, made_results, made_table
from tests.evaluation.reports.report_pages import Reader, page_of

SECTIONS = ["decision", "weak", "training", "calibration", "tokens", "audit", "limits", "data", "figures", "again"]


def text_of(page):
    return " ".join(" ".join(Reader(page.to_html()).text).split())


# ---- the page


def test_the_page_is_whole_html_asks_nobody_for_anything_and_runs_nothing(html, read):
    assert read.open == []
    assert not read.all("script")
    assert not [attrs for tag, attrs in read.tags if tag in ("img", "link")]
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in html
    assert not re.search(r"@import|url\((?!#)", html)
    assert len(html) < 1_000_000


def test_the_answer_stands_before_the_folds_and_nothing_else_is_open(results, html, read):
    assert [attrs["id"] for attrs in read.all("details") if "id" in attrs] == SECTIONS
    answer = html[html.index("<body") : html.index("<details")]
    title = "<h1>yelp.csv, 6,956 reviews → reviews version 3, promoted</h1>"
    for part in (title, report_words.headline(results), "680 test reviews, best model first", "<svg", "<blockquote>"):
        assert part in answer
    assert (answer.count("<svg"), answer.count("<blockquote>"), answer.count('<h3>Reviews that')) == (1, 3, 1)
    assert "<details open" not in html


def test_there_are_at_most_eight_figures_each_described_for_those_who_cannot_see_it(read, pictures):
    assert [picture.name for picture in pictures] == [
        "bits_per_byte", "loss_curves", "reliability", "worst_slices", "novelty", "exposure",
    ]  # fmt: skip
    assert len(read.all("svg")) == len(pictures)
    assert all(len(attrs["aria-label"]) > 20 for attrs in read.all("svg"))


def test_models_that_adapt_have_a_table_of_their_own_and_no_figure_stands_twice(results):
    static, adapting = (report_tables.models(results, report_tables.ANSWER, way) for way in (False, True))
    assert [row["model"] for row in adapting] == ["lstm+cache (word)"]
    assert "lstm+cache (word)" not in [row["model"] for row in static]
    assert static[0]["model"] == "lstm (word)"
    columns = [*report_tables.ANSWER, *report_tables.MORE, *report_tables.COSTS]
    assert len(columns) == len(set(columns))


def test_the_row_of_the_winner_stands_out(html):
    assert re.findall(r'<tr class="chosen"><td>([^<]*)</td>', html) == ["lstm+cache (word)"]


@pytest.mark.parametrize(
    ("changes", "title", "outcome"),
    [
        ({"decision": None}, "evaluated, not offered to the gate", "The gate was not asked."),
        ({"decision": made_decision(False), "champion": 2}, "reviews version 3, not promoted",
         "Not promoted, version 2 stays champion: noise | or luck."),
        ({}, "reviews version 3, promoted", "Promoted as version 3: it is better than the champion"),
    ],
)  # fmt: skip
def test_title_and_headline_say_what_became_of_the_data(changes, title, outcome):
    results = made_results(**changes)
    assert title in run_page(results, []).title
    headline = report_words.headline(results)
    assert headline.startswith("lstm+cache needs 0.8000 bits per byte of 680 test reviews, 20.0% fewer than")
    assert outcome in headline


def test_links_lead_to_the_pages_about_the_run_and_run_nothing():
    links = {"MLflow": "http://localhost:5000/#/runs/1", "data card": "../../store/card/1/data_card.html",
             "script": "javascript:alert(1)", "other": "//evil.example"}  # fmt: skip
    read = Reader(run_page(made_results(links=links), []).to_html())
    assert [attrs["href"] for attrs in read.all("a")] == list(links.values())[:2]
    assert all(name in " ".join(read.text) for name in links)


def test_rules_that_failed_come_first_and_warnings_stand_above_them():
    rules = tuple(RuleOutcome(*one) for one in (("far", True, "ok"), ("none", None, "no"), ("lost", False, "no")))
    noted = {"warnings": ("on <b>1</b> review",), "passed_over": ("lstm adapts",)}
    decision = replace(made_decision(False), rules=rules, **noted)
    assert [row["rule"] for row in report_tables.rules(decision)] == ["lost", "far", "none"]
    assert report_tables.count_of_rules(decision) == "3 rules: 1 failed, 1 passed, 1 not applicable."
    text = text_of(run_page(made_results(decision=decision), []))
    assert text.index("Warning: on <b>1</b> review.") < text.index("lost")
    assert "Passed over: lstm adapts." in text


def test_a_slice_that_is_infinite_is_the_hardest(results):
    own = (pl.col("model") == results.winner) & (pl.col("dimension") == "stars") & (pl.col("slice") == "3")
    endless = {"open_bits_per_byte": math.inf, "excess": None, "gain": None}
    changed = [pl.when(own).then(pl.lit(value)).otherwise(name).alias(name) for name, value in endless.items()]
    changed = replace(results, slices=results.slices.with_columns(changed))
    assert report_words.finding_of_worst(changed).startswith("Hardest: stars 3, infinite.")


def test_slices_that_are_surely_lost_are_all_named(results):
    finding = report_words.finding_of_worst(results)
    lost = results.slices.filter((pl.col("model") == results.winner) & pl.col("surely_worse"))
    assert all(f"{row['dimension'].replace('_', ' ')} {row['slice']}" in finding for row in lost.to_dicts())


def test_the_audit_stands_beside_real_reviews(results):
    rows = {row["figure"]: row for row in report_tables.audit(results)}
    assert list(rows["8-grams found in training"])[:4] == ["figure", "better", "real reviews", "lstm+cache"]
    assert (rows["8-grams found in training"]["real reviews"], rows["8-grams found in training"]["lstm"]) == (
        "9.0%", "9.8%",
    )  # fmt: skip
    assert "mean exposure of canaries planted once in bits" not in rows  # no model has the figure


def test_policies_are_given_once_where_all_models_agree(results):
    rows = report_tables.policies(results)
    assert [row["of"] for row in rows if row["what"] == "log base"] == ["all"]
    assert {row["is"]: row["of"] for row in rows if row["what"] == "unit"}["char"] == "lstm-char"


def test_numbers_stand_to_the_right_with_their_heads():
    read = Reader(page_of(PageTable.of([{"name": "a<b", "count": 1_234, "share": Amount("5 %"), "yes": True}])))
    kinds = [attrs.get("class") for attrs in read.all("th")]
    assert kinds == [attrs.get("class") for attrs in read.all("td")] == [None, "number", "number", None]
    assert [text for text in read.text if text.strip()][-4:] == ["a<b", "1,234", "5 %", "True"]


def test_what_was_not_measured_is_left_out():
    bare = tuple(ModelResults(name, "ngram", "word", "v") for name in ("kn5", "lstm"))
    known = made_table().filter(pl.col("model").is_in(["kn5", "lstm"])).select(pl.exclude("^(gap|.*_(lo|hi)|mega.*)$"))
    known = known.drop("score_seconds", "tokens_per_second", "parameters", "fit_seconds")
    results = made_results(models=bare, table=known, winner="lstm", floor=None, slices=None, decision=None,
                           version=None, champion=None, commands=(), config="")  # fmt: skip
    pictures = pictures_of(results)
    assert [picture.name for picture in pictures] == ["bits_per_byte"]
    page = run_page(results, pictures)
    assert [section.anchor for section in page.sections] == ["limits", "data", "figures", "again"]
    text = text_of(page)
    assert "was not audited" in text
    assert "None" not in text
    assert "nan" not in text.split()


def test_a_run_whose_every_model_calls_a_review_impossible_has_a_page(results):
    infinite = results.table.with_columns(open_bits_per_byte=math.inf, perplexity=math.inf, impossible=1)
    bare = made_results(table=infinite, slices=None, models=tuple(ModelResults(name) for name in MODELS))
    page = run_page(bare, pictures_of(bare))
    assert "needs infinite bits per byte" in page.to_html()
    assert "impossible reviews" in page.to_html()


# ---- the model card


def section_of(card, title):
    return card.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def card(results, pictures):
    return run_page(results, pictures).to_markdown()


def test_the_card_is_the_page_without_pictures_and_texts_of_reviews(card, results):
    assert card.startswith("# yelp.csv, 6,956 reviews → reviews version 3, promoted\n")
    assert "| lstm+cache (word) | 0.8000 ±0.012 | -20.0% |" in card
    assert "| better than the champion | passed |" in section_of(card, "Why it was promoted")
    assert "| licence | not stated |" in section_of(card, "Data")
    assert section_of(card, "Where it is weak").strip().startswith("Hardest: month 2022")
    assert "| lstm+cache: bundle | bundle of lstm+cache |" in card
    assert "<svg" not in card
    assert results.models[0].samples["text"][0] not in card


def test_the_card_states_uses_limits_and_how_to_ask(card):
    limits = section_of(card, "What it is for, and its limits")
    for part in ("Meant for", "9.6% stand in the training text; of held-out reviews 9.0%", "highest exposure 3.20 bits",
                 "continuous cache", 'load_model("models:/reviews/3")', "reviewlm generate --model 3"):  # fmt: skip
        assert part in limits
    assert "It copies" not in limits


def test_a_copying_model_is_called_one(results):
    assert report_words.finding_of_copying({"copied_8": 0.5, "real_copied_8": 0.09}).endswith("It copies.")


# ---- one palette


def test_the_served_page_has_the_reports_accent_levels_and_tints():
    style, script = (FOLDER.joinpath(name).read_text("utf-8") for name in ("style.css", "surprisal.js"))
    light, dark = style.split("prefers-color-scheme: dark")[:2]
    for part, tints, accent in ((light, TINTS, PALETTE[0]), (dark, TINTS_ON_DARK, ON_DARK[0])):
        assert re.findall(r"--heat\d: (#\w{6})", part) == list(tints)
        assert f"--accent: {accent}" in part
    assert f"const EDGES = {list(EDGES)};" in script
    assert len(LEVELS) == len(TINTS) == len(TINTS_ON_DARK) == len(EDGES) + 1
