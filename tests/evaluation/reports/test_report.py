"""The report of a run and its model card: the answer first, everything else folded, nothing twice, nothing invented."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import replace

import polars as pl
import pytest

from reviewlm.evaluation.gate.rule_table import RuleOutcome
from reviewlm.evaluation.reports import report_tables
from reviewlm.evaluation.reports.report import run_page
from reviewlm.evaluation.reports.report_pictures import drawings_of
from reviewlm.evaluation.reports.run_record import (
    RECORD_FILE,
    REPORT_FILE,
    read_records,
    record_of,
    run_of_bundle,
)
from reviewlm.evaluation.reports.run_results import ModelResults
from tests.evaluation.made_results import LEVELS as MODELS
from tests.evaluation.made_results import made_decision, made_results, made_table
from tests.evaluation.reports.report_pages import Reader


def text_of(page):
    return " ".join(" ".join(Reader(page.to_html()).text).split())


# ---- the page


def test_every_tag_of_the_page_is_closed(read):
    assert read.open == []


def test_the_page_runs_nothing(read):
    assert not read.all("script")


def test_the_page_asks_no_server_for_anything(html, read):
    assert not [attrs for tag, attrs in read.tags if tag in ("img", "link")]
    assert "default-src 'none'; style-src 'unsafe-inline'\"" in html
    assert not re.search(r"@import|url\((?!#)", html)


def test_the_page_is_smaller_than_a_megabyte(html):
    assert len(html) < 1_000_000


def test_there_are_at_most_eight_figures_each_described_for_those_who_cannot_see_it(read, pictures):
    assert [picture.name for picture in pictures] == [
        "bits_per_byte",
        "loss_curves",
        "worst_slices",
        "reliability",
        "novelty",
    ]
    assert len(read.all("svg")) == len(pictures)
    assert all(len(attrs["aria-label"]) > 20 for attrs in read.all("svg"))


@pytest.fixture
def refused_decision():
    """A decision with one rule that failed, and with a warning."""
    rules = tuple(
        RuleOutcome(*one)
        for one in (("far", True, "ok"), ("none", None, "no"), ("lost", False, "no"))
    )
    noted = {"warnings": ("on <b>1</b> review",), "passed_over": ("lstm adapts",)}
    return replace(made_decision(False), rules=rules, **noted)


def test_rules_that_failed_come_first(refused_decision):
    assert [row["rule"] for row in report_tables.rules(refused_decision)] == ["lost", "far", "none"]
    counted = report_tables.count_of_rules(refused_decision)
    assert counted == "3 rules: 1 failed, 1 passed, 1 not applicable."


def test_warnings_stand_above_the_rules(refused_decision):
    text = text_of(run_page(made_results(decision=refused_decision), []))
    assert text.index("Warning: on <b>1</b> review.") < text.index("lost")
    assert "Passed over: lstm adapts." in text


def test_each_reason_is_named_where_a_narrow_screen_has_no_header(read):
    heads = [attrs["data-head"] for attrs in read.all("td") if "data-head" in attrs]
    assert {"outcome", "value", "limit", "why"} <= set(heads)


def test_what_was_not_measured_is_left_out():
    bare = tuple(ModelResults(name) for name in ("kn5", "lstm"))
    known = (
        made_table()
        .filter(pl.col("model").is_in(["kn5", "lstm"]))
        .select(pl.exclude("^(gap|.*_(lo|hi)|mega.*)$"))
    )
    known = known.drop("score_seconds", "tokens_per_second", "parameters", "fit_seconds")
    results = made_results(
        models=bare,
        table=known,
        winner="lstm",
        floor=None,
        slices=None,
        decision=None,
        version=None,
        champion=None,
        commands=(),
        config="",
    )
    pictures = drawings_of(results)
    assert [picture.name for picture in pictures] == ["bits_per_byte"]
    page = run_page(results, pictures)
    assert [section.anchor for section in page.sections] == ["limits", "data", "figures", "again"]
    text = text_of(page)
    assert "was not audited" in text
    assert "None" not in text
    assert "nan" not in text.split()


def test_a_run_whose_every_model_calls_a_review_impossible_has_a_page(results):
    infinite = results.table.with_columns(
        open_bits_per_byte=math.inf,
        perplexity=math.inf,
        impossible=1,
    )
    bare = made_results(
        table=infinite,
        slices=None,
        models=tuple(ModelResults(name) for name in MODELS),
    )
    page = run_page(bare, drawings_of(bare))
    assert "needs infinite bits per byte" in page.to_html()
    assert "impossible reviews" in page.to_html()


# ---- the model card


def section_of(card, title):
    return card.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def card(results, pictures):
    return run_page(results, pictures).to_markdown()


def test_the_card_has_the_sections_of_the_page(card):
    assert card.startswith("# yelp.csv, 6,956 reviews → reviews version 3, promoted\n")
    assert "| lstm+cache (word) (promoted) | 12.36 | 0.800 ±0.012 | 20.0% |" in card
    assert "| better than the champion | passed |" in section_of(card, "Why it was promoted")
    assert "| licence | not stated |" in section_of(card, "Data")
    assert section_of(card, "Where it is weak").strip().startswith("Hardest: month 2022")
    assert "| lstm+cache: bundle | bundle of lstm+cache |" in card


def test_the_card_has_no_pictures(card):
    assert "<svg" not in card


def test_the_card_has_no_texts_of_reviews(card, results):
    assert results.models[0].samples["text"][0] not in card


def test_the_card_states_what_the_model_is_for(card):
    limits = section_of(card, "What it is for, and its limits")
    for part in (
        "Meant for",
        "9.6% stand in the training text; of held-out reviews 9.0%",
        "2 of 10 invented secrets",
        "continuous cache",
        'load_model("models:/reviews/3")',
        "reviewlm generate --model reviews/3 ",
    ):
        assert part in limits
    assert "It copies" not in limits


# --- What is kept of a run beside its report, and what changed between two runs


@pytest.fixture
def put(tmp_path):
    """Write a report with a record into a folder of its own, later than those before."""

    def write(name, record):
        folder = tmp_path / name
        folder.mkdir()
        (folder / REPORT_FILE).write_text("page")
        if record is not None:
            (folder / RECORD_FILE).write_text(
                record if isinstance(record, str) else json.dumps(record)
            )
        os.utime(folder / REPORT_FILE, (len(list(tmp_path.iterdir())),) * 2)
        return tmp_path

    return write


def test_a_record_is_plain_json(results):
    config = json.dumps(
        {
            "seed": 7,
            "models": [{"name": "lstm", "hidden": 128}],
            "clean": {"edition": "3"},
        }
    )
    record = json.loads(json.dumps(record_of(replace(results, config=config)), allow_nan=False))
    assert record["settings"] == {
        "seed": "7",
        "models.lstm.name": "lstm",
        "models.lstm.hidden": "128",
        "clean.edition": "3",
    }
    assert record["bundle"] == "bundle of lstm+cache"
    assert record["figures"]["open bits per byte"] == "0.800"
    assert record["data"]["reviews"] == "6956"


def test_the_run_of_the_champion_is_the_one_that_promoted_its_bundle(results, put):
    record = record_of(results)
    put("promoted", {**record, "promoted": True})
    put("again", {**record, "promoted": False})
    reports = put("other", {**record, "bundle": "other"})
    assert run_of_bundle(reports, record["bundle"])["folder"] == "promoted"
    assert run_of_bundle(reports, record["bundle"], except_run="promoted")["folder"] == "again"
    assert run_of_bundle(reports, "unknown") is None
    assert run_of_bundle(reports, "") is None


@pytest.fixture
def listed_records(results, put):
    """The records of four runs in the order of their list; only that of the first can be read."""
    put("a", record_of(results))
    put("b", None)
    put("c", "{")
    reports = put("d", {"format": 999})
    (reports / "latest").symlink_to("a")
    return read_records(reports)


def test_records_are_listed_newest_first(listed_records):
    assert list(listed_records) == ["d", "c", "b", "a"]


def test_damaged_records_are_listed_by_name_only(listed_records):
    assert [name for name, record in listed_records.items() if record] == ["a"]


def test_the_report_shows_what_changed_since_the_champion_s_run(results):
    then = record_of(replace(results, config='{"models": [{"name": "lstm", "hidden": 64}]}'))
    config = '{"models": [{"name": "lstm", "hidden": 128}], "fields": {}}'
    now = replace(
        results,
        config=config,
        data={"reviews": 7_000},
        before={**then, "folder": "run-1"},
    )
    page = run_page(now, []).to_html()
    assert '<a href="../run-1/report.html">' in page
    for cell in ("models.lstm.hidden", "64", "128", "6956", "7000"):
        assert f">{cell}</td>" in page
    assert "Figures: the same." in page
    assert "different test reviews" not in page
    assert ">fields</td>" not in page, "an empty setting is none"
    figures = {"bits per byte": "1.7", "perplexity": "135.7"}
    then |= {
        "digests": {"test reviews": "others"},
        "vocabulary": "another",
        "figures": {**then["figures"], **figures},
    }
    changed = run_page(replace(now, before={**then, "folder": "run-1"}), []).to_html()
    assert [cell in changed for cell in (">1.7</td>", ">135.7</td>", "different test reviews")] == [
        True,
        False,
        True,
    ]
